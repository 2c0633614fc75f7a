"""A .npz of encoded images: arrays jpeg, offset, label, classes and, where there is an official test part, is_test."""

import io
import zipfile

import numpy as np
from PIL import Image

from hwnas.datasets.dataset import DataConfig
from hwnas.datasets.source import OFFICIAL
from hwnas.errors import UserError

NEEDED = ("jpeg", "offset", "label", "classes")


class Npz:
    """jpeg: all encoded bytes (uint8); image i is jpeg[offset[i]:offset[i + 1]]; label (N,); classes (K,) strings."""

    def __init__(self, config: DataConfig) -> None:
        try:
            arrays = dict(np.load(config.data, allow_pickle=False))
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise UserError(f"{config.data} is not a readable .npz ({error}); make it with numpy.savez") from None
        missing = [name for name in NEEDED if name not in arrays]
        if missing:
            raise UserError(f"{config.data} lacks the arrays {', '.join(missing)}; it must hold {', '.join(NEEDED)}")
        self.path, self.jpeg, self.offset = config.data, arrays["jpeg"], arrays["offset"]
        self.classes = tuple(map(str, arrays["classes"]))
        self.labels = arrays["label"].astype(np.int64)
        if len(self.offset) != len(self.labels) + 1:
            raise UserError(
                f"{config.data} has {len(self.labels)} labels and {len(self.offset)} offsets; one more needed"
            )
        is_test = arrays.get("is_test", np.zeros(len(self.labels), bool)).astype(bool)
        self.part = np.where(is_test, OFFICIAL["test"], OFFICIAL["train"]).astype(np.int8)
        self.flip = True

    def name(self, index: int) -> str:
        return f"image {index} of {self.path}"

    def image(self, index: int) -> Image.Image:
        encoded = self.jpeg[self.offset[index] : self.offset[index + 1]].tobytes()
        with Image.open(io.BytesIO(encoded)) as image:
            return image.convert("RGB")
