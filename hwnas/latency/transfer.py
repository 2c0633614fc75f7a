"""A new device's latencies from another device's and a few measured ones.

log target = log source + correction, where the correction is a Gaussian process over features of the row: devices
differ by a factor that changes slowly with shapes (Rasmussen and Williams 2006, equation 2.25). The rows to measure
are those after which the process is surest of all the others (Sacks et al. 1989, integrated mean squared error); that
depends on features alone, so they are known before anything is measured. Operators are chosen by a shorter length scale
than they are told by: with the long one the corners of the space come first, rows few others are like, and what is not
smooth in those is taken for the trend of all. Nothing is fitted but the correction itself:
five to twenty values do not tell length scales. Devices that do not differ smoothly are better told by one factor for
all rows, and which of both is taken for a table the measured rows decide, each left out in turn.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError
from hwnas.latency.record import PREDICTED
from hwnas.latency.table import LatencyTable, write_new_table
from hwnas.spaces.space import OpSpec
from hwnas.storage import Record

Floats = NDArray[np.float64]
Latencies = Mapping[str, float]  # milliseconds by row key
Features = Mapping[str, Sequence[float]]  # of each row, all of one length
LENGTH_SCALE = 2.0  # root mean square over the standardised features
CHOOSING_SCALE = 1.0  # the same when operators are chosen: docs/transfer.md
NOISE = 0.1  # variance of what is no smooth function of the features, per variance of the correction
FACTOR = 100.0  # variance of one factor for all rows, per variance of the correction: it is hardly known beforehand
ENOUGH_TO_CHOOSE = 7  # fewer measured rows choose worse than not at all: docs/transfer.md
TRANSFERRED = "transferred"  # of an identity: what the predicted rows of the table come from
MAX_CANDIDATES = 2000  # among which to choose: their covariances are kept, 32 MB


def choose_rows(source: Mapping[str, float], k: int, features: Features | None = None) -> list[str]:
    """The `k` rows to measure on the new device, most telling first: fewer are a prefix of more.

    source: milliseconds of every row on a device that has them. features: as in `transfer`.
    """
    keys, log_ms, x = _described(source, features)
    if not 1 <= k <= len(keys):
        raise UserError(f"{k} rows to choose came; the table has {len(keys)}, allowed is 1 to {len(keys)}")
    candidates = _spread(log_ms, min(len(keys), max(k, MAX_CANDIDATES)))
    x = x[candidates] * (LENGTH_SCALE / CHOOSING_SCALE if features is None else 1.0)
    covariance = _covariance(x, x)
    return [keys[candidates[i]] for i in _most_telling(covariance, k)]


def transfer(
    source: Mapping[str, float], measured: Mapping[str, float], features: Features | None = None
) -> dict[str, float]:
    """Milliseconds of every row of `source` on the new device; a measured row keeps its measured value.

    source: milliseconds on another device. measured: milliseconds on the new one of at least one of these rows.
    features: numbers that describe each row; without them, keys are operators, described by their shapes and by
    their latency on the source. For whole networks these may be the logarithms of latencies on several devices,
    with `source` their geometric mean.
    """
    keys, log_ms, x = _described(source, features)
    strange = [key for key in measured if key not in source]
    if strange or not measured:
        came = f"{len(strange)} measured rows that it lacks came, {strange[0]} first" if strange else "none came"
        raise UserError(f"of the {len(keys)} rows of the source at least one has to be measured, and {came}")
    index = {key: i for i, key in enumerate(keys)}
    at = [index[key] for key in measured]
    log_ratio = _logarithms(measured, "measured") - log_ms[at]
    known = _covariance(x[at], x[at]) + NOISE * np.eye(len(at))
    correction = _covariance(x, x[at]) @ np.linalg.solve(known, log_ratio)
    return {**dict(zip(keys, np.exp(log_ms + correction).tolist(), strict=True)), **measured}


def scaled(source: Mapping[str, float], measured: Mapping[str, float]) -> dict[str, float]:
    """The same by one factor, the median ratio of the measured rows: what `transfer` has to beat."""
    factor = float(np.median([ms / source[key] for key, ms in measured.items()]))
    return {key: factor * ms for key, ms in source.items()} | dict(measured)


SMOOTH, FACTOR_ALONE = "a smooth correction", "one factor"
METHODS: Mapping[str, Callable[[Latencies, Latencies], dict[str, float]]] = {SMOOTH: transfer, FACTOR_ALONE: scaled}


def left_out_pct(source: Mapping[str, float], measured: Mapping[str, float], method: str = SMOOTH) -> float:
    """How far a measured row is missed on average when it is predicted from the others; NaN of one row.

    method: one of METHODS. Measured rows that were chosen to be far apart make it pessimistic.
    """
    if len(measured) < 2:
        return math.nan
    others = {key: {k: ms for k, ms in measured.items() if k != key} for key in measured}
    predict = METHODS[method]
    return statistics.fmean(100 * abs(predict(source, others[key])[key] / ms - 1) for key, ms in measured.items())


def operator_features(source: Mapping[str, float]) -> Features:
    """What describes an operator: its latency, shapes, stride, arguments and kind, sizes as logarithms."""
    try:
        specs = {key: OpSpec.parse(key) for key in source}
    except ValueError as error:
        raise UserError(f"{error}; give the features of rows that are no operators") from None
    names = sorted({name for spec in specs.values() for name, _ in spec.args})
    kinds = sorted({spec.kind for spec in specs.values()})
    return {key: _of_operator(spec, source[key], names, kinds) for key, spec in specs.items()}


def _of_operator(spec: OpSpec, source_ms: float, names: Sequence[str], kinds: Sequence[str]) -> list[float]:
    args = dict(spec.args)
    channels, height, width = spec.in_shape
    sizes = np.log([source_ms, channels, spec.out_channels, height * width]).tolist()
    return [*sizes, spec.stride, *(args.get(name, 0) for name in names), *(spec.kind == kind for kind in kinds)]


def _described(source: Mapping[str, float], features: Features | None) -> tuple[list[str], Floats, Floats]:
    """(row keys, logarithms of the milliseconds, standardised features (rows, features))."""
    log_ms = _logarithms(source, "source")
    found = operator_features(source) if features is None else features
    x = np.array([found[key] for key in source], dtype=np.float64)
    spread = x.std(axis=0)
    varying = spread > 1e-9 * np.abs(x).max(axis=0, initial=0)
    x = (x - x.mean(axis=0))[:, varying] / spread[varying]
    return list(source), log_ms, x / (LENGTH_SCALE * max(1, x.shape[1]) ** 0.5)


def _logarithms(latencies_ms: Mapping[str, float], name: str) -> Floats:
    if not latencies_ms:
        raise UserError(f"the {name} latencies are empty; at least one row is needed")
    for key, ms in latencies_ms.items():
        if not (ms > 0 and np.isfinite(ms)):
            raise UserError(
                f"{key} of the {name} latencies has {ms} ms; allowed is above 0: a table of differences has no ratios"
            )
    return np.log(np.array(list(latencies_ms.values()), dtype=np.float64))


def _covariance(a: Floats, b: Floats) -> Floats:
    """(n, features), (m, features) -> (n, m): one factor for all, and a smooth correction of it."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    covariance: Floats = FACTOR + np.exp(-0.5 * np.maximum(squares, 0))
    return covariance


