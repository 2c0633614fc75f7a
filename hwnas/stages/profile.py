"""profile: measures every operator that the table lacks."""

from hwnas.devices import load_profile
from hwnas.errors import UserError
from hwnas.latency.profiler import profile_space, rows_to_measure
from hwnas.stages.networks import operator_table
from hwnas.stages.progress import progress
from hwnas.stages.run import Run, say


def run_stage(run: Run) -> None:
    """Completes `table.jsonl`; UserError naming the operators that the device cannot run."""
    profile = load_profile(run.config.on)
    table = operator_table(run, profile)  # before the images are read: it may be the wrong one
    space = run.space
    with progress("profiling") as report:
        profile_space(space, profile, table, run.config.seed, report)
    missing = [key for key in rows_to_measure(space) if key not in table]
    if missing and run.config.interpolate:
        say(f"{len(missing)} operators could not be measured on {profile.name}; `hwnas fit` will guess them")
    elif missing:
        first = missing[0]
        raise UserError(
            f"{len(missing)} operators could not be measured on {profile.name}, first {first}: "
            f"{table.errors.get(first, 'interrupted')}; run `hwnas profile` again to retry them, or give --interpolate "
            "to guess them from the others"
        )
    say(f"{len(table)} operators are in {table.journal.path}")
    say(str(table.steadiness([key for key in rows_to_measure(space) if key in table], profile.timing.drift_pct)))
