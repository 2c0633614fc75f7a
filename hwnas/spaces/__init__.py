"""What may be built: pure data, no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hwnas.errors import UserError, unknown
from hwnas.spaces.macs import macs, op_macs, op_params, params
from hwnas.spaces.mbconv import CHAINS, mbconv
from hwnas.spaces.mobilenet_v3 import mobilenet_v3, mobilenet_v3_large
from hwnas.spaces.nas_bench_macro import nas_bench_macro
from hwnas.spaces.published import PUBLISHED, published_arch
from hwnas.spaces.space import Arch, Decision, OpSpec, Slot, Space, op

SPACES: dict[str, Callable[..., Space]] = {
    **{name: partial(mbconv, name) for name in CHAINS},
    "mobilenet_v3": mobilenet_v3,
    "mobilenet_v3_large": mobilenet_v3_large,
    "nas_bench_macro": nas_bench_macro,
}
IMAGENET_RESOLUTION, SMALL_RESOLUTION = 224, 32  # what a space is listed and tested at
DEFAULT_RESOLUTION = dict.fromkeys(("proxyless_small", "nas_bench_macro"), SMALL_RESOLUTION)


@dataclass(frozen=True, slots=True)
class SpaceConfig:
    """All that is needed to build a space again."""

    name: str
    resolution: int
    num_classes: int
    width_mult: float = 1.0


def build_space(config: SpaceConfig) -> Space:
    """The space of a config; UserError for a name or a number that is none."""
    if config.name not in SPACES:
        raise unknown("space", config.name, SPACES)
    if config.resolution < 8 or config.num_classes < 2 or not 0.05 <= config.width_mult <= 4:
        raise UserError(
            f"space {config.name} came with resolution {config.resolution}, {config.num_classes} classes and width "
            f"{config.width_mult}; allowed are at least 8 pixels, at least 2 classes and a width of 0.05 to 4"
        )
    return SPACES[config.name](config.resolution, config.width_mult, config.num_classes)


def extremes(space: Space) -> tuple[Arch, Arch]:
    """The architectures of fewest and most multiply-adds in a space whose slots depend on one decision each."""
    cost = {d: [op_macs(spec) for spec in slot.options] for slot in space.slots for d in slot.decisions}
    ordered = [cost[d] for d in range(len(space.decisions))]
    return tuple(c.index(min(c)) for c in ordered), tuple(c.index(max(c)) for c in ordered)


__all__ = [
    "DEFAULT_RESOLUTION",
    "IMAGENET_RESOLUTION",
    "PUBLISHED",
    "SPACES",
    "Arch",
    "Decision",
    "OpSpec",
    "Slot",
    "Space",
    "SpaceConfig",
    "build_space",
    "extremes",
    "macs",
    "op",
    "op_macs",
    "op_params",
    "params",
    "published_arch",
]
