"""int8 files that lose too much accuracy: weights fine-tuned for int8, and these files made of them instead."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hwnas.datasets import ImageSet
from hwnas.export import Exported, Preprocessing, Reference, convert, model_path, reduce, reference
from hwnas.export.targets import QUANTISED
from hwnas.nn import Compute
from hwnas.storage import Record
from hwnas.train import Normalisation, Recipe, int8_recipe, int8_training

FOLDER = "fine_tuned"  # beside `export/`: checkpoint and journal of each fine-tuning
Files = dict[str, Exported]  # by their key in `export.json`


def lost_too_much(files: Mapping[str, Exported]) -> list[str]:
    """The keys of the int8 files that failed their check."""
    return [key for key, file in files.items() if file.precision in QUANTISED and file.failed]


def fine_tuned(
    module: nn.Module,
    images: ImageSet,
    preprocessing: Preprocessing,
    calibration: NDArray[np.float32],
    trained: Recipe,
    epochs: int,
    seed: int,
    folder: Path,
    on_epoch: Callable[[int], None],
) -> tuple[nn.Module, Record]:
    """(a copy with weights fine-tuned for int8, what `export.json` tells of it). Diverged where that fails.

    images: those of the training part. An interrupted one goes on from `folder`; one that is there already is taken.
    """
    recipe = int8_recipe(trained, epochs, len(images.labels))
    normalisation = Normalisation(preprocessing.mean, preprocessing.std)
    name = _name(module, calibration, repr((asdict(recipe), asdict(preprocessing), seed)))
    compute = Compute("cuda" if torch.cuda.is_available() else "cpu")
    training, tuned = int8_training(
        *(module, images, preprocessing.resolution_px, normalisation, torch.from_numpy(calibration)),
        *(recipe, compute, seed, folder / f"{name}.pt", folder / f"{name}.jsonl"),
    )
    on_epoch(0)
    training.run(on_epoch=lambda done, record: on_epoch(done))
    seconds = sum(record["seconds"] for record in training.history())
    return tuned.cpu(), {"epochs": epochs, "lr": recipe.lr, "seconds": seconds, "checkpoint": f"{name}.pt"}


def _name(module: nn.Module, calibration: NDArray[np.float32], settings: str) -> str:
    """One for everything that the weights follow from, so that another fine-tuning's checkpoint is not gone on from."""
    found = hashlib.sha256(settings.encode())
    for name, value in module.state_dict().items():
        found.update(name.encode() + value.cpu().numpy().tobytes())
    found.update(calibration.tobytes())
    return found.hexdigest()[:16]


def remade(
    files: Mapping[str, Exported],
    folder: Path,
    tuned: nn.Module,
    told: Record,
    calibration: NDArray[np.float32],
    ref: Reference,
    metadata: Mapping[str, str],
    max_drop_points: float,
) -> Files:
    """The files of `folder`, those that lost too much made of the fine-tuned weights; where that is better, they stay.

    All others, fp32 and fp16 among them, remain those of the original weights, which `ref` is of.
    """
    found, own = dict(files), reference(tuned, ref.images, ref.labels)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        exact = Path(scratch)
        for key in lost_too_much(files):
            before, start_s = files[key], time.perf_counter()
            if not model_path(exact, before.runtime).exists() and convert(tuned, before.runtime, exact, {}, own).failed:
                continue
            after = reduce(before.runtime, before.precision, exact, metadata, calibration, ref, max_drop_points)
            if after.failed and after.drop_points >= before.drop_points:
                found[key] = replace(before, failed=f"{before.failed}; {_tried(told)} does not help")
                continue
            (folder / before.path).unlink()
            (exact / after.path).rename(folder / after.path)
            found[key] = replace(
                after,
                seconds=time.perf_counter() - start_s,
                failed=f"{after.failed}; {_tried(told)} was not enough" if after.failed else "",
                fine_tuned={
                    **told,
                    "test_accuracy_before": before.test_accuracy,
                    "drop_points_before": before.drop_points,
                },
            )
    return found


def _tried(told: Record) -> str:
    return f"fine-tuning for int8 (--qat-epochs {told['epochs']})"
