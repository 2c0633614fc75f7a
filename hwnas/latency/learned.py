"""Predictors that learn from whole networks what a table sum does not tell, or do without a table.

Both rest on sums over operators, so they price many architectures at once, a regression with one sum as the table does,
a correction with three; and their expectation is differentiable. Ridge regressions, for there are tens of networks and
not thousands: how much they shrink is chosen by leave-one-out error
(https://scikit-learn.org/stable/modules/linear_model.html#ridge-regression). Intervals come from networks left out of
the whole fit, a tenth at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import RidgeCV

from hwnas.errors import UserError
from hwnas.latency.additive import AdditiveCost
from hwnas.latency.calibration import CONSTANT, OP_TERMS, SIMPLER_WITHIN, TABLE, calibrated_weights
from hwnas.latency.intervals import ConformalBounds, RelativeErrors
from hwnas.latency.predictors import TablePredictor
from hwnas.spaces.operators import is_free
from hwnas.spaces.space import Arch, OpSpec, Space

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
OpTerm = Callable[[OpSpec], float]
GROUPED = ("operators", "million_macs", "million_activations")  # what a regression without a table weights by group
COUNTED_ARGS = ("e", "k", "se", "hs")  # of operators: few values each
ALPHAS = np.logspace(-3, 3, 13)  # of the ridge, on standardised columns
FOLDS = 10
MIN_NETWORKS = 10
FLOOR = 0.5  # of the fastest network measured: a regression goes no lower


def groups(space: Space) -> dict[str, frozenset[OpSpec]]:
    """Operators alike in one respect: an argument, or the resolution. `k5`, `hw14`."""
    found: dict[str, set[OpSpec]] = {}
    for spec in space.all_ops():
        if not is_free(spec):
            alike = [f"{name}{value}" for name, value in spec.args if name in COUNTED_ARGS]
            for name in (*alike, f"hw{spec.in_shape[1]}"):
                found.setdefault(name, set()).add(spec)
    return {name: frozenset(specs) for name, specs in found.items()}


def _within(specs: frozenset[OpSpec], term: OpTerm) -> OpTerm:
    return lambda spec: term(spec) if spec in specs else 0.0


def table_terms(space: Space, table_ms: OpTerm) -> dict[str, OpTerm]:
    """What the correction of a table sum weights, by name: all that a calibration does, and the time of each group."""
    by_group = {f"{TABLE} {name}": _within(specs, table_ms) for name, specs in groups(space).items()}
    return OP_TERMS | by_group


def network_terms(space: Space) -> dict[str, OpTerm]:
    """What a regression without a table weights, by name."""
    by_group = {
        f"{term} {name}": _within(specs, OP_TERMS[term]) for name, specs in groups(space).items() for term in GROUPED
    }
    return OP_TERMS | by_group


def _weighted(space: Space, terms: Mapping[str, OpTerm], weights: Mapping[str, float]) -> AdditiveCost:
    return AdditiveCost(space, lambda spec: sum(weights[name] * term(spec) for name, term in terms.items()))


def _columns(space: Space, terms: Mapping[str, OpTerm], archs: ArrayLike) -> Floats:
    """(networks, terms)"""
    return np.stack([AdditiveCost(space, term).of(archs) for term in terms.values()], axis=1)


def _ridge(x: Floats, y: Floats, weights: ArrayLike | None = None) -> tuple[float, Floats]:
    """(intercept, a coefficient per column) of x: (networks, columns) -> y: (networks,)."""
    spread = x.std(axis=0)
    scale = np.where(spread > 1e-12 * np.abs(x).max(axis=0), spread, np.inf)  # a constant column gets no weight
    model = RidgeCV(ALPHAS).fit((x - x.mean(axis=0)) / scale, y, sample_weight=weights)
    coefficients: Floats = model.coef_ / scale
    return float(model.intercept_ - x.mean(axis=0) @ coefficients), coefficients


def _folds(networks: int) -> Iterator[tuple[Indices, Indices]]:
    """(kept, left out): every tenth network, so that those that came spread over the latencies are in all folds."""
    everyone = np.arange(networks)
    for fold in range(FOLDS):
        yield everyone[everyone % FOLDS != fold], everyone[everyone % FOLDS == fold]


def _left_out(predict: Callable[[Indices, Indices], Floats], networks: int) -> Floats:
    """(networks,): each by a fit without it."""
    found = np.empty(networks)
    for kept, out in _folds(networks):
        found[out] = predict(kept, out)
    return found


def _check_networks(archs: Sequence[Arch], measured_ms: ArrayLike) -> Floats:
    measured = np.asarray(measured_ms, dtype=np.float64)
    if len(archs) != len(measured) or len(measured) < MIN_NETWORKS:
        raise UserError(
            f"{len(archs)} networks and {len(measured)} latencies came to learn from; allowed are as many of both, and "
            f"at least {MIN_NETWORKS}: measure more, or use the calibrated table alone"
        )
    return measured


def _mape(predicted_ms: Floats, measured_ms: Floats) -> float:
    return float(np.abs(predicted_ms / measured_ms - 1).mean())


@dataclass(frozen=True)
class Correction:
    """log(measured / calibrated sum) = intercept + sum of weights x (term / table sum), within what was seen."""

    intercept: float
    weights: Mapping[str, float]  # by the names of `table_terms`
    lowest: float
    highest: float


NO_CORRECTION = Correction(0.0, {}, 0.0, 0.0)


@dataclass(frozen=True)
class _Networks:
    """What a correction is fitted on."""

    terms: Mapping[str, Floats]  # (networks,) each, as a calibration weights them
    op_terms: Mapping[str, Floats]  # (operators,) each, of the space
    names: tuple[str, ...]
    shares: Floats  # (networks, names): terms per millisecond of the table
    measured_ms: Floats

    def base_ms(self, kept: Indices, wanted: Indices) -> tuple[Floats, dict[str, float]]:
        """(the table sum, calibrated on `kept`, of `wanted`; its weights)."""
        terms = {name: v[kept] for name, v in self.terms.items()}
        found = calibrated_weights(terms, self.measured_ms[kept], self.op_terms)
        values = {**self.terms, CONSTANT: np.ones(len(self.measured_ms))}
        total: Floats = np.sum([weight * values[name][wanted] for name, weight in found.items()], axis=0)
        return total, found

    def corrected_ms(self, kept: Indices, wanted: Indices) -> Floats:
        """The calibrated and corrected sum of `wanted`, both fitted on `kept`."""
        base_ms, correction = self.base_ms(kept, wanted)[0], self.correction(kept)
        weights = np.array([correction.weights[name] for name in self.names])
        logs = correction.intercept + self.shares[wanted] @ weights
        corrected: Floats = base_ms * np.exp(np.clip(logs, correction.lowest, correction.highest))
        return corrected

    def correction(self, kept: Indices) -> Correction:
        """Fitted on `kept`."""
        log_ratio = np.log(self.measured_ms[kept] / self.base_ms(kept, kept)[0])
        intercept, coefficients = _ridge(self.shares[kept], log_ratio)
        weights = dict(zip(self.names, coefficients.tolist(), strict=True))
        return Correction(intercept, weights, float(log_ratio.min()), float(log_ratio.max()))


class ResidualPredictor(ConformalBounds):
    """A calibrated table sum, times what whole networks tell by where their time goes."""

    def __init__(
        self, base: TablePredictor, correction: Correction = NO_CORRECTION, errors: RelativeErrors | None = None
    ) -> None:
        self.space, self.base, self.correction, self.errors = base.space, base, correction, errors
        terms = table_terms(self.space, base.table_ms)
        used = {name: terms[name] for name in correction.weights}
        self._numerator = _weighted(self.space, used, correction.weights)
        self._table = AdditiveCost(self.space, base.table_ms)

    @classmethod
    def fit(
        cls, space: Space, op_ms: Mapping[str, float], archs: Sequence[Arch], measured_ms: ArrayLike
    ) -> "ResidualPredictor":
        """From networks and their milliseconds. Without a correction where that is not clearly better, left out."""
        return cls.fit_left_out(space, op_ms, archs, measured_ms)[0]

    @classmethod
    def fit_left_out(
        cls,
        space: Space,
        op_ms: Mapping[str, float],
        archs: Sequence[Arch],
        measured_ms: ArrayLike,
        doubts: Mapping[str, float] | None = None,
    ) -> tuple["ResidualPredictor", Floats]:
        """The same, and what each network was predicted at by a fit without it: (networks,) milliseconds."""
        measured = _check_networks(archs, measured_ms)
        plain = TablePredictor(space, op_ms)
        terms, correcting = plain.terms(archs), table_terms(space, plain.table_ms)
        shares = _columns(space, correcting, archs) / terms[TABLE][:, None]
        networks = _Networks(terms, plain.op_terms(), tuple(correcting), shares, measured)
        everyone = np.arange(len(measured))
        base = TablePredictor(space, op_ms, networks.base_ms(everyone, everyone)[1], doubts=doubts)
        base_ms = _left_out(lambda kept, out: networks.base_ms(kept, out)[0], len(measured))
        corrected_ms = _left_out(networks.corrected_ms, len(measured))
        if _mape(corrected_ms, measured) * SIMPLER_WITHIN > _mape(base_ms, measured):
            return cls(base, NO_CORRECTION, RelativeErrors.of(measured, base_ms)), base_ms
        return cls(base, networks.correction(everyone), RelativeErrors.of(measured, corrected_ms)), corrected_ms

    def latency_ms(self, archs: ArrayLike) -> Floats:
        """archs: (n, decisions) -> (n,) milliseconds."""
        logs = self.correction.intercept + self._numerator.of(archs) / self._table.of(archs)
        corrected: Floats = self.base.latency_ms(archs) * np.exp(
            np.clip(logs, self.correction.lowest, self.correction.highest)
        )
        return corrected

    def doubt_ms(self, archs: ArrayLike) -> Floats | float:
        """That of the table."""
        return self.base.doubt_ms(archs)

    def expected_ms(self, gates: Sequence["torch.Tensor"]) -> "torch.Tensor":
        """To first order: the correction of the expected shares. Equal to `latency_ms` for certain gates."""
        logs = self.correction.intercept + self._numerator.expected(gates) / self._table.expected(gates)
        return self.base.expected_ms(gates) * logs.clamp(self.correction.lowest, self.correction.highest).exp()


class NetworkRegressor(ConformalBounds):
    """Latency from counts, multiply-adds and activations by group, learned from whole networks; no operator alone.

    For devices whose operators cannot be measured one by one, or where their sums mean nothing.
    """

    def __init__(
        self,
        space: Space,
        weights_ms: Mapping[str, float],
        constant_ms: float,
        floor_ms: float,
        errors: RelativeErrors | None = None,
    ) -> None:
        """`weights_ms`: milliseconds per unit of each of `network_terms`. Nothing is predicted below `floor_ms`."""
        self.space, self.constant_ms, self.floor_ms, self.errors = space, constant_ms, floor_ms, errors
        self._cost = _weighted(space, network_terms(space), weights_ms)

    @classmethod
    def fit(cls, space: Space, archs: Sequence[Arch], measured_ms: ArrayLike) -> "NetworkRegressor":
        """From networks and their milliseconds; relative errors are minimised."""
        measured, terms = _check_networks(archs, measured_ms), network_terms(space)
        x, floor_ms = _columns(space, terms, archs), FLOOR * float(measured.min())

        def fitted(kept: Indices) -> tuple[float, Floats]:
            precision = measured[kept] ** -2.0
            return _ridge(x[kept], measured[kept], precision / precision.mean())

        def predict(kept: Indices, wanted: Indices) -> Floats:
            constant, coefficients = fitted(kept)
            return np.maximum(constant + x[wanted] @ coefficients, floor_ms)

        errors = RelativeErrors.of(measured, _left_out(predict, len(measured)))
        constant_ms, coefficients = fitted(np.arange(len(measured)))
        weights_ms = dict(zip(terms, coefficients.tolist(), strict=True))
        return cls(space, weights_ms, constant_ms, floor_ms, errors)

    def latency_ms(self, archs: ArrayLike) -> Floats:
        """archs: (n, decisions) -> (n,) milliseconds."""
        return np.maximum(self._cost.of(archs) + self.constant_ms, self.floor_ms)

    def expected_ms(self, gates: Sequence["torch.Tensor"]) -> "torch.Tensor":
        """Expected milliseconds, a scalar, where decision d is drawn with probabilities `gates[d]`; differentiable."""
        return (self._cost.expected(gates) + self.constant_ms).clamp(min=self.floor_ms)
