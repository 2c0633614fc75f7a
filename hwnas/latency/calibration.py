"""Measured whole networks -> the weights that turn a table sum, and a little more, into their latency.

A sum of blocks is biased by several percent either way: between layers there are costs that no block has alone, and
activations and weights that a block on its own finds in the cache. One weight on the sum removes most of it, a second
one, on a constant or on something that operators add up to, most of the rest. Which one differs between runtimes, so
leave-one-out errors decide. All terms are sums over operators, so the calibrated predictor still is one.

A weight may be below 0: a row holds the cost of starting a model, which a network pays once. But nothing takes less
than no time: weights by which the constant or an operator of the space would are not taken, however well they fit. They
price small networks at nothing or less, and lead a search by gradient to operators that seem to give time back.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from hwnas.spaces.macs import op_activations, op_macs, op_params
from hwnas.spaces.operators import is_free
from hwnas.spaces.space import OpSpec

TABLE, CONSTANT = "table", "constant"
OP_TERMS: dict[str, Callable[[OpSpec], float]] = {
    "operators": lambda spec: float(not is_free(spec)),
    "million_macs": lambda spec: op_macs(spec) / 1e6,
    "million_params": lambda spec: op_params(spec) / 1e6,
    "million_activations": lambda spec: op_activations(spec) / 1e6,
}
MIN_NETWORKS = {1: 2, 2: 5, 3: 16}  # for so many weights; with fewer networks another weight follows the noise
LEAST_SHARE = 0.1  # of its scaled row is what every operator adds at least
SIMPLER_WITHIN = 1.05  # of the smallest error: a method with fewer weights is taken then
Floats = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Calibration:
    """latency_ms = sum of weights x terms, and what it said of each network while that one was left out."""

    weights: dict[str, float]
    left_out_ms: tuple[float, ...]  # predictions of the calibration networks, each by a fit on the others

    @property
    def method(self) -> str:
        """`table + operators`"""
        return " + ".join(self.weights)


def calibrate(terms: Mapping[str, ArrayLike], measured_ms: ArrayLike, op_terms: Mapping[str, ArrayLike]) -> Calibration:
    """The best weights for at least two networks: each of `terms`, `table` among them, holds a value for each.

    op_terms: the same terms, of each operator that networks are made of.
    """
    measured, relative, of_ops = _checked(terms, measured_ms, op_terms)
    return Calibration(_chosen(relative, of_ops), tuple((_left_out(relative, of_ops) * measured).tolist()))


def calibrated_weights(
    terms: Mapping[str, ArrayLike], measured_ms: ArrayLike, op_terms: Mapping[str, ArrayLike]
) -> dict[str, float]:
    """Those of `calibrate`, without what it says of networks left out, which takes as many fits."""
    _, relative, of_ops = _checked(terms, measured_ms, op_terms)
    return _chosen(relative, of_ops)


def _checked(
    terms: Mapping[str, ArrayLike], measured_ms: ArrayLike, op_terms: Mapping[str, ArrayLike]
) -> tuple[Floats, dict[str, Floats], dict[str, Floats]]:
    """(milliseconds, terms / milliseconds and a constant's, terms of the operators)."""
    measured = np.asarray(measured_ms, dtype=np.float64)
    if len(measured) < MIN_NETWORKS[1]:
        raise ValueError(f"calibration needs at least {MIN_NETWORKS[1]} whole networks, {len(measured)} came")
    values = {name: np.asarray(v, dtype=np.float64) for name, v in terms.items()} | {CONSTANT: np.ones(len(measured))}
    relative = {name: value / measured for name, value in values.items()}  # relative errors are what is minimised
    return measured, relative, {name: np.asarray(v, dtype=np.float64) for name, v in op_terms.items()}


def _chosen(relative: Mapping[str, Floats], of_ops: Mapping[str, Floats]) -> dict[str, float]:
    """The weights of the method with the smallest leave-one-out error, or of a simpler one that comes near it."""
    scale = float(_fit(relative[TABLE][:, None])[0])
    possible: list[tuple[float, dict[str, float]]] = []
    for names in _methods(relative, len(relative[TABLE])):  # fewest weights come first
        design = np.stack([relative[n] for n in names], axis=1)
        weights = dict(zip(names, _fit(design).tolist(), strict=True))
        if _is_possible(weights, of_ops, scale):
            possible.append((float(np.abs(_leave_one_out(design) - 1).mean()), weights))
    return simplest_good(possible)  # the scaled table alone is always possible


def simplest_good(found: Sequence[tuple[float, T]]) -> T:
    """Of (error, what has it), the simplest first: what has the smallest error, or comes near it before."""
    least = min(error for error, _ in found)
    return next(each for error, each in found if error <= SIMPLER_WITHIN * least)


def _is_possible(weights: Mapping[str, float], of_ops: Mapping[str, Floats], scale: float) -> bool:
    """Whether the constant adds nothing or more, and every operator at least its share of `scale` x its row."""
    added = np.sum([weight * of_ops[name] for name, weight in weights.items() if name != CONSTANT], axis=0)
    return weights.get(CONSTANT, 0.0) >= 0 and bool((added >= LEAST_SHARE * scale * of_ops[TABLE]).all())


def _left_out(relative: Mapping[str, Floats], of_ops: Mapping[str, Floats]) -> Floats:
    """(networks,) prediction / measured of each network, method and weights chosen without it.

    The method too: errors by which one of many methods was chosen are smaller than those on new networks.
    """
    found = np.empty(len(relative[TABLE]))
    for i in range(len(found)):
        kept = np.arange(len(found)) != i
        weights = _chosen({name: value[kept] for name, value in relative.items()}, of_ops)
        found[i] = sum(weight * relative[name][i] for name, weight in weights.items())
    return found


def _methods(names: Iterable[str], networks: int) -> list[tuple[str, ...]]:
    others = [name for name in names if name != TABLE]
    sizes = [weights for weights, least in MIN_NETWORKS.items() if weights == 1 or networks >= least]
    return [(TABLE, *more) for size in sizes for more in itertools.combinations(others, size - 1)]


def _leave_one_out(design: Floats) -> Floats:
    """(n, weights) -> (n,): each row's prediction of 1 by a fit on the others.

    By the diagonal of the hat matrix (Allen 1974). Where the others do not determine the weights it is infinite.
    """
    basis, strengths, _ = np.linalg.svd(design / _lengths(design), full_matrices=False)
    basis = basis[:, strengths > 1e-10 * strengths.max(initial=0)]  # terms may be multiples of each other
    leverage = (basis**2).sum(axis=1)
    alone = leverage > 1 - 1e-9
    left: Floats = (1 - basis @ basis.sum(axis=0)) / np.where(alone, 1, 1 - leverage)
    return np.where(alone, np.inf, 1 - left)


def _fit(design: Floats) -> Floats:
    """Least squares to 1; columns are brought to one length first, as their units differ by orders of magnitude."""
    lengths = _lengths(design)
    solution = np.linalg.lstsq(design / lengths, np.ones(len(design)), rcond=None)[0]
    return np.asarray(solution / lengths, dtype=np.float64)


def _lengths(design: Floats) -> Floats:
    lengths: Floats = np.maximum(np.sqrt((design**2).sum(axis=0)), np.finfo(np.float64).tiny)
    return lengths


def kendall_tau(a: Floats, b: Floats) -> float:
    """Kendall's tau-b: agreement of two orders, 1 for the same and -1 for the opposite."""
    found = float(stats.kendalltau(a, b).statistic)
    return 0.0 if math.isnan(found) else found  # an order of equal values agrees with none
