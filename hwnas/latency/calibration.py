"""Measured whole networks -> the scale, or the line, that turns a table sum into their latency.

A sum of blocks is biased by several percent either way, since inter-layer costs and caches differ; a scale or a line
fitted to a few whole networks removes it. Which of the two, leave-one-out errors decide.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["scale", "line"]
MIN_NETWORKS_FOR_LINE = 5  # below, a second parameter follows the noise
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """predicted = scale * sum + offset, and how well it did on each network while that one was left out."""

    method: Method
    scale: float
    offset_ms: float
    mape_pct: float
    max_error_pct: float
    bias_pct: float
    kendall_tau: float

    def as_record(self) -> dict[str, float | str]:
        return asdict(self)


def _fit(sum_ms: Floats, measured_ms: Floats, method: Method) -> tuple[float, float]:
    """(scale, offset_ms) that minimise the relative error."""
    if method == "scale":
        return float(np.exp(np.mean(np.log(measured_ms / sum_ms)))), 0.0
    design = np.stack([sum_ms, np.ones_like(sum_ms)], axis=1) / measured_ms[:, None]
    scale, offset_ms = np.linalg.lstsq(design, np.ones_like(sum_ms), rcond=None)[0]
    return float(scale), float(offset_ms)


def _left_out_predictions_ms(sum_ms: Floats, measured_ms: Floats, method: Method) -> Floats:
    """Every network predicted by a fit on the others."""
    predictions = []
    for i in range(len(sum_ms)):
        others = np.arange(len(sum_ms)) != i
        scale, offset_ms = _fit(sum_ms[others], measured_ms[others], method)
        predictions.append(scale * sum_ms[i] + offset_ms)
    return np.array(predictions)


def kendall_tau(a: Floats, b: Floats) -> float:
    """Kendall's tau-b: agreement of two orders, 1 for the same and -1 for the opposite."""
    agreeing = untied_a = untied_b = 0.0
    for i in range(len(a)):  # row by row: a matrix of all pairs does not fit for the rows of a large table
        sign_a, sign_b = np.sign(a[i] - a), np.sign(b[i] - b)
        agreeing += float(sign_a @ sign_b)
        untied_a, untied_b = untied_a + float(np.abs(sign_a).sum()), untied_b + float(np.abs(sign_b).sum())
    pairs = math.sqrt(untied_a * untied_b)
    return agreeing / pairs if pairs else 0.0


def calibrate(sum_ms: Sequence[float], measured_ms: Sequence[float]) -> Calibration:
    """The better of the two methods on at least two networks."""
    sums, measured = np.array(sum_ms, dtype=np.float64), np.array(measured_ms, dtype=np.float64)
    if len(sums) < 2:
        raise ValueError(f"calibration needs at least 2 whole networks, {len(sums)} came")
    methods: list[Method] = ["scale", "line"] if len(sums) >= MIN_NETWORKS_FOR_LINE else ["scale"]
    candidates = [_evaluated(sums, measured, method) for method in methods]
    return min(candidates, key=lambda c: c.mape_pct)


def _evaluated(sum_ms: Floats, measured_ms: Floats, method: Method) -> Calibration:
    predicted_ms = _left_out_predictions_ms(sum_ms, measured_ms, method)
    error_pct = 100 * (predicted_ms / measured_ms - 1)
    scale, offset_ms = _fit(sum_ms, measured_ms, method)
    return Calibration(
        method,
        scale,
        offset_ms,
        float(np.abs(error_pct).mean()),
        float(np.abs(error_pct).max()),
        float(error_pct.mean()),
        kendall_tau(predicted_ms, measured_ms),
    )
