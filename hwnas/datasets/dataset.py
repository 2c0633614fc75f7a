"""Three disjoint sets: weights are trained on one, architectures chosen on another, accuracy told of a third."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARTS = ("train", "search", "test")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which images, how large they are stored, and how they are split where the source does not say."""

    data: str
    image_size: int  # side in pixels of the stored, square images
    data_root: str = "data"
    skip_broken: bool = False
    seed: int = 0
    search_share: float = 0.15  # of what is not test
    test_share: float = 0.2  # of all, where the source has no test part of its own


@dataclass(frozen=True)
class ImageSet:
    """images: (N, 3, S, S) uint8, perhaps a read-only memory map; labels: (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """The three parts. flip: whether a mirrored image keeps its label."""

    train: ImageSet
    search: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    flip: bool
