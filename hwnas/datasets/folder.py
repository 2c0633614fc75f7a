"""A folder with a subfolder per class, or with train/ and val/ or test/ that hold them."""

from pathlib import Path

import numpy as np
from PIL import Image

from hwnas.datasets.dataset import DataConfig
from hwnas.datasets.source import OFFICIAL, rgb
from hwnas.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
PART_NAMES = ("train", "val", "test")


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _official_parts(root: Path) -> dict[Path, int]:
    """Folder -> part. A val/ without a test/ is what accuracy is told of."""
    present = [name for name in PART_NAMES if (root / name).is_dir() and _subfolders(root / name)]
    if "train" not in present or len(present) < 2:
        return {root: OFFICIAL["train"]}
    val = OFFICIAL["search"] if "test" in present else OFFICIAL["test"]
    return {root / name: {"train": 0, "val": val, "test": 2}[name] for name in present}


def _images(group: Path) -> list[Path]:
    """The image files below a class's folder in sorted order, hidden files and folders left out."""
    return [
        path
        for path in sorted(group.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(name.startswith(".") for name in path.relative_to(group).parts)
    ]


def _check_names(root: Path, classes: tuple[str, ...]) -> None:
    """UserError for a name that no list of labels, a class a line, can hold."""
    for name in classes:
        if not name.isprintable():
            raise UserError(f"{root} has a class named {name!r}; rename that folder with printable characters only")


class Folder:
    """Images found on disk, in sorted order."""

    def __init__(self, config: DataConfig) -> None:
        root = Path(config.data)
        groups = [(group, part) for folder, part in _official_parts(root).items() for group in _subfolders(folder)]
        found = [(path, group.name, part) for group, part in groups for path in _images(group)]
        if not found:
            raise UserError(
                f"no images in {root}; it must hold a subfolder per class (or train/ and val/ with one per class) "
                f"with {', '.join(sorted(SUFFIXES))} files"
            )
        self.paths = [path for path, _, _ in found]
        # from the subfolders, not from the images: a class whose folder is empty must be told of, not forgotten
        self.classes = tuple(sorted({group.name for group, _ in groups}))
        _check_names(root, self.classes)
        label = {name: number for number, name in enumerate(self.classes)}
        self.labels = np.array([label[name] for _, name, _ in found], np.int64)
        self.part = np.array([part for _, _, part in found], np.int8)
        self.flip = True

    def name(self, index: int) -> str:
        return str(self.paths[index])

    def image(self, index: int) -> Image.Image:
        with Image.open(self.paths[index]) as image:
            return rgb(image)

    def content(self, index: int) -> bytes:
        return self.paths[index].read_bytes()
