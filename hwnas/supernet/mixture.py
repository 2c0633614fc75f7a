"""Accuracy of the whole mixture that trained probabilities make, beside which a derived path is judged."""

from collections.abc import Sequence

import torch

from hwnas.nn import Gate
from hwnas.supernet.accuracy import PathJudge


def mixture_accuracy(paths: PathJudge, probabilities: Sequence[Sequence[float]]) -> float:
    """Every choice weighted by its probability, batch norm recalibrated for that; on the images of `paths`."""
    gates = [Gate(torch.tensor(p, device=paths.compute.device), tuple(range(len(p)))) for p in probabilities]
    return paths.of(lambda x: paths.net.mixed(x, gates)).accuracy
