"""profile: measures every operator that the table lacks."""

from hwnas.devices import load_profile
from hwnas.latency.profiler import (
    check_measured,
    profile_space,
    rows_to_measure,
    rows_without_prediction,
    steadiness_told,
)
from hwnas.stages.fitted import rows_to_go
from hwnas.stages.networks import operator_table
from hwnas.stages.progress import progress
from hwnas.stages.run import Run, say


def run_stage(run: Run) -> None:
    """Completes `table.jsonl`; UserError naming the operators that the device cannot run."""
    if not run.config.has_table:
        say("--table none: no operator is measured")
        return
    profile = load_profile(run.config.on)
    table = operator_table(run, profile)  # before the images are read: it may be the wrong one
    space = run.space
    if rows_to_go(run, space, table):
        with progress("profiling") as report:
            profile_space(space, profile, table, run.config.seed, report)
    missing = [key for key in rows_to_measure(space) if key not in table]
    if missing and run.config.interpolate:
        say(f"{len(missing)} operators could not be measured on {profile.name}; `hwnas fit` will guess them")
    else:
        check_measured(rows_without_prediction(space, table), profile, table)
    say(f"{len(table)} operators are in {table.journal.path}")
    say(steadiness_told([key for key in rows_to_measure(space) if key in table], profile, table))
