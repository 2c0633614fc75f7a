"""profile: measures every operator that the table lacks."""

import statistics
from collections.abc import Iterable

from hwnas.devices import Timing, load_profile
from hwnas.errors import UserError
from hwnas.latency.profiler import profile_space, rows_to_measure
from hwnas.latency.table import LatencyTable
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
    if missing:
        first = missing[0]
        raise UserError(
            f"{len(missing)} operators could not be measured on {profile.name}, first {first}: "
            f"{table.errors.get(first, 'interrupted')}; run `hwnas profile` again to retry them"
        )
    say(f"{len(table)} operators are in {table.journal.path}")
    say(steadiness(table, rows_to_measure(space), profile.timing))


def steadiness(table: LatencyTable, rows: Iterable[str], timing: Timing) -> str:
    """How quiet the device was, for the user to judge the numbers by."""
    widths_pct = [table.half_width_pct(key, timing.max_rounds) for key in rows]
    widths = f"+-{statistics.median(widths_pct):.1f} % in the median, +-{max(widths_pct):.1f} % at most"
    drifting = [pct for pct in table.drifts_pct() if pct > timing.drift_pct]
    drift = "no drift was seen"
    if drifting:
        spans = f"{len(drifting)} of {len(table.sentinels)} spans"
        drift = f"the device was noisy: the sentinel was off by up to {max(drifting):.0f} % in {spans}, measured again"
    return f"95 % intervals of the rows: {widths}; {drift}"
