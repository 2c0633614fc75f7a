"""Measured whole networks -> the predictor that does best on networks left out, and back from what a file holds.

Of three: the calibrated sum of a table; the same, corrected by where time goes; and a regression on the networks alone,
where that is clearly better or no table can be measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.latency import corrections
from hwnas.latency.calibration import calibrate, kendall_tau
from hwnas.latency.corrections import NO_CORRECTION, Correction
from hwnas.latency.intervals import RelativeErrors
from hwnas.latency.learned import MIN_NETWORKS, NetworkRegressor, ResidualPredictor
from hwnas.latency.predictors import TablePredictor
from hwnas.spaces.space import Arch, Space

Floats = NDArray[np.float64]
Fitted = TablePredictor | ResidualPredictor | NetworkRegressor
Record = dict[str, Any]
MIN_DRAWN = 5  # networks drawn at random from which intervals come alone; of fewer a quantile says too little
CLEARLY_BETTER = 0.8  # of the table's error: a regression has seen few networks, and knows no operator by itself
METHOD_ALONE = "whole networks, without a table"


@dataclass(frozen=True)
class Fit:
    """A predictor, and what it said of each network while that one was left out."""

    predictor: Fitted
    left_out_ms: Floats
    measured_ms: Floats
    drawn: int  # how many, the last ones, were drawn at random; the others were chosen

    @property
    def method(self) -> str:
        """`table + operators, corrected by groups of layers (ridge)`"""
        base, correction = base_of(self.predictor), _correction(self.predictor)
        if base is None:
            return METHOD_ALONE
        told = f", corrected by groups of layers ({corrections.kind_of(correction)})" if correction else ""
        return " + ".join(base.weights) + told

    @property
    def error_pct(self) -> Floats:
        """(networks,): how far off each one was predicted."""
        found: Floats = 100 * (self.left_out_ms / self.measured_ms - 1)
        return found

    @property
    def mape_pct(self) -> float:
        """Mean of how far off, either way."""
        return float(np.abs(self.error_pct).mean())

    def as_record(self) -> Record:
        """What `predictor.json` holds of it."""
        base, correction = base_of(self.predictor), _correction(self.predictor)
        return {
            "method": self.method,
            "weights": base.weights if base else {},
            "correction": corrections.as_record(correction) if correction else None,
            "regression": self.predictor.as_record() if isinstance(self.predictor, NetworkRegressor) else None,
            "mape_pct": self.mape_pct,
            "max_error_pct": float(np.abs(self.error_pct).max()),
            "bias_pct": float(self.error_pct.mean()),
            "kendall_tau": kendall_tau(self.left_out_ms, self.measured_ms),
            "op_ms": dict(base.op_ms) if base else {},
            "doubts": base.doubts if base else {},
            "drawn": self.drawn,
        }


def base_of(predictor: Fitted) -> TablePredictor | None:
    """The calibrated sum in it; None where it has no table."""
    if isinstance(predictor, NetworkRegressor):
        return None
    return predictor.base if isinstance(predictor, ResidualPredictor) else predictor


def _correction(predictor: Fitted) -> Correction | None:
    return predictor.correction if isinstance(predictor, ResidualPredictor) else None


def fit_predictor(
    space: Space,
    op_ms: Mapping[str, float],
    archs: Sequence[Arch],
    measured_ms: ArrayLike,
    doubts: Mapping[str, float] | None = None,
    drawn: int | None = None,
) -> Fit:
    """The calibrated table sum, perhaps corrected; a regression without a table where that is clearly better.

    `doubts` as in `TablePredictor`. drawn: how many of the networks, the last ones, were drawn at random; all, if None.
    """
    measured, drawn = np.asarray(measured_ms, dtype=np.float64), len(archs) if drawn is None else drawn
    table = _fit_table(space, op_ms, archs, measured, doubts, drawn)
    if len(archs) < MIN_NETWORKS:
        return table
    alone = fit_networks(space, archs, measured, drawn)
    return alone if alone.mape_pct < CLEARLY_BETTER * table.mape_pct else table


def fit_networks(space: Space, archs: Sequence[Arch], measured_ms: ArrayLike, drawn: int | None = None) -> Fit:
    """A regression on whole networks alone; UserError of fewer than MIN_NETWORKS."""
    measured, drawn = np.asarray(measured_ms, dtype=np.float64), len(archs) if drawn is None else drawn
    predictor, left_out_ms = NetworkRegressor.fit_left_out(space, archs, measured)
    predictor.errors = _errors(measured, left_out_ms, drawn)
    return Fit(predictor, left_out_ms, measured, drawn)


def _fit_table(
    space: Space,
    op_ms: Mapping[str, float],
    archs: Sequence[Arch],
    measured: Floats,
    doubts: Mapping[str, float] | None,
    drawn: int,
) -> Fit:
    """Corrected by where time goes, if there are networks enough to tell that it helps."""
    if len(archs) >= MIN_NETWORKS:
        predictor, left_out_ms = ResidualPredictor.fit_left_out(space, op_ms, archs, measured, doubts)
        if predictor.correction != NO_CORRECTION:
            predictor.errors = _errors(measured, left_out_ms, drawn)
            return Fit(predictor, left_out_ms, measured, drawn)
    plain = TablePredictor(space, op_ms)
    found = calibrate(plain.terms(archs), measured, plain.op_terms())
    left_out_ms = np.array(found.left_out_ms)
    table = TablePredictor(space, op_ms, found.weights, _errors(measured, left_out_ms, drawn), doubts)
    return Fit(table, left_out_ms, measured, drawn)


def _errors(measured_ms: ArrayLike, left_out_ms: ArrayLike, drawn: int) -> RelativeErrors:
    """Of the networks drawn at random: those chosen for their latency are no sample of those that a search meets."""
    kept = slice(-drawn, None) if drawn >= MIN_DRAWN else slice(None)
    return RelativeErrors.of(np.asarray(measured_ms)[kept], np.asarray(left_out_ms)[kept])


def from_record(space: Space, record: Mapping[str, Any]) -> Fitted:
    """From what `predictor.json` holds."""
    networks = record["networks"]
    measured_ms, left_out_ms = ([network[key] for network in networks] for key in ("measured_ms", "left_out_ms"))
    errors = _errors(measured_ms, left_out_ms, record.get("drawn", len(networks)))
    if regression := record.get("regression"):
        return NetworkRegressor(space, **regression, errors=errors)
    table = TablePredictor(space, record["op_ms"], record["weights"], errors, record.get("doubts"))
    correction = record.get("correction")
    return ResidualPredictor(table, corrections.from_record(correction), errors) if correction else table
