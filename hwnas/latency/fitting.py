"""Measured whole networks -> the predictor that does best on networks left out, and back from what a file holds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.latency.calibration import calibrate, kendall_tau
from hwnas.latency.intervals import RelativeErrors
from hwnas.latency.learned import MIN_NETWORKS, NO_CORRECTION, Correction, ResidualPredictor
from hwnas.latency.predictors import TablePredictor
from hwnas.spaces.space import Arch, Space

Floats = NDArray[np.float64]
Fitted = TablePredictor | ResidualPredictor
Record = dict[str, Any]


@dataclass(frozen=True)
class Fit:
    """A predictor, and what it said of each network while that one was left out."""

    predictor: Fitted
    left_out_ms: Floats
    measured_ms: Floats

    @property
    def method(self) -> str:
        """`table + operators, corrected by groups of layers`"""
        correction = _correction(self.predictor)
        return " + ".join(base_of(self.predictor).weights) + (", corrected by groups of layers" if correction else "")

    @property
    def error_pct(self) -> Floats:
        """(networks,): how far off each one was predicted."""
        found: Floats = 100 * (self.left_out_ms / self.measured_ms - 1)
        return found

    def as_record(self) -> Record:
        """What `predictor.json` holds of it."""
        base, correction = base_of(self.predictor), _correction(self.predictor)
        return {
            "method": self.method,
            "weights": base.weights,
            "correction": asdict(correction) if correction else None,
            "mape_pct": float(np.abs(self.error_pct).mean()),
            "max_error_pct": float(np.abs(self.error_pct).max()),
            "bias_pct": float(self.error_pct.mean()),
            "kendall_tau": kendall_tau(self.left_out_ms, self.measured_ms),
            "op_ms": dict(base.op_ms),
            "doubts": base.doubts,
        }


def base_of(predictor: Fitted) -> TablePredictor:
    """The calibrated sum in it."""
    return predictor.base if isinstance(predictor, ResidualPredictor) else predictor


def _correction(predictor: Fitted) -> Correction | None:
    return predictor.correction if isinstance(predictor, ResidualPredictor) else None


def fit_predictor(
    space: Space,
    op_ms: Mapping[str, float],
    archs: Sequence[Arch],
    measured_ms: ArrayLike,
    doubts: Mapping[str, float] | None = None,
) -> Fit:
    """The calibrated table sum; corrected by where time goes, if there are networks enough to tell that it helps.

    `doubts` as in `TablePredictor`.
    """
    measured = np.asarray(measured_ms, dtype=np.float64)
    if len(archs) >= MIN_NETWORKS:
        predictor, left_out_ms = ResidualPredictor.fit_left_out(space, op_ms, archs, measured, doubts)
        if predictor.correction != NO_CORRECTION:
            return Fit(predictor, left_out_ms, measured)
    found = calibrate(TablePredictor(space, op_ms).terms(archs), measured)
    left_out_ms = np.array(found.left_out_ms)
    errors = RelativeErrors.of(measured, left_out_ms)
    return Fit(TablePredictor(space, op_ms, found.weights, errors, doubts), left_out_ms, measured)


def from_record(space: Space, record: Mapping[str, Any]) -> Fitted:
    """From what `predictor.json` holds."""
    networks = record["networks"]
    errors = RelativeErrors.of([n["measured_ms"] for n in networks], [n["left_out_ms"] for n in networks])
    table = TablePredictor(space, record["op_ms"], record["weights"], errors, record.get("doubts"))
    correction = record.get("correction")
    return ResidualPredictor(table, Correction(**correction), errors) if correction else table
