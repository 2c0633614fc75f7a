"""Fine-tuning of trained weights for int8: the rounding of the int8 file in every step, the trained network as teacher.

The teacher's probabilities and not the labels, so that the network keeps what it knows of classes that the images do
not show. A full-precision teacher for a student of low precision: "Apprentice", https://arxiv.org/abs/1711.05852.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.datasets import ImageSet
from hwnas.nn import Compute
from hwnas.train.batches import MEAN, STD
from hwnas.train.fake_int8 import FakeInt8
from hwnas.train.loop import Loss, Training
from hwnas.train.recipe import Optimizer, Recipe

# Of the recipe's rate. AdamW by whatever weights were trained: its steps do not grow with a channel's scale, and those
# of SGD diverged where scales differ by a hundred. Its rates are a fiftieth of SGD's.
LR_SHARE: dict[Optimizer, float] = {"sgd": 0.02, "adamw": 1.0}
WARMUP_SHARE = 0.1


def int8_recipe(trained: Recipe, epochs: int, images: int) -> Recipe:
    """How weights that were trained by a recipe are fine-tuned. images: how many there are; a batch has no more."""
    return replace(
        trained,
        epochs=epochs,
        batch_size=min(trained.batch_size, images),
        optimizer="adamw",
        lr=trained.lr * LR_SHARE[trained.optimizer],
        label_smoothing=0.0,
        warmup_share=WARMUP_SHARE,
        ema_decay=0.0,
    )


@dataclass
class Ranges:
    """Takes the ranges of the activations anew after every epoch; within one they stay.

    The exporters take them from the final weights, so the last epoch trains with nearly the ranges that are shipped.
    """

    module: FakeInt8
    calibration: Tensor  # (n, C, H, W) on the device
    steps_per_epoch: int

    def after_step(self, step: int) -> None:
        if (step + 1) % self.steps_per_epoch == 0:
            self.module.watch(self.calibration)

    def record(self) -> dict[str, Any]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}  # the ranges are buffers of the module

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@dataclass
class Normalisation:
    """Of the network that is fine-tuned, per channel, of values in 0..1; the loop's own images are -1..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of(self, images: Tensor) -> Tensor:
        """The loop's images as the network gets them: (N, 3, H, W)."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images * STD + MEAN - mean) / std


def int8_training(
    module: nn.Module,
    images: ImageSet,
    resolution: int,
    normalisation: Normalisation,
    calibration: Tensor,
    recipe: Recipe,
    compute: Compute,
    seed: int,
    checkpoint: Path,
    journal: Path,
) -> tuple[Training, nn.Module]:
    """(the training, the module whose weights it fine-tunes: a copy).

    calibration: (n, 3, resolution, resolution) as the network gets them, those that the exporters calibrate with.
    """
    teacher = compute.module(copy.deepcopy(module)).eval()
    tuned = compute.module(copy.deepcopy(module)).eval()
    calibration = compute.images(calibration)
    example = calibration[torch.arange(recipe.batch_size, device=calibration.device) % len(calibration)]
    student = FakeInt8(tuned, compute.images(example))
    student.watch(calibration)

    def losses(images: Tensor, labels: Tensor, loss: Loss, step: int) -> Iterable[Tensor]:
        images = normalisation.of(images)
        with torch.no_grad():
            taught = teacher(images).softmax(1)
        yield loss(student(images), taught)

    ranges = Ranges(student, calibration, recipe.steps_per_epoch(len(images.labels)))
    files = checkpoint, journal
    training = Training(student, images, resolution, recipe, compute, seed, *files, losses=losses, companion=ranges)
    return training, tuned
