"""Two latency tables side by side: do they rank the same operators alike, and how do their times differ?"""

import math
import statistics
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hwnas.errors import UserError
from hwnas.latency.calibration import kendall_tau
from hwnas.latency.table import LatencyTable


@dataclass(frozen=True, slots=True)
class CommonRow:
    """An operator of both tables, by the median of its times in each."""

    key: str
    a_ms: float
    b_ms: float

    @property
    def ratio(self) -> float:
        return self.b_ms / self.a_ms


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two tables have in common."""

    identity: dict[str, tuple[str, str]]  # only what differs; "not told" where a table lacks it
    rows: tuple[CommonRow, ...]
    only_a: int
    only_b: int
    without_ratio: int  # common rows of 0 ms or less in either, as differences of an additive model may be
    median_ratio: float
    log_ratio_sd: float  # 0.05: ratios of two thirds of the rows lie within about 5 % of their mean
    spearman: float
    kendall: float

    def farthest(self, count: int = 10) -> list[CommonRow]:
        """The rows whose ratio is farthest from the median: where one device is good at something else."""
        return sorted(self.rows, key=lambda r: -abs(math.log(r.ratio / self.median_ratio)))[:count]


def identity_differences(a: LatencyTable, b: LatencyTable) -> dict[str, tuple[str, str]]:
    """What the two first lines tell differently."""
    there, here = a.identity, b.identity
    told = {key: (there.get(key, "not told"), here.get(key, "not told")) for key in {**there, **here}}
    return {key: pair for key, pair in told.items() if pair[0] != pair[1]}


def compare_tables(a: LatencyTable, b: LatencyTable) -> Comparison:
    """The common rows compared; UserError where there are not two."""
    a_ms, b_ms = ({key: measurement.median_ms for key, measurement in table.items()} for table in (a, b))
    common = [CommonRow(key, a_ms[key], b_ms[key]) for key in a_ms if key in b_ms]
    rows = tuple(row for row in common if row.a_ms > 0 and row.b_ms > 0)
    if len(rows) < 2:
        raise UserError(
            f"{a.journal.path} and {b.journal.path} have {len(rows)} rows in common, of {len(a_ms)} and {len(b_ms)}; "
            "at least 2 are needed: choose tables of the same space and resolution"
        )
    logs = [math.log(row.ratio) for row in rows]
    sides = np.array([row.a_ms for row in rows]), np.array([row.b_ms for row in rows])
    return Comparison(
        identity=identity_differences(a, b),
        rows=rows,
        only_a=len(a_ms) - len(common),
        only_b=len(b_ms) - len(common),
        without_ratio=len(common) - len(rows),
        median_ratio=statistics.median(row.ratio for row in rows),
        log_ratio_sd=statistics.stdev(logs),
        spearman=float(stats.spearmanr(*sides).statistic),
        kendall=kendall_tau(*sides),
    )
