"""Trains weights: one recipe and one loop for super-networks, winners and baselines."""

from hwnas.train.batches import MEAN, STD, StoredBatches, eval_batches, eval_images, normalise, stored_size
from hwnas.train.checkpoint import load_checkpoint
from hwnas.train.corruption import Change, corrupted, unchanged
from hwnas.train.divergence import Diverged
from hwnas.train.loop import (
    EVAL_BATCH,
    Companion,
    Judged,
    Loss,
    Losses,
    Training,
    accuracy,
    accuracy_on,
    judged_on,
    shared_accuracy,
    shared_judged,
)
from hwnas.train.quantisation_aware import Normalisation, int8_recipe, int8_training
from hwnas.train.recipe import Optimizer, Recipe

__all__ = [
    "EVAL_BATCH",
    "MEAN",
    "STD",
    "Change",
    "Companion",
    "Diverged",
    "Judged",
    "Loss",
    "Losses",
    "Normalisation",
    "Optimizer",
    "Recipe",
    "StoredBatches",
    "Training",
    "accuracy",
    "accuracy_on",
    "corrupted",
    "eval_batches",
    "eval_images",
    "int8_recipe",
    "int8_training",
    "judged_on",
    "load_checkpoint",
    "normalise",
    "shared_accuracy",
    "shared_judged",
    "stored_size",
    "unchanged",
]
