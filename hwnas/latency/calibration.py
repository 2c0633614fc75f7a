"""Measured whole networks -> the weights that turn a table sum, and a little more, into their latency.

A sum of blocks is biased by several percent either way: between layers there are costs that no block has alone, and
activations and weights that a block on its own finds in the cache. One weight on the sum removes most of it, a second
one, on a constant or on something that operators add up to, most of the rest. Which one differs between runtimes, so
leave-one-out errors decide. All terms are sums over operators, so the calibrated predictor still is one.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from hwnas.spaces.layers import is_free
from hwnas.spaces.macs import op_activations, op_macs, op_params
from hwnas.spaces.space import OpSpec

TABLE, CONSTANT = "table", "constant"
OP_TERMS: dict[str, Callable[[OpSpec], float]] = {
    "operators": lambda spec: float(not is_free(spec)),
    "million_macs": lambda spec: op_macs(spec) / 1e6,
    "million_params": lambda spec: op_params(spec) / 1e6,
    "million_activations": lambda spec: op_activations(spec) / 1e6,
}
MIN_NETWORKS = {1: 2, 2: 5, 3: 16}  # for so many weights; with fewer networks another weight follows the noise
SIMPLER_WITHIN = 1.05  # of the smallest error: a method with fewer weights is taken then
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """latency_ms = sum of weights x terms, and how well that did on each network while that one was left out."""

    weights: dict[str, float]
    mape_pct: float
    max_error_pct: float
    bias_pct: float
    kendall_tau: float
    left_out_ms: tuple[float, ...]  # predictions of the calibration networks, each by a fit on the others

    @property
    def method(self) -> str:
        """`table + operators`"""
        return " + ".join(self.weights)

    def as_record(self) -> dict[str, Any]:
        """What `predictor.json` holds of it."""
        record = asdict(self) | {"method": self.method}
        del record["left_out_ms"]  # stands with each network
        return record


def calibrate(terms: Mapping[str, ArrayLike], measured_ms: ArrayLike) -> Calibration:
    """The best weights for at least two networks: each of `terms`, `table` among them, holds a value for each."""
    measured = np.asarray(measured_ms, dtype=np.float64)
    if len(measured) < MIN_NETWORKS[1]:
        raise ValueError(f"calibration needs at least {MIN_NETWORKS[1]} whole networks, {len(measured)} came")
    values = {name: np.asarray(v, dtype=np.float64) for name, v in terms.items()} | {CONSTANT: np.ones(len(measured))}
    tried = [_evaluated({n: values[n] for n in names}, measured) for names in _methods(values, len(measured))]
    best = min(c.mape_pct for c in tried)
    return next(c for c in tried if c.mape_pct <= SIMPLER_WITHIN * best)  # fewest weights come first


def _methods(names: Iterable[str], networks: int) -> list[tuple[str, ...]]:
    others = [name for name in names if name != TABLE]
    sizes = [weights for weights, least in MIN_NETWORKS.items() if networks >= least]
    return [(TABLE, *more) for size in sizes for more in itertools.combinations(others, size - 1)]


def _evaluated(terms: Mapping[str, Floats], measured_ms: Floats) -> Calibration:
    design = np.stack(list(terms.values()), axis=1) / measured_ms[:, None]  # relative errors are what is minimised
    weights = _fit(design)
    kept = [np.arange(len(design)) != i for i in range(len(design))]
    left_out_ms: Floats = measured_ms * [design[i] @ _fit(design[others]) for i, others in enumerate(kept)]
    error_pct = 100 * (left_out_ms / measured_ms - 1)
    return Calibration(
        dict(zip(terms, weights.tolist(), strict=True)),
        float(np.abs(error_pct).mean()),
        float(np.abs(error_pct).max()),
        float(error_pct.mean()),
        kendall_tau(left_out_ms, measured_ms),
        tuple(left_out_ms.tolist()),
    )


def _fit(design: Floats) -> Floats:
    """Least squares to 1; columns are brought to one length first, as their units differ by orders of magnitude."""
    lengths = np.maximum(np.sqrt((design**2).sum(axis=0)), np.finfo(np.float64).tiny)
    solution: Floats = np.linalg.lstsq(design / lengths, np.ones(len(design)), rcond=None)[0]
    weights: Floats = solution / lengths
    return weights


def kendall_tau(a: Floats, b: Floats) -> float:
    """Kendall's tau-b: agreement of two orders, 1 for the same and -1 for the opposite."""
    found = float(stats.kendalltau(a, b).statistic)
    return 0.0 if math.isnan(found) else found  # an order of equal values agrees with none
