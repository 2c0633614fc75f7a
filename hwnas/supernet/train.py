"""Super-network weights: every step trains the paths that a sampler gives, or those that trained probabilities give."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hwnas.datasets import ImageSet
from hwnas.nn import Compute, Supernet
from hwnas.spaces.space import Arch, Space
from hwnas.supernet.architecture import ArchitectureConfig, ArchitectureTraining, ExpectedMs
from hwnas.supernet.paths import PathSampler, uniform
from hwnas.train import Loss, Losses, Recipe, Training

MIXED = ("softmax", "gumbel", "hard_gumbel")  # relaxations by which the weights are trained too; others train one path


def supernet_training(
    space: Space,
    images: ImageSet,
    recipe: Recipe,
    compute: Compute,
    seed: int,
    folder: Path,
    paths: PathSampler = uniform,
    distil: bool = False,
    workers: int = 0,
) -> Training:
    """The training of a new super-network; its files are `supernet.pt` and `supernet.jsonl` in `folder`.

    Several paths of a step add up to one weight step. distil: all but the first path learn what the first one says
    (in-place distillation; BigNAS, https://arxiv.org/abs/2003.11142, section 3.1). No weight average: a path's weights
    are visited too seldom for one to follow them.
    """
    torch.manual_seed(seed)
    net = Supernet(space)

    def losses(x: Tensor, labels: Tensor, loss: Loss, step: int) -> Iterator[Tensor]:
        archs = paths(space, random.Random(f"{seed}/{step}"))
        return _of_paths(net, archs, x, labels, loss, distil, compute)

    return _training(net, losses, images, recipe, compute, seed, folder, workers)


def architecture_search(
    space: Space,
    images: ImageSet,
    search_images: ImageSet,
    recipe: Recipe,
    compute: Compute,
    seed: int,
    folder: Path,
    config: ArchitectureConfig,
    expected_ms: ExpectedMs,
    target_ms: float,
    workers: int = 0,
) -> tuple[Training, ArchitectureTraining]:
    """The training of a new super-network and, beside it, of the probabilities of its choices; files as above.

    Weights learn from `images`, probabilities from `search_images`.
    """
    torch.manual_seed(seed)
    net = Supernet(space)
    steps = recipe.epochs * recipe.steps_per_epoch(len(images.labels))
    chosen = ArchitectureTraining(net, expected_ms, target_ms, search_images, compute, config, seed, steps)

    def losses(x: Tensor, labels: Tensor, loss: Loss, step: int) -> Iterator[Tensor]:
        with compute.precision():
            if step < chosen.warmup_steps:
                logits = net(x, space.sample(random.Random(f"{seed}/{step}")))
            elif config.relaxation in MIXED:
                gates = chosen.gates(step)
                logits = net.mixed(x, replace(gates, weight=gates.weight.detach()).of_decisions())
            else:
                logits = net(x, chosen.sample(chosen.generator(step, stream=2)))
        yield loss(logits, labels)

    training = _training(net, losses, images, recipe, compute, seed, folder, workers)
    training.companion = chosen
    return training, chosen


def _training(
    net: Supernet,
    losses: Losses,
    images: ImageSet,
    recipe: Recipe,
    compute: Compute,
    seed: int,
    folder: Path,
    workers: int,
) -> Training:
    recipe, resolution = replace(recipe, ema_decay=0.0), net.space.input_shape[1]
    checkpoint, journal = folder / "supernet.pt", folder / "supernet.jsonl"
    return Training(net, images, resolution, recipe, compute, seed, checkpoint, journal, workers, losses)


def _of_paths(
    net: Supernet, archs: list[Arch], x: Tensor, labels: Tensor, loss: Loss, distil: bool, compute: Compute
) -> Iterator[Tensor]:
    """The mean over the paths, one part after the other."""
    teacher: Tensor | None = None
    for arch in archs:
        with compute.precision():
            logits = net(x, arch)
        found = loss(logits, labels) if teacher is None else nn.functional.cross_entropy(logits.float(), teacher)
        if distil and teacher is None:
            teacher = logits.detach().float().softmax(1)
        yield found / len(archs)
