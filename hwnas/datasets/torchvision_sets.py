"""Any classification data set of torchvision, by its name in snake case."""

import inspect
import re
from typing import Any

import numpy as np
from PIL import Image

from hwnas.datasets.dataset import DataConfig
from hwnas.datasets.source import OFFICIAL
from hwnas.errors import UserError

WITHOUT_MIRROR = {"mnist", "kmnist", "qmnist", "emnist", "usps", "svhn", "omniglot", "gtsrb", "rendered_sst2"}
TRAIN_SPLITS, SEARCH_SPLITS, TEST_SPLITS = ("train", "trainval"), ("val", "valid"), ("test", "val", "valid")


def snake_case(name: str) -> str:
    """FashionMNIST -> fashion_mnist, CIFAR10 -> cifar10, OxfordIIITPet -> oxford_iiit_pet."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def torchvision_names() -> dict[str, type]:
    """Snake-case name -> class, of the data sets that take a root and tell train from test."""
    from torchvision import datasets

    found = {}
    for name in datasets.__all__:
        kind = getattr(datasets, name)
        if inspect.isclass(kind):
            parameters = inspect.signature(kind).parameters
            if "root" in parameters and ({"train", "split"} & set(parameters)) and "frames_per_clip" not in parameters:
                found[snake_case(name)] = kind
    return found


def _open(kind: type, config: DataConfig, **split: Any) -> Any:
    """The data set, downloaded if it is not there and can be."""
    downloads = "download" in inspect.signature(kind).parameters
    for download in (False, True) if downloads else (False,):
        try:
            return kind(config.data_root, **split, **({"download": download} if downloads else {}))
        except ValueError as error:
            if "split" in str(error) and "split" in split:  # this data set has no such split
                return None
            reason: Exception = error
        except (RuntimeError, OSError) as error:
            reason = error
    raise UserError(
        f"data set {config.data} is not in {config.data_root} and could not be fetched ({' '.join(str(reason).split())[:200]}); "
        f"put its files there as torchvision's {kind.__name__} expects them, or name their folder with --data-root"
    )


def _first(kind: type, config: DataConfig, splits: tuple[str, ...]) -> Any:
    opened = (_open(kind, config, split=split) for split in splits)
    return next((dataset for dataset in opened if dataset is not None), None)


def _parts(kind: type, config: DataConfig) -> list[tuple[int, Any]]:
    """(official part, data set) for every part there is."""
    if "train" in inspect.signature(kind).parameters:
        return [
            (OFFICIAL["train"], _open(kind, config, train=True)),
            (OFFICIAL["test"], _open(kind, config, train=False)),
        ]
    train, test = _first(kind, config, TRAIN_SPLITS), _first(kind, config, TEST_SPLITS[:1])
    search = _first(kind, config, SEARCH_SPLITS)
    if test is None:
        test, search = search, None
    parts = [(OFFICIAL["train"], train), (OFFICIAL["search"], search), (OFFICIAL["test"], test)]
    return [(part, dataset) for part, dataset in parts if dataset is not None]


class TorchvisionSet:
    """All parts of a data set one after another."""

    def __init__(self, config: DataConfig) -> None:
        parts = _parts(torchvision_names()[config.data], config)
        self.datasets = [dataset for _, dataset in parts]
        self.starts = np.cumsum([0, *map(len, self.datasets)])
        self.labels = np.concatenate([_labels(dataset) for dataset in self.datasets])
        self.part = np.concatenate([np.full(len(dataset), part, np.int8) for part, dataset in parts])
        names = getattr(self.datasets[0], "classes", None) or range(int(self.labels.max()) + 1)
        self.classes = tuple(str(name[0] if isinstance(name, tuple) else name) for name in names)
        self.flip = config.data not in WITHOUT_MIRROR
        self.config_name = config.data

    def name(self, index: int) -> str:
        return f"image {index} of {self.config_name}"

    def image(self, index: int) -> Image.Image:
        which = int(np.searchsorted(self.starts, index, side="right")) - 1
        image: Image.Image = self.datasets[which][index - self.starts[which]][0]
        return image.convert("RGB")


def _labels(dataset: Any) -> Any:
    """(N,) labels without decoding images where the data set keeps them, else by going through it."""
    for attribute in ("targets", "labels", "_labels", "y"):
        found = getattr(dataset, attribute, None)
        if found is not None and len(found) == len(dataset):
            return np.asarray(found).astype(np.int64)
    return np.array([dataset[i][1] for i in range(len(dataset))], np.int64)
