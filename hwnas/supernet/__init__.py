"""Accuracy without training each candidate: shared weights."""

from hwnas.supernet.accuracy import PathAccuracy, calibration_batches, recalibrate
from hwnas.supernet.paths import PATH_SAMPLERS, PathSampler, uniform
from hwnas.supernet.train import supernet_training

__all__ = [
    "PATH_SAMPLERS",
    "PathAccuracy",
    "PathSampler",
    "calibration_batches",
    "recalibrate",
    "supernet_training",
    "uniform",
]
