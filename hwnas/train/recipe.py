"""How weights are trained: one recipe for the super-network, the winner and its baselines."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from hwnas.errors import UserError

Optimizer = Literal["sgd", "adamw"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Defaults: MobileNet-style SGD for short schedules."""

    epochs: int = 30
    batch_size: int = 64
    optimizer: Optimizer = "sgd"
    lr: float = 0.1  # at batch size 128; scaled in proportion
    weight_decay: float = 4e-5
    momentum: float = 0.9  # sgd only
    label_smoothing: float = 0.1
    warmup_share: float = 0.1  # of all steps, linear from 0
    ema_decay: float = 0.998  # 0: none
    flip: bool = True

    def steps_per_epoch(self, images: int) -> int:
        """Whole batches only: a last one of a single image would break batch norm."""
        if images < self.batch_size:
            raise UserError(
                f"{images} images to train on are fewer than a batch of {self.batch_size}; lower --batch-size to "
                f"{images} or less, or add images"
            )
        return images // self.batch_size

    def lr_at(self, progress: float) -> float:
        """Learning rate after the share `progress` of all steps: linear warm-up, then half a cosine to 0."""
        peak = self.lr * self.batch_size / 128
        if progress < self.warmup_share:
            return peak * progress / self.warmup_share
        return peak * 0.5 * (1 + math.cos(math.pi * (progress - self.warmup_share) / (1 - self.warmup_share)))


def optimizer(recipe: Recipe, module: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer; scales, shifts and biases are not decayed."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, object]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True)


class Ema:
    """Exponential moving average of a module's parameters and statistics.

    The decay grows from 0 to the recipe's, min(decay, (1 + n) / (10 + n)) after n steps, so that short trainings do
    not average in the random start.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.shadow = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value, 1 - decay)
            else:
                self.shadow[name].copy_(value)


def set_lr(groups: Iterable[dict[str, object]], lr: float) -> None:
    """Sets the learning rate of every parameter group."""
    for group in groups:
        group["lr"] = lr
