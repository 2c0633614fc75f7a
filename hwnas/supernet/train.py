"""Super-network weights: every step trains the paths that a sampler gives, or those that trained probabilities give."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hwnas.datasets import ImageSet
from hwnas.latency import Predictor
from hwnas.nn import Compute, Supernet
from hwnas.spaces import macs
from hwnas.spaces.space import Arch, Space
from hwnas.supernet.architecture import ArchitectureConfig, ArchitectureTraining, Reward, WeightTraining
from hwnas.supernet.paths import CostOf, PathSampler, uniform
from hwnas.supernet.shrinking import ProgressiveShrinking, taught
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
    cost_of: CostOf | None = None,
) -> Training:
    """The training of a new super-network; its files are `supernet.pt` and `supernet.jsonl` in `folder`.

    Several paths of a step add up to one weight step. distil: all but the first path learn what the first one says
    (in-place distillation; BigNAS, https://arxiv.org/abs/2003.11142, section 3.1). cost_of: what samplers by cost go
    by, multiply-adds without it. No weight average: a path's weights are visited too seldom for one to follow them.
    """
    torch.manual_seed(seed)
    net = Supernet(space)
    known_cost_of = cost_of or (lambda arch: float(macs(space.ops(arch))))

    def losses(x: Tensor, labels: Tensor, loss: Loss, step: int) -> Iterator[Tensor]:
        archs = paths(space, random.Random(f"{seed}/{step}"), known_cost_of)
        return _of_paths(net, archs, x, labels, loss, distil, compute)

    return _training(net, losses, images, recipe, compute, seed, folder, workers)


def progressive_shrinking(
    space: Space, images: ImageSet, recipe: Recipe, compute: Compute, seed: int, folder: Path, workers: int = 0
) -> Training:
    """The training of a new super-network from its largest network to all of them; files as above.

    Phases are shares of the recipe's epochs, those of Once-for-All (https://arxiv.org/abs/1908.09791).
    """
    torch.manual_seed(seed)
    net = Supernet(space, kernel_transforms=True)
    steps = recipe.epochs * recipe.steps_per_epoch(len(images.labels))
    shrinking = ProgressiveShrinking(net, compute, steps, forget=lambda: training.optimizer.state.clear())

    def losses(x: Tensor, labels: Tensor, loss: Loss, step: int) -> Iterator[Tensor]:
        archs = shrinking.archs(random.Random(f"{seed}/{step}"))
        soft_labels = shrinking.soft_labels(x, archs[0])
        for arch in archs:
            with compute.precision():
                logits = net(x, arch)
            yield (loss(logits, labels) + taught(logits, soft_labels)) / len(archs)

    training = _training(net, losses, images, recipe, compute, seed, folder, workers)
    training.companion = shrinking
    return training


def architecture_search(
    space: Space,
    images: ImageSet,
    search_images: ImageSet,
    recipe: Recipe,
    compute: Compute,
    seed: int,
    folder: Path,
    config: ArchitectureConfig,
    predictor: Predictor,
    target_ms: float,
    workers: int = 0,
    reward: Reward | None = None,
) -> tuple[Training, ArchitectureTraining]:
    """The training of a new super-network and, beside it, of the probabilities of its choices; files as above.

    Weights learn from `images`, probabilities from `search_images`. reward: as in `ArchitectureTraining`.
    """
    torch.manual_seed(seed)
    net = Supernet(space)
    steps = recipe.epochs * recipe.steps_per_epoch(len(images.labels))
    weights = WeightTraining(images, lambda step: recipe.lr_at((step + 0.5) / steps), recipe.label_smoothing)
    chosen = ArchitectureTraining(
        net, predictor, target_ms, search_images, compute, config, seed, steps, reward, weights
    )

    def losses(x: Tensor, labels: Tensor, loss: Loss, step: int) -> Iterator[Tensor]:
        with compute.precision():
            if step < chosen.warmup_steps:
                logits = net(x, space.sample(random.Random(f"{seed}/{step}")))
            elif config.relaxation in MIXED:
                gates = chosen.gates(step, stream=7)
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
