"""Trains weights: one recipe and one loop for super-networks, winners and baselines."""

from hwnas.train.batches import MEAN, STD, eval_batches, eval_images, normalise, stored_size
from hwnas.train.loop import Companion, Loss, Losses, Training, accuracy, load_checkpoint, steps_per_epoch
from hwnas.train.recipe import Optimizer, Recipe

__all__ = [
    "MEAN",
    "STD",
    "Companion",
    "Loss",
    "Losses",
    "Optimizer",
    "Recipe",
    "Training",
    "accuracy",
    "eval_batches",
    "eval_images",
    "load_checkpoint",
    "normalise",
    "steps_per_epoch",
    "stored_size",
]
