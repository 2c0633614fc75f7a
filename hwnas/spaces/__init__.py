"""What may be built: pure data, no torch."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from hwnas.errors import UserError, unknown
from hwnas.spaces.darts import darts
from hwnas.spaces.joint import Joint, combined
from hwnas.spaces.macs import macs, op_macs, op_params, params
from hwnas.spaces.mbconv import CHAINS, mbconv
from hwnas.spaces.mobilenet_v3 import mobilenet_v3, mobilenet_v3_large
from hwnas.spaces.nas_bench_201 import nas_bench_201
from hwnas.spaces.nas_bench_macro import nas_bench_macro
from hwnas.spaces.published import PUBLISHED, published_arch
from hwnas.spaces.space import Arch, Decision, OpSpec, Slot, Space, op

SPACES: dict[str, Callable[..., Space]] = {
    **{name: partial(mbconv, name) for name in CHAINS},
    "mobilenet_v3": mobilenet_v3,
    "mobilenet_v3_large": mobilenet_v3_large,
    "nas_bench_macro": nas_bench_macro,
    "nas_bench_201": nas_bench_201,
    "darts": darts,
}
IMAGENET_RESOLUTION, SMALL_RESOLUTION = 224, 32  # what a space is listed and tested at
DEFAULT_RESOLUTION = dict.fromkeys(("proxyless_small", "nas_bench_macro", "nas_bench_201", "darts"), SMALL_RESOLUTION)


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


def extremes(space: Space, cost_of: Callable[[OpSpec], float] = op_macs) -> tuple[Arch, Arch]:
    """The architectures of lowest and of highest cost, a sum over slots: multiply-adds unless told otherwise.

    Exact: slots that share decisions are added up over all joint choices. ValueError where these are too many.
    """
    ends: list[dict[int, int]] = [{}, {}]
    for tables in _coupled(space.slot_costs(cost_of)):
        total = combined(np.add, tables)
        for end, flat in zip(ends, (total.values.argmin(), total.values.argmax()), strict=True):
            end |= dict(zip(total.decisions, map(int, np.unravel_index(flat, total.values.shape)), strict=True))
    lowest, highest = (tuple(end.get(d, 0) for d in range(len(space.decisions))) for end in ends)
    return lowest, highest


def _coupled(tables: Iterable[Joint]) -> Iterator[list[Joint]]:
    """Tables in groups that have no decision in common."""
    groups: list[tuple[set[int], list[Joint]]] = []
    for table in tables:
        touched = [group for group in groups if group[0] & set(table.decisions)]
        groups = [group for group in groups if group not in touched]
        decisions = set(table.decisions).union(*(group[0] for group in touched))
        groups.append((decisions, [*(t for group in touched for t in group[1]), table]))
    yield from (tables for decisions, tables in groups if decisions)


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