def _spread(log_ms: Floats, count: int) -> list[int]:
    """`count` rows evenly by rank of latency."""
    order = np.argsort(log_ms, kind="stable")
    ranks = np.linspace(0, len(order) - 1, count).round().astype(int)
    return [int(i) for i in order[ranks]]


def _most_telling(covariance: Floats, k: int) -> list[int]:
    """One after the other the row whose measurement lowers the sum of all variances most."""
    left, chosen = covariance.copy(), list[int]()
    for _ in range(k):
        gain = (left**2).sum(axis=0) / (left.diagonal() + NOISE)
        gain[chosen] = -np.inf
        best = int(gain.argmax())
        chosen.append(best)
        told = left[:, best].copy()
        left -= np.outer(told, told) / (told[best] + NOISE)
    return chosen


def operators_ms(table: LatencyTable) -> dict[str, float]:
    """What was measured of every operator; UserError where the table is of whole networks."""
    if table.row != "op":
        raise UserError(f"{table.journal.path} is of whole networks; a transfer needs a table of operators")
    return {key: measurement.median_ms for key, measurement in table.items() if not table.is_predicted(key)}


def source_ms(table: LatencyTable) -> dict[str, float]:
    """The same of a table to transfer; UserError where that is a prediction itself."""
    if TRANSFERRED in table.identity:
        origin = table.identity[TRANSFERRED]
        raise UserError(f"{table.journal.path} is transferred itself, from {origin}; start from that one")
    return operators_ms(table)


