"""Where images come from."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from hwnas.datasets.dataset import DataConfig

OFFICIAL = {"train": 0, "search": 1, "test": 2}


class Source(Protocol):
    """Labelled images, decoded one at a time."""

    classes: tuple[str, ...]
    labels: NDArray[np.int64]  # (N,)
    part: NDArray[np.int8]  # (N,) the source's own split: an OFFICIAL value; all 0 where it has none
    flip: bool  # whether a mirrored image keeps its label

    def name(self, index: int) -> str:
        """How a user finds the image."""
        ...

    def image(self, index: int) -> Image:
        """The decoded RGB image; OSError or ValueError where it is broken."""
        ...


class SourceReader(Protocol):
    """Opens a source for a configuration."""

    def __call__(self, config: DataConfig) -> Source: ...
