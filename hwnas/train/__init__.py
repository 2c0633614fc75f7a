"""Trains weights: one recipe and one loop for super-networks, winners and baselines."""

from hwnas.train.batches import MEAN, STD, StoredBatches, eval_batches, eval_images, normalise, stored_size
from hwnas.train.loop import EVAL_BATCH, Companion, Loss, Losses, Training, accuracy, accuracy_on, load_checkpoint
from hwnas.train.recipe import Optimizer, Recipe

__all__ = [
    "EVAL_BATCH",
    "MEAN",
    "STD",
    "Companion",
    "Loss",
    "Losses",
    "Optimizer",
    "Recipe",
    "StoredBatches",
    "Training",
    "accuracy",
    "accuracy_on",
    "eval_batches",
    "eval_images",
    "load_checkpoint",
    "normalise",
    "stored_size",
]
