"""Any classification data set of torchvision, by its name in snake case."""

import contextlib
import inspect
import io
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hwnas.datasets.dataset import DataConfig
from hwnas.datasets.source import OFFICIAL
from hwnas.errors import UserError

WITHOUT_MIRROR = {"mnist", "kmnist", "qmnist", "emnist", "usps", "svhn", "semeion", "gtsrb", "rendered_sst2"}
NOT_CLASSIFICATION = {"celeb_a", "cityscapes", "kitti", "lfw_pairs", "wider_face"}  # boxes, masks, attributes, pairs
WITHOUT_PARTS = {"caltech101", "caltech256", "euro_sat", "semeion", "sun397"}
VARIANT = {"emnist": {"split": "balanced"}}  # its split is a choice of classes: 47, as many images of each
TRAIN_SPLITS, SEARCH_SPLITS, TEST_SPLITS = ("train", "trainval", "train-standard"), ("val", "valid"), ("test",)
UNREADABLE = (RuntimeError, OSError, ImportError, ValueError)  # what torchvision raises for absent or damaged files


def snake_case(name: str) -> str:
    """FashionMNIST -> fashion_mnist, CIFAR10 -> cifar10, OxfordIIITPet -> oxford_iiit_pet."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _parameters(kind: type) -> set[str]:
    """Names that the class can be called with, those it hands on to its parents as **kwargs among them."""
    names: set[str] = set()
    for parent in kind.__mro__[:-1]:
        parameters = inspect.signature(parent).parameters
        names |= set(parameters)
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            break
    return names


def torchvision_names() -> dict[str, type]:
    """Snake-case name -> class, of the data sets that give an image and its class."""
    from torchvision import datasets  # slow to import, and only these data sets need it

    kinds = {snake_case(name): getattr(datasets, name) for name in datasets.__all__}
    found = {}
    for name, kind in kinds.items():
        parameters = _parameters(kind) if inspect.isclass(kind) else set()
        # flow, stereo and video have no target_transform, or frames
        labelled = {"root", "target_transform"} <= parameters
        if labelled and (name in WITHOUT_PARTS or {"train", "split"} & parameters) and name not in NOT_CLASSIFICATION:
            found[name] = kind
    return found


def _open(kind: type, config: DataConfig, **part: Any) -> Any:
    """The data set, downloaded if it is not there and can be; None where it has no such split."""
    downloads = "download" in _parameters(kind)
    for options in ({"download": False}, {"download": True}) if downloads else ({},):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # torchvision prints every mirror that it tries
                return kind(config.data_root, **(part | options))
        except UNREADABLE as error:
            if isinstance(error, ValueError) and "argument split" in str(error):
                return None
            reason = " ".join(str(error).split())[:200]
    raise UserError(
        f"data set {config.data} is not in {config.data_root} and could not be fetched ({reason}); "
        f"put its files there as torchvision's {kind.__name__} expects them, or name their folder with --data-root"
    )


def _first(kind: type, config: DataConfig, splits: tuple[str, ...]) -> Any:
    """The data set of the first split that it knows, or None."""
    opened = (_open(kind, config, split=split) for split in splits)
    return next((dataset for dataset in opened if dataset is not None), None)


def _parts(kind: type, config: DataConfig) -> list[tuple[int, Any]]:
    """(official part, data set) for every part there is. A val split without a test split is the test."""
    variant, parameters = VARIANT.get(config.data, {}), _parameters(kind)
    if config.data in WITHOUT_PARTS:
        return [(OFFICIAL["train"], _open(kind, config))]
    if "train" in parameters:
        flags = {"train": True, "test": False}
        return [(OFFICIAL[name], _open(kind, config, train=flag, **variant)) for name, flag in flags.items()]
    train, search, test = (_first(kind, config, splits) for splits in (TRAIN_SPLITS, SEARCH_SPLITS, TEST_SPLITS))
    if test is None:
        search, test = None, search
    parts = [(OFFICIAL["train"], train), (OFFICIAL["search"], search), (OFFICIAL["test"], test)]
    return [(part, dataset) for part, dataset in parts if dataset is not None]


class TorchvisionSet:
    """All parts of a data set one after another."""

    def __init__(self, config: DataConfig) -> None:
        parts = _parts(torchvision_names()[config.data], config)
        self.datasets = [dataset for _, dataset in parts]
        self.starts = np.cumsum([0, *map(len, self.datasets)])
        self.labels = np.concatenate([_labels(dataset, config.data) for dataset in self.datasets])
        self.part = np.concatenate([np.full(len(dataset), part, np.int8) for part, dataset in parts])
        self.classes = _classes(self.datasets[0], int(self.labels.max()) + 1)
        self.flip = config.data not in WITHOUT_MIRROR
        self.config_name = config.data

    def name(self, index: int) -> str:
        return f"image {index} of {self.config_name}"

    def image(self, index: int) -> Image.Image:
        which = int(np.searchsorted(self.starts, index, side="right")) - 1
        image: Image.Image = self.datasets[which][index - self.starts[which]][0]
        return image.convert("RGB")

    def content(self, index: int) -> bytes:
        image = self.image(index)  # torchvision gives no files, and pixels of any shape
        return repr(image.size).encode() + image.tobytes()


def _classes(dataset: Any, num_classes: int) -> tuple[str, ...]:
    """The classes' names; their numbers where the data set does not name each."""
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None) or ()
    if len(names) < num_classes:
        return tuple(map(str, range(num_classes)))
    return tuple(str(name[0] if isinstance(name, tuple) else name) for name in names)


def _labels(dataset: Any, name: str) -> NDArray[np.int64]:
    """(N,) labels, without decoding images where the data set keeps them, else by going through it."""
    for attribute in ("targets", "labels", "_labels", "y"):
        kept = np.asarray(getattr(dataset, attribute, None))
        if kept.shape == (len(dataset),) and kept.dtype.kind in "iu":  # QMNIST keeps 8 numbers a digit
            return kept.astype(np.int64)
    found = np.array([dataset[i][1] for i in range(len(dataset))])
    if found.shape != (len(dataset),) or found.dtype.kind not in "iu" or found.min(initial=0) < 0:
        raise UserError(
            f"data set {name} does not give one class for each image; use another, or a folder with a subfolder "
            "per class"
        )
    return found.astype(np.int64)
