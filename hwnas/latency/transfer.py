"""A new device's latencies from another device's and a few measured ones.

log target = log source + correction, where the correction is a Gaussian process over features of the row: devices
differ by a factor that changes slowly with shapes (Rasmussen and Williams 2006, equation 2.25). The rows to measure
are those after which the process is surest of all the others (Sacks et al. 1989, integrated mean squared error); that
depends on features alone, so they are known before anything is measured. Nothing is fitted but the correction itself:
five to twenty values do not tell length scales.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError
from hwnas.spaces.space import OpSpec

Floats = NDArray[np.float64]
Features = Mapping[str, Sequence[float]]  # of each row, all of one length
LENGTH_SCALE = 2.0  # root mean square over the standardised features
NOISE = 0.1  # variance of what is no smooth function of the features, per variance of the correction
FACTOR = 100.0  # variance of one factor for all rows, per variance of the correction: it is hardly known beforehand
MAX_CANDIDATES = 2000  # among which to choose: their covariances are kept, 32 MB


def choose_rows(source: Mapping[str, float], k: int, features: Features | None = None) -> list[str]:
    """The `k` rows to measure on the new device, most telling first: fewer are a prefix of more.

    source: milliseconds of every row on a device that has them. features: as in `transfer`.
    """
    keys, log_ms, x = _described(source, features)
    if not 1 <= k <= len(keys):
        raise UserError(f"{k} rows to choose came; the table has {len(keys)}, allowed is 1 to {len(keys)}")
    candidates = _spread(log_ms, min(len(keys), max(k, MAX_CANDIDATES)))
    covariance = _covariance(x[candidates], x[candidates])
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
