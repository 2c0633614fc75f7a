"""Architecture -> milliseconds. The predictors need neither a device nor its packages; tables and profiling do."""

from hwnas.latency.calibration import Calibration, calibrate, kendall_tau
from hwnas.latency.intervals import RelativeErrors
from hwnas.latency.predictors import Predictor, TablePredictor, fastest_and_slowest

__all__ = [
    "Calibration",
    "Predictor",
    "RelativeErrors",
    "TablePredictor",
    "calibrate",
    "fastest_and_slowest",
    "kendall_tau",
]
