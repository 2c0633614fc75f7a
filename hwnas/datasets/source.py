"""Where images come from."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hwnas.datasets.dataset import DataConfig

OFFICIAL = {"train": 0, "search": 1, "test": 2}
SIXTEEN_BIT_AS_INT = ("PNG", "PPM")  # formats that Pillow opens as mode I with values to 65535


class Source(Protocol):
    """Labelled images, decoded one at a time."""

    classes: tuple[str, ...]
    labels: NDArray[np.int64]  # (N,)
    part: NDArray[np.int8]  # (N,) the source's own split: an OFFICIAL value; all 0 where it has none
    flip: bool  # whether a mirrored image keeps its label

    def name(self, index: int) -> str:
        """How a user finds the image."""
        ...

    def image(self, index: int) -> Image.Image:
        """The decoded RGB image; OSError or ValueError where it is broken."""
        ...

    def content(self, index: int) -> bytes:
        """What is stored of the image: the same for copies of one file."""
        ...


class SourceReader(Protocol):
    """Opens a source for a configuration."""

    def __call__(self, config: DataConfig) -> Source: ...


def rgb(image: Image.Image) -> Image.Image:
    """The image, fully decoded, as 8-bit RGB; OSError or ValueError where that cannot be."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in SIXTEEN_BIT_AS_INT):
        # Pillow's own conversion clips at 255: nearly every 16-bit picture would come out white
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel; save it with 8 or 16")
    if "transparency" in image.info:  # a palette with transparency warns unless it goes by way of RGBA
        image = image.convert("RGBA")
    upright: Image.Image = ImageOps.exif_transpose(image)  # phones store many photos lying on their side
    return upright.convert("RGB")
