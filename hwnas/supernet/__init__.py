"""Accuracy without training each candidate: shared weights."""

from hwnas.supernet.accuracy import PathAccuracy, calibration_batches, recalibrate
from hwnas.supernet.architecture import ArchitectureConfig, ArchitectureTraining
from hwnas.supernet.mixture import mixture_accuracy
from hwnas.supernet.paths import PATH_SAMPLERS, PathSampler, uniform
from hwnas.supernet.relaxations import RELAXATIONS, Gates, Relaxation
from hwnas.supernet.train import architecture_search, supernet_training

__all__ = [
    "PATH_SAMPLERS",
    "RELAXATIONS",
    "ArchitectureConfig",
    "ArchitectureTraining",
    "Gates",
    "PathAccuracy",
    "PathSampler",
    "Relaxation",
    "architecture_search",
    "calibration_batches",
    "mixture_accuracy",
    "recalibrate",
    "supernet_training",
    "uniform",
]
