"""A .npz of encoded images: arrays jpeg, offset, label, classes; is_test and is_val where there are official parts."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hwnas.datasets.dataset import DataConfig
from hwnas.datasets.source import OFFICIAL, rgb
from hwnas.errors import UserError

NEEDED = ("jpeg", "offset", "label", "classes")
FLAGS = ("is_test", "is_val")
SHOWN = 8  # names of a file with other arrays
KINDS = {  # numpy's letters of what an array may hold, and how that is called
    "jpeg": ("u", "uint8"),
    **dict.fromkeys(("offset", "label"), ("i", "u", "integers")),
    "classes": ("U", "S", "strings"),
    **dict.fromkeys(FLAGS, ("b", "i", "u", "booleans")),
}


def _arrays(path: str) -> dict[str, NDArray[Any]]:
    """The file's arrays, every needed one among them; UserError where it is not such a file."""
    try:
        with Path(path).open("rb") as file:  # numpy leaves a file that it opened itself open when it is cut off
            arrays = dict(np.load(file, allow_pickle=False))
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable .npz ({error}); make it with numpy.savez") from None
    if not set(NEEDED) <= set(arrays):
        names = [*list(arrays)[:SHOWN], *([f"{len(arrays) - SHOWN} more"] if len(arrays) > SHOWN else [])]
        came = f"holds {', '.join(names)}" if names else "is empty"
        raise UserError(f"{path} {came}; needed are {', '.join(NEEDED)}, and {' and '.join(FLAGS)} are allowed")
    return arrays


def _check(path: str, arrays: dict[str, NDArray[Any]]) -> None:
    """UserError where the arrays do not fit each other."""
    for name, kinds in KINDS.items():
        array = arrays.get(name)
        if array is not None and (array.ndim != 1 or array.dtype.kind not in kinds):
            raise UserError(
                f"{path}: {name} has {array.ndim} dimensions of {array.dtype}; it must have one, of {kinds[-1]}"
            )
    if arrays["jpeg"].dtype != np.uint8:
        raise UserError(f"{path}: jpeg holds {arrays['jpeg'].dtype}; it must be the files' bytes as uint8")
    labels, num_offsets, num_classes = arrays["label"], len(arrays["offset"]), len(arrays["classes"])
    if len(set(arrays["classes"].tolist())) != num_classes:
        raise UserError(f"{path} has two classes of one name; every class needs a name of its own")
    if num_offsets != len(labels) + 1:
        raise UserError(
            f"{path} has {len(labels)} labels and {num_offsets} offsets; one offset more than labels needed"
        )
    for flag in FLAGS:
        if len(arrays.get(flag, labels)) != len(labels):
            raise UserError(f"{path} has {len(labels)} labels and {len(arrays[flag])} in {flag}; as many are needed")
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise UserError(
            f"{path} has labels from {labels.min()} to {labels.max()}; its {num_classes} classes allow 0 to "
            f"{num_classes - 1}"
        )


def _official_parts(arrays: dict[str, NDArray[Any]]) -> NDArray[np.int8]:
    """(N,) OFFICIAL values. Images of is_val without any of is_test are what accuracy is told of, as in a folder."""
    is_test, is_val = (arrays.get(flag, np.zeros(len(arrays["label"]), bool)).astype(bool) for flag in FLAGS)
    part = np.full(len(is_test), OFFICIAL["train"], np.int8)
    part[is_val] = OFFICIAL["search"] if is_test.any() else OFFICIAL["test"]
    part[is_test] = OFFICIAL["test"]
    return part


class Npz:
    """jpeg: all encoded bytes (uint8); image i is jpeg[offset[i]:offset[i + 1]]; label (N,); classes (K,) strings."""

    def __init__(self, config: DataConfig) -> None:
        arrays = _arrays(config.data)
        _check(config.data, arrays)
        self.path, self.jpeg, self.offset = config.data, arrays["jpeg"], arrays["offset"]
        self.classes = tuple(arrays["classes"].astype(str).tolist())
        self.labels = arrays["label"].astype(np.int64)
        self.part = _official_parts(arrays)
        self.flip = True

    def name(self, index: int) -> str:
        return f"image {index} of {self.path}"

    def image(self, index: int) -> Image.Image:
        with Image.open(io.BytesIO(self.content(index))) as image:
            return rgb(image)

    def content(self, index: int) -> bytes:
        return self.jpeg[self.offset[index] : self.offset[index + 1]].tobytes()
