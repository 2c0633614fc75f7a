"""Architecture -> milliseconds, from a table of operators."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import UserError
from hwnas.latency.additive import AdditiveCost
from hwnas.latency.calibration import CONSTANT, OP_TERMS, TABLE
from hwnas.latency.intervals import ConformalBounds, RelativeErrors
from hwnas.spaces import extremes
from hwnas.spaces.operators import is_free
from hwnas.spaces.space import Arch, OpSpec, Space

if TYPE_CHECKING:
    import torch


NAMED = 20  # missing rows in a message


class Predictor(Protocol):
    """Latency of many architectures at once."""

    def latency_ms(self, archs: ArrayLike) -> NDArray[np.float64]:
        """archs: (n, decisions) -> (n,) milliseconds."""
        ...

    def interval_ms(self, archs: ArrayLike, coverage: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """archs: (n, decisions) -> (n,), (n,): the measured latency lies between them with probability `coverage`."""
        ...

    def upper_ms(self, archs: ArrayLike, probability: float) -> NDArray[np.float64]:
        """archs: (n, decisions) -> (n,): the measured latency is at most this with `probability`."""
        ...

    def probability_within(self, archs: ArrayLike, budget_ms: float) -> NDArray[np.float64]:
        """archs: (n, decisions) -> (n,): probability that the measured latency is at most `budget_ms`."""
        ...

    def expected_ms(self, gates: Sequence["torch.Tensor"]) -> "torch.Tensor":
        """Expected milliseconds, a scalar, where decision d is drawn with probabilities `gates[d]`; differentiable."""
        ...


class TablePredictor(ConformalBounds):
    """Sum over the operators, weighted as a calibration on whole networks found best."""

    def __init__(
        self,
        space: Space,
        op_ms: Mapping[str, float],
        weights: Mapping[str, float] | None = None,
        errors: RelativeErrors | None = None,
        doubts: Mapping[str, float] | None = None,
    ) -> None:
        """`weights` as in `Calibration`, the plain sum without; `errors` give the intervals.

        `doubts`: of rows that were not measured, the standard deviation as a share of their latency.
        UserError where `op_ms` lacks an operator of the space.
        """
        check_complete(space, op_ms)
        self.space, self.op_ms, self.errors = space, op_ms, errors
        self.weights = {TABLE: 1.0, **(weights or {})}
        self.constant_ms = self.weights.get(CONSTANT, 0.0)
        self.doubts = dict(doubts or {})
        self._cost = AdditiveCost(space, self.op_latency_ms)
        self._doubt = AdditiveCost(space, self._op_doubt_ms) if self.doubts else None

    def table_ms(self, spec: OpSpec) -> float:
        """The row of an operator; 0 where nothing runs."""
        return 0.0 if is_free(spec) else self.op_ms[str(spec)]

    def op_latency_ms(self, spec: OpSpec) -> float:
        """What one operator adds to the latency of a network."""
        terms = (self.weights[name] * value(spec) for name, value in OP_TERMS.items() if name in self.weights)
        return self.weights[TABLE] * self.table_ms(spec) + sum(terms)

    def _op_doubt_ms(self, spec: OpSpec) -> float:
        return self.weights[TABLE] * self.doubts.get(str(spec), 0.0) * self.table_ms(spec)

    def doubt_ms(self, archs: ArrayLike) -> NDArray[np.float64] | float:
        """Of rows that were not measured; their errors are taken to go the same way."""
        return self._doubt.of(archs) if self._doubt else 0.0

    def terms(self, archs: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """What a calibration may weight: (n, decisions) -> {term: (n,)}."""
        return {name: AdditiveCost(self.space, value).of(archs) for name, value in self._term_of().items()}

    def op_terms(self) -> dict[str, NDArray[np.float64]]:
        """The same of every operator of the space that costs time: {term: (operators,)}."""
        specs = [spec for spec in self.space.all_ops() if not is_free(spec)]
        return {name: np.array([value(spec) for spec in specs]) for name, value in self._term_of().items()}

    def _term_of(self) -> dict[str, Callable[[OpSpec], float]]:
        return {TABLE: self.table_ms, **OP_TERMS}

    def latency_ms(self, archs: ArrayLike) -> NDArray[np.float64]:
        return self._cost.of(archs) + self.constant_ms

    def expected_ms(self, gates: Sequence["torch.Tensor"]) -> "torch.Tensor":
        return self._cost.expected(gates) + self.constant_ms


def check_complete(space: Space, op_ms: Mapping[str, float]) -> None:
    """UserError naming the operators that a table lacks: a missing one is never 0 ms."""
    needed = [str(spec) for spec in space.all_ops() if not is_free(spec)]
    missing = [key for key in needed if key not in op_ms]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise UserError(
            f"the latency table lacks {len(missing)} of the {len(needed)} operators of {space.name} at "
            f"{space.input_shape[1]} pixels: {', '.join(missing[:NAMED])}{more}; run `hwnas profile --out RUN`, or "
            "without a run `hwnas table measure --on PROFILE --space SPACE --out TABLE`, to measure them"
        )


def fastest_and_slowest(predictor: TablePredictor) -> tuple[Arch, Arch]:
    """The two extremes of a space; ValueError as of `spaces.extremes`."""
    return extremes(predictor.space, predictor.op_latency_ms)
