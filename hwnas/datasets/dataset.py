"""Three disjoint sets: weights are trained on one, architectures chosen on another, accuracy told of a third."""

from dataclasses import dataclass
from typing import Any, Protocol

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


class Pixels(Protocol):
    """(N, 3, S, S) uint8, to index as an array: one in memory, a read-only map of a file, or decoded only then."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, key: Any, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class ImageSet:
    """images: (N, 3, S, S); labels: (N,)."""

    images: Pixels
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """The three parts. flip: whether a mirrored image keeps its label."""

    train: ImageSet
    search: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    flip: bool
