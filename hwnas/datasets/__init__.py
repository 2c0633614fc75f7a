"""Images of any origin -> three disjoint parts."""

from collections.abc import Callable
from pathlib import Path

from hwnas.datasets.dataset import PARTS, DataConfig, ImageSet, Splits
from hwnas.datasets.digits import Digits
from hwnas.datasets.folder import Folder
from hwnas.datasets.npz import Npz
from hwnas.datasets.on_demand import parts_on_demand
from hwnas.datasets.prepare import load, prepare_parts
from hwnas.datasets.source import Source
from hwnas.datasets.torchvision_sets import TorchvisionSet, torchvision_names
from hwnas.errors import UserError, unknown


def open_source(config: DataConfig) -> Source:
    """The images that `config.data` names: an existing folder or .npz, digits, or a data set of torchvision."""
    path = Path(config.data)
    if config.data and path.is_dir():  # an empty name would be the current folder
        return Folder(config)
    if path.is_file() and path.suffix == ".npz":
        return Npz(config)
    if path.is_file():
        raise UserError(f"--data {config.data} is a file; allowed are a folder with a subfolder per class, or a .npz")
    if config.data == "digits":
        return Digits(config)
    if "/" in config.data or "." in config.data or not config.data:
        raise UserError(
            f"data folder {config.data or '(empty name)'} does not exist; give an existing folder with a subfolder per "
            "class, an existing .npz, or the name of a data set, such as digits or cifar10"
        )
    if config.data not in torchvision_names():
        raise unknown(
            "data set", config.data, ["digits", *torchvision_names()], "An existing folder or .npz is allowed."
        )
    return TorchvisionSet(config)


def prepare(
    config: DataConfig, folder: Path, min_side: int, progress: Callable[[int, int], None] | None = None
) -> Splits:
    """The three parts in `folder`, decoded on the first call."""
    return prepare_parts(config, folder, open_source, min_side, progress or (lambda done, total: None))


def on_demand(
    config: DataConfig, folder: Path, min_side: int, progress: Callable[[int, int], None] | None = None
) -> Splits:
    """The same parts, but of what is not in `folder` yet only those images decoded that are asked for."""
    found = parts_on_demand(config, folder, open_source, min_side)
    return prepare(config, folder, min_side, progress) if found is None else found


__all__ = ["PARTS", "DataConfig", "ImageSet", "Source", "Splits", "load", "on_demand", "open_source", "prepare"]
