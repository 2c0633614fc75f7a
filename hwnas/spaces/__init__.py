"""What may be built: pure data, no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hwnas.errors import UserError, unknown
from hwnas.spaces.darts import darts
from hwnas.spaces.ends import extremes
from hwnas.spaces.fbnet import FBNETS, fbnet
from hwnas.spaces.macs import macs, op_macs, op_params, params
from hwnas.spaces.mbconv import CHAINS, mbconv, proxyless_small_elastic
from hwnas.spaces.mobilenet_v3 import mobilenet_v3, mobilenet_v3_elastic, mobilenet_v3_large
from hwnas.spaces.mobilenet_v4 import mobilenet_v4
from hwnas.spaces.nas_bench_201 import nas_bench_201
from hwnas.spaces.nas_bench_macro import nas_bench_macro
from hwnas.spaces.published import PUBLISHED, published_arch
from hwnas.spaces.shufflenet import shufflenet_spos, shufflenet_spos_channels
from hwnas.spaces.space import Arch, Decision, OpSpec, Slot, Space, op
from hwnas.spaces.user import is_file, read_space

SPACES: dict[str, Callable[..., Space]] = {
    **{name: partial(mbconv, name) for name in CHAINS},
    "proxyless_small_elastic": proxyless_small_elastic,
    "mobilenet_v3": mobilenet_v3,
    "mobilenet_v3_elastic": mobilenet_v3_elastic,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v4": mobilenet_v4,
    "nas_bench_macro": nas_bench_macro,
    **{name: partial(fbnet, name) for name in FBNETS},
    "shufflenet_spos": shufflenet_spos,
    "shufflenet_spos_channels": shufflenet_spos_channels,
    "nas_bench_201": nas_bench_201,
    "darts": darts,
}
KEPT = "space.yaml"  # in a run directory: a space that came as a file
IMAGENET_RESOLUTION, SMALL_RESOLUTION = 224, 32  # what a space is listed and tested at
SMALL = ("proxyless_small", "proxyless_small_elastic", "nas_bench_macro", "nas_bench_201", "darts")
DEFAULT_RESOLUTION = dict.fromkeys(SMALL, SMALL_RESOLUTION)


@dataclass(frozen=True, slots=True)
class SpaceConfig:
    """All that is needed to build a space again."""

    name: str  # a key of SPACES, or the path of a YAML file
    resolution: int
    num_classes: int
    width_mult: float = 1.0
    file: Path | None = None  # of a space that is none of SPACES


def build_space(config: SpaceConfig) -> Space:
    """The space of a config; UserError for a name or a number that is none."""
    file = config.file or (Path(config.name) if is_file(config.name) else None)
    if file is None and config.name not in SPACES:
        raise unknown("space", config.name, SPACES, "A path to a .yaml file is allowed too: see docs/spaces.md.")
    if config.resolution < 8 or config.num_classes < 2 or not 0.05 <= config.width_mult <= 4:
        raise UserError(
            f"space {config.name} came with resolution {config.resolution}, {config.num_classes} classes and width "
            f"{config.width_mult}; allowed are at least 8 pixels, at least 2 classes and a width of 0.05 to 4"
        )
    numbers = (config.resolution, config.width_mult, config.num_classes)
    return SPACES[config.name](*numbers) if file is None else _of_file(file, *numbers)


def _of_file(file: Path, resolution: int, width_mult: float, num_classes: int) -> Space:
    space = read_space(file, resolution, width_mult, num_classes)
    if space.name in SPACES:
        raise UserError(f"space {file} is called {space.name}, as one of `hwnas spaces` is; give it another name")
    return space


def config_of(record: Mapping[str, Any], folder: Path) -> SpaceConfig:
    """The space of a network that is written down in a run directory, which keeps a space that came as a file."""
    name, kept = record["space"], folder / KEPT
    file = kept if name not in SPACES and kept.is_file() else None
    return SpaceConfig(name, record["resolution"], record["num_classes"], record["width_mult"], file)


__all__ = [
    "DEFAULT_RESOLUTION",
    "IMAGENET_RESOLUTION",
    "KEPT",
    "PUBLISHED",
    "SPACES",
    "Arch",
    "Decision",
    "OpSpec",
    "Slot",
    "Space",
    "SpaceConfig",
    "build_space",
    "config_of",
    "extremes",
    "is_file",
    "macs",
    "op",
    "op_macs",
    "op_params",
    "params",
    "published_arch",
]
