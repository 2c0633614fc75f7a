"""Predictors that learn from whole networks what a table sum does not tell, or do without a table.

Both rest on sums over operators, so they price many architectures at once, a regression with one sum as the table does,
a correction with three or more; and their expectation is differentiable. Ridge regressions, for there are tens of
networks and not thousands: how much they shrink is chosen by leave-one-out error
(https://scikit-learn.org/stable/modules/linear_model.html#ridge-regression); a correction may be of another kind.
Intervals come from networks left out of the whole fit, a tenth at a time.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import UserError
from hwnas.latency.additive import AdditiveCost, expected_costs
from hwnas.latency.calibration import CONSTANT, OP_TERMS, TABLE, calibrated_weights, simplest_good
from hwnas.latency.corrections import CORRECTIONS, FITTED, NO_CORRECTION, Correction, left_out, ridge
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
NONE = "none"  # of corrections
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

    def corrected_ms(self, kind: str, kept: Indices, wanted: Indices) -> Floats:
        """The calibrated and corrected sum of `wanted`, both fitted on `kept`."""
        base_ms, correction = self.base_ms(kept, wanted)[0], self.correction(kind, kept)
        weights = np.array([[row.get(name, 0.0) for name in self.names] for row in correction.combinations])
        logs = correction.logs(self.shares[wanted] @ weights.T)
        corrected: Floats = base_ms * np.exp(np.clip(logs, correction.lowest, correction.highest))
        return corrected

    def correction(self, kind: str, kept: Indices) -> Correction:
        """Fitted on `kept`."""
        log_ratio = np.log(self.measured_ms[kept] / self.base_ms(kept, kept)[0])
        return CORRECTIONS[kind].fit(self.names, self.shares[kept], log_ratio)


class ResidualPredictor(ConformalBounds):
    """A calibrated table sum, times what whole networks tell by where their time goes."""

    def __init__(
        self, base: TablePredictor, correction: Correction = NO_CORRECTION, errors: RelativeErrors | None = None
    ) -> None:
        self.space, self.base, self.correction, self.errors = base.space, base, correction, errors
        terms = table_terms(self.space, base.table_ms)
        self._numerators = [
            _weighted(self.space, {name: terms[name] for name in weights}, weights)
            for weights in correction.combinations
        ]
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
        kinds: Sequence[str] = FITTED,
    ) -> tuple["ResidualPredictor", Floats]:
        """The same, and what each network was predicted at by a fit without it: (networks,) milliseconds.

        kinds: of corrections to choose among, the simplest first.
        """
        measured = _check_networks(archs, measured_ms)
        plain = TablePredictor(space, op_ms)
        terms, correcting = plain.terms(archs), table_terms(space, plain.table_ms)
        shares = _columns(space, correcting, archs) / terms[TABLE][:, None]
        networks = _Networks(terms, plain.op_terms(), tuple(correcting), shares, measured)
        everyone = np.arange(len(measured))
        base = TablePredictor(space, op_ms, networks.base_ms(everyone, everyone)[1], doubts=doubts)
        base_ms = left_out(lambda kept, out: networks.base_ms(kept, out)[0], len(measured))
        found = {kind: left_out(functools.partial(networks.corrected_ms, kind), len(measured)) for kind in kinds}
        left_out_ms = {NONE: base_ms, **found}
        kind = simplest_good([(_mape(predicted_ms, measured), name) for name, predicted_ms in left_out_ms.items()])
        if kind == NONE:
            return cls(base, NO_CORRECTION, RelativeErrors.of(measured, base_ms)), base_ms
        correction = networks.correction(kind, everyone)
        return cls(base, correction, RelativeErrors.of(measured, found[kind])), found[kind]

    def latency_ms(self, archs: ArrayLike) -> Floats:
        """archs: (n, decisions) -> (n,) milliseconds."""
        table_ms = self._table.of(archs)
        logs = self.correction.logs(np.stack([cost.of(archs) / table_ms for cost in self._numerators], axis=1))
        np.clip(logs, self.correction.lowest, self.correction.highest, out=logs)
        corrected: Floats = self.base.latency_ms(archs) * np.exp(logs, out=logs)
        return corrected

    def doubt_ms(self, archs: ArrayLike) -> Floats | float:
        """That of the table."""
        return self.base.doubt_ms(archs)

    def expected_ms(self, gates: Sequence["torch.Tensor"]) -> "torch.Tensor":
        """To first order: the correction of the expected shares. Equal to `latency_ms` for certain gates.

        A correction by trees has no gradient: the expectation then has that of the base, times the correction.
        """
        import torch  # only here: who has gates has torch

        table_ms, *numerators = expected_costs([self._table, *self._numerators], gates)
        logs = self.correction.expected_logs(torch.stack(numerators) / table_ms)
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
        self.weights_ms = dict(weights_ms)
        self._cost = _weighted(space, network_terms(space), weights_ms)

    @classmethod
    def fit(cls, space: Space, archs: Sequence[Arch], measured_ms: ArrayLike) -> "NetworkRegressor":
        """From networks and their milliseconds; relative errors are minimised."""
        return cls.fit_left_out(space, archs, measured_ms)[0]

    @classmethod
    def fit_left_out(
        cls, space: Space, archs: Sequence[Arch], measured_ms: ArrayLike
    ) -> tuple["NetworkRegressor", Floats]:
        """The same, and what each network was predicted at by a fit without it: (networks,) milliseconds."""
        measured, terms = _check_networks(archs, measured_ms), network_terms(space)
        x, floor_ms = _columns(space, terms, archs), FLOOR * float(measured.min())

        def fitted(kept: Indices) -> tuple[float, Floats]:
            precision = measured[kept] ** -2.0
            return ridge(x[kept], measured[kept], precision / precision.mean())

        def predict(kept: Indices, wanted: Indices) -> Floats:
            constant, coefficients = fitted(kept)
            return np.maximum(constant + x[wanted] @ coefficients, floor_ms)

        left_out_ms = left_out(predict, len(measured))
        constant_ms, coefficients = fitted(np.arange(len(measured)))
        weights_ms = dict(zip(terms, coefficients.tolist(), strict=True))
        errors = RelativeErrors.of(measured, left_out_ms)
        return cls(space, weights_ms, constant_ms, floor_ms, errors), left_out_ms

    def as_record(self) -> dict[str, Any]:
        """What it is made from again, but for its space and errors."""
        return {"weights_ms": self.weights_ms, "constant_ms": self.constant_ms, "floor_ms": self.floor_ms}

    def latency_ms(self, archs: ArrayLike) -> Floats:
        """archs: (n, decisions) -> (n,) milliseconds."""
        return np.maximum(self._cost.of(archs) + self.constant_ms, self.floor_ms)

    def expected_ms(self, gates: Sequence["torch.Tensor"]) -> "torch.Tensor":
        """Expected milliseconds, a scalar, where decision d is drawn with probabilities `gates[d]`; differentiable."""
        return (self._cost.expected(gates) + self.constant_ms).clamp(min=self.floor_ms)
