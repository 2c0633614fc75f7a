"""Accuracy without training each candidate: shared weights."""

from hwnas.supernet.accuracy import PathJudge, calibration_batches, recalibrate
from hwnas.supernet.architecture import WAYS, ArchitectureConfig, ArchitectureTraining, Reward
from hwnas.supernet.mixture import mixture_accuracy
from hwnas.supernet.paths import PATH_SAMPLERS, CostOf, PathSampler, uniform
from hwnas.supernet.relaxations import RELAXATIONS, Gates, Relaxation
from hwnas.supernet.train import architecture_search, progressive_shrinking, supernet_training

__all__ = [
    "PATH_SAMPLERS",
    "RELAXATIONS",
    "WAYS",
    "ArchitectureConfig",
    "ArchitectureTraining",
    "CostOf",
    "Gates",
    "PathJudge",
    "PathSampler",
    "Relaxation",
    "Reward",
    "architecture_search",
    "calibration_batches",
    "mixture_accuracy",
    "progressive_shrinking",
    "recalibrate",
    "supernet_training",
    "uniform",
]
