"""export --model: a network that the user brings, through the same conversion and the same checks."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwnas.datasets import DataConfig, ImageSet, Splits, on_demand, prepare
from hwnas.devices import load_profile
from hwnas.errors import UserError
from hwnas.export import Brought, Preprocessing, bring
from hwnas.export.sources import RANDOM
from hwnas.nn import keep_freed_memory, statistics_anew
from hwnas.stages.config import option
from hwnas.stages.export import check_sound, shipped
from hwnas.stages.progress import progress
from hwnas.stages.run import holds_run, say
from hwnas.stages.shipping import Choices, Shipment
from hwnas.storage import write_json
from hwnas.train import Recipe, stored_size

DEFAULT_RESOLUTION = 224  # what nearly all published classifiers take
SETTLING_IMAGES = 64
IMAGES = "images"  # in the folder of the export, where all are decoded
SMALLEST_SIDE_PX = 1  # any picture is resized to what the network takes


@dataclass(frozen=True)
class ModelOptions:
    """What the user says of the model and the images."""

    model: str
    weights: str | None
    labels: Path | None  # a class a line, in the order of the logits; None: the data's own
    data: str | None
    data_root: str = "data"
    skip_broken: bool = False
    resolution: int = DEFAULT_RESOLUTION
    seed: int = 0
    on: str = "host_cpu1_litert_fp32"

    def check(self) -> None:
        """UserError for what is missing."""
        if self.data is None:
            raise UserError(
                "--data is missing: files are checked on your images, and those of int8 are calibrated on them; give a "
                "folder with a subfolder per class, a .npz, or a data set's name"
            )
        if self.weights is None:
            raise UserError(
                f"--weights is missing: give the checkpoint of {self.model}, or `{RANDOM}` for random weights"
            )


def run_model(out: Path, options: ModelOptions, choices: Choices) -> None:
    """Writes `export/`, `export.json` and `export.log` to `out`.

    UserError where a file failed its check, and where `out` is a run's: that of `--model` is not its winner.
    """
    options.check()
    if holds_run(out):
        raise UserError(
            f"{out} holds a run, whose own export would be overwritten; choose another --out for {options.model}"
        )
    keep_freed_memory()
    profile = load_profile(options.on)
    config = _data_config(options)
    with progress("reading images") as report:
        splits = on_demand(config, out / IMAGES, SMALLEST_SIDE_PX, lambda done, total: report(done, total, ""))
    classes = splits.classes if options.labels is None else _labels(options.labels)
    brought = bring(options.model, str(options.weights), len(classes), options.seed)
    _check_outputs(brought, options, len(classes))
    shipment = Shipment(
        module=brought.module,
        model=options.model,
        data=str(options.data),
        is_unseen=False,
        classes=classes,
        preprocessing=Preprocessing(options.resolution, stored_size(options.resolution), brought.mean, brought.std),
        train=_relabelled(splits.train, splits, classes),
        test=_relabelled(splits.test, splits, classes),
        seed=options.seed,
        profile=profile,
        recipe=Recipe(flip=splits.flip),
        decode_train=lambda decoding: _relabelled(
            prepare(config, out / IMAGES, SMALLEST_SIDE_PX, decoding).train, splits, classes
        ),
    )
    if options.weights == RANDOM:
        say("with random weights accuracy means nothing: --max-drop is not applied")
        choices = replace(choices, max_drop_points=None)
        settle_batch_norm(shipment)
    record = {"checkpoint": options.weights, **shipped(out, shipment, choices)}
    write_json(out / "export.json", record)
    check_sound(record, out / "export")


def model_options(given: dict[str, Any], model: str, weights: str | None, labels: Path | None) -> ModelOptions:
    """From the command line; UserError naming an option that a model which is brought does not have."""
    allowed = ("data", "data_root", "skip_broken", "resolution", "seed", "on")
    strange = [name for name in given if name not in allowed]
    if strange:
        raise UserError(f"{option(strange[0])} has no meaning with --model; leave it out")
    return ModelOptions(**{"data": None, **given, "model": model, "weights": weights, "labels": labels})


def _data_config(options: ModelOptions) -> DataConfig:
    return DataConfig(
        data=str(options.data),
        image_size=stored_size(options.resolution),
        data_root=options.data_root,
        skip_broken=options.skip_broken,
        seed=options.seed,
    )


def _labels(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise UserError(
            f"--labels {path} is not there; give a text file with a class a line, in the order of the logits"
        )
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _relabelled(images: ImageSet, splits: Splits, classes: tuple[str, ...]) -> ImageSet:
    """The same images, labelled with the network's outputs."""
    absent = [name for name in splits.classes if name not in classes]
    if absent:
        raise UserError(
            f"--labels has no class {absent[0]!r}, which the data has; every class of the data must be in it"
        )
    output = np.array([classes.index(name) for name in splits.classes])
    return ImageSet(images.images, output[np.asarray(images.labels)])


def settle_batch_norm(shipment: Shipment) -> None:
    """Takes the statistics of batch norm from training images.

    Without it the activations of random weights fade from layer to layer, until int8 has no step left for them.
    """
    count = min(SETTLING_IMAGES, len(shipment.train.labels))
    images = torch.from_numpy(shipment.preprocessing.normalised(shipment.train, np.arange(count)))
    with torch.no_grad(), statistics_anew(shipment.module) as norms:
        for norm in norms:
            norm.train()
        for batch in torch.tensor_split(images, max(1, count // 32)):
            shipment.module(batch)
    shipment.module.eval()


def _check_outputs(brought: Brought, options: ModelOptions, num_classes: int) -> None:
    """UserError where the network does not take such an image, or does not give a logit a class."""
    side = options.resolution
    try:
        with torch.no_grad():
            found = brought.module(torch.zeros(1, 3, side, side))
    except Exception as error:  # noqa: BLE001 it is the user's own code
        raise UserError(
            f"{options.model} does not run on a float32 image of {side} x {side} pixels: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}; give the --resolution that it is for, or a model that takes one "
            "image (1, 3, height, width)"
        ) from None
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != (1, num_classes):
        what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise UserError(
            f"{options.model} gives {what} for one image; logits (1, {num_classes}) are needed, one a class: name the "
            "classes of its outputs with --labels"
        )
