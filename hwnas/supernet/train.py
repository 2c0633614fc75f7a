"""Super-network weights: every step trains the paths that a sampler gives."""

import random
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hwnas.datasets import ImageSet
from hwnas.nn import Compute, Supernet
from hwnas.spaces.space import Space
from hwnas.supernet.paths import PathSampler, uniform
from hwnas.train import Recipe, Training


def supernet_training(
    space: Space,
    images: ImageSet,
    recipe: Recipe,
    compute: Compute,
    seed: int,
    folder: Path,
    paths: PathSampler = uniform,
    workers: int = 0,
) -> Training:
    """The training of a new super-network; its files are `supernet.pt` and `supernet.jsonl` in `folder`.

    No weight average: a path's weights are visited too seldom for one to follow them.
    """
    torch.manual_seed(seed)
    net = Supernet(space)

    def forward(x: Tensor, step: int) -> Tensor:
        (arch,) = paths(space, random.Random(f"{seed}/{step}"))
        logits: Tensor = net(x, arch)
        return logits

    return Training(
        net,
        forward,
        images,
        space.input_shape[1],
        replace(recipe, ema_decay=0.0),
        compute,
        seed,
        folder / "supernet.pt",
        folder / "supernet.jsonl",
        workers,
    )