@dataclass(frozen=True, slots=True)
class Missed:
    """How far measured rows are missed when they are left out, by the method that is taken and by the other."""

    method: str
    pct: float  # NaN of one row
    other: str
    other_pct: float

    @property
    def known(self) -> bool:
        """Whether there was a row to leave out."""
        return not math.isnan(self.pct)

    def __str__(self) -> str:
        return f"{self.pct:.1f} % by {self.method}, which is taken, and by {self.other_pct:.1f} % by {self.other}"


def missed_by(source: Mapping[str, float], measured: Mapping[str, float]) -> Missed:
    """Of both methods; the one that misses less is taken, and of few rows the smooth correction."""
    smooth, factor = (left_out_pct(source, measured, method) for method in (SMOOTH, FACTOR_ALONE))
    if factor < smooth and len(measured) >= ENOUGH_TO_CHOOSE:
        return Missed(FACTOR_ALONE, factor, SMOOTH, smooth)
    return Missed(SMOOTH, smooth, FACTOR_ALONE, factor)


@dataclass(frozen=True, slots=True)
class Transferred:
    """What a transferred table holds: how many rows of each kind."""

    measured: int
    predicted: int
    failed: int  # on the new device: they have no latency there, and are not predicted
    missed: Missed  # how far off the predictions may be


def transfer_table(source: LatencyTable, measured: LatencyTable, out: Path) -> Transferred:
    """Writes the rows of `measured` as they are, and those that only `source` has as predictions.

    They are made by the method of `missed_by`. The identity is that of `measured`, and what the predictions come from.
    """
    _check_same_operators(source, measured)
    there_ms, here_ms, failed = source_ms(source), operators_ms(measured), measured.errors
    common_ms = {key: ms for key, ms in here_ms.items() if key in there_ms}
    if not common_ms:
        raise UserError(
            f"{measured.journal.path} has {len(here_ms)} measured rows, and none of them is one of the {len(there_ms)} "
            f"of {source.journal.path}; measure some that `hwnas table choose` names"
        )
    missed = missed_by(there_ms, common_ms)
    predicted_ms, tried = METHODS[missed.method](there_ms, common_ms), here_ms.keys() | failed.keys()
    predictions = [_prediction(key, ms) for key, ms in predicted_ms.items() if key not in tried]
    raw = [record for record in measured.rows() if not measured.is_predicted(str(record[measured.row]))]
    told = f"; left out, each is missed by {missed}" if missed.known else ""
    origin = f"{_origin(source)} with {len(common_ms)} measured rows{told}"
    write_new_table(out, {**measured.identity, TRANSFERRED: origin}, [*measured.quarantines(), *raw, *predictions])
    return Transferred(len(here_ms), len(predictions), len(failed), missed)


def _check_same_operators(source: LatencyTable, measured: LatencyTable) -> None:
    """UserError where both tables tell their space or resolution, and these differ."""
    for key in ("space", "resolution"):
        there, here = (table.identity.get(key, "unknown") for table in (source, measured))
        if there != here and "unknown" not in (there, here):
            raise UserError(
                f"{key} is {there} in {source.journal.path} and {here} in {measured.journal.path}; "
                "a transfer needs two tables of the same operators"
            )


def _origin(source: LatencyTable) -> str:
    told = (source.identity.get(key, "unknown") for key in ("device", "soc", "runtime", "dtype"))
    return f"{source.journal.path.name} ({', '.join(told)})"


def _prediction(key: str, predicted_ms: float) -> Record:
    """A row of a table: one time for whatever reads it, and the note that nobody measured it."""
    return {"op": key, "round": 0, "times_ms": [predicted_ms], "summary": {PREDICTED: predicted_ms, "count": 0}}
