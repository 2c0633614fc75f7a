"""torchvision's data sets by name, read from files in their own formats."""

import struct

import numpy as np
import pytest

from hwnas.datasets import DataConfig, prepare
from hwnas.datasets.torchvision_sets import snake_case, torchvision_names


def write_mnist(root, train=60, test=20):
    """The four files of MNIST's own format with random images."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for prefix, count in (("train", train), ("t10k", test)):
        images, labels = rng.integers(0, 255, (count, 28, 28), dtype=np.uint8), (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes()
        )
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    return rng


def test_mnist_keeps_its_test_part_and_may_not_be_mirrored(tmp_path):
    write_mnist(tmp_path / "root")
    config = DataConfig(data="mnist", image_size=28, data_root=str(tmp_path / "root"))
    splits = prepare(config, tmp_path / "cache", 8)
    assert len(splits.test.labels) == 20
    assert len(splits.train.labels) + len(splits.search.labels) == 60
    assert len(splits.classes) == 10
    assert splits.train.images.shape[1:] == (3, 28, 28)
    assert not splits.flip


@pytest.mark.parametrize(
    "name", ["cifar10", "cifar100", "fashion_mnist", "flowers102", "food101", "oxford_iiit_pet", "stl10"]
)
def test_the_usual_names_are_known(name):
    assert name in torchvision_names()


def test_snake_case():
    assert [snake_case(n) for n in ("CIFAR10", "FashionMNIST", "OxfordIIITPet")] == [
        "cifar10",
        "fashion_mnist",
        "oxford_iiit_pet",
    ]
