"""Networks of the literature as points of the spaces: baselines, and proof that a space is what it says."""

import itertools
from dataclasses import dataclass

from hwnas.spaces.chain import SKIP
from hwnas.spaces.space import Arch, Space


@dataclass(frozen=True, slots=True)
class Published:
    """A network of the literature as a point of a chain, with the figures its authors or torchvision give at 224."""

    space: str
    layers: tuple[tuple[str, ...], ...]  # per stage, the names of the choices; skip where they end
    macs: int
    params: int
    source: str
    macs_within: float = 0.002  # how far the figures may be off, for they are rounded, or counted otherwise: a share
    params_within: float = 0.0


PUBLISHED = {
    "mobilenet_v2": Published(
        "mobilenet_v2",
        tuple(("k3e6",) * n for n in (2, 3, 4, 3, 3, 1)),
        macs=300_774_272,
        params=3_504_872,
        source="torchvision.models.mobilenet_v2",
    ),
    "proxyless_mobile": Published(
        "proxyless",
        (
            ("k5e3", "k3e3"),
            ("k7e3", "k3e3", "k5e3", "k5e3"),
            ("k7e6", "k5e3", "k5e3", "k5e3"),
            ("k5e6", "k5e3", "k5e3", "k5e3"),
            ("k7e6", "k7e6", "k7e3", "k7e3"),
            ("k7e6",),
        ),
        macs=320_000_000,
        params=4_080_512,
        source="https://arxiv.org/abs/1812.00332, figure 4: ProxylessNAS-Mobile",
    ),
    "mobilenet_v3_large": Published(
        "mobilenet_v3_large",
        (("k3",) * 2, ("k5",) * 3, ("k3",) * 4, ("k3",) * 2, ("k5",) * 3),
        macs=216_589_760,
        params=5_483_032,
        source="torchvision.models.mobilenet_v3_large",
    ),
}


FBNETS = {  # blocks of the stages between the first and the last; the figures are those of the paper's table 3
    "fbnet_a": (
        "fbnet_1504",
        (
            (SKIP,),
            ("k3_e3", "k3_e1"),
            ("k5_e6", "k3_e3", "k5_e1", "k3_e3"),
            ("k5_e6", "k5_e3", "k5_e1_g2", "k5_e6"),
            ("k3_e6", "k5_e1_g2", "k5_e3", "k3_e1_g2"),
            ("k5_e6", "k5_e6", "k5_e3", "k5_e6"),
            ("k5_e6",),
        ),
        (249_000_000, 4_300_000),
    ),
    "fbnet_b": (
        "fbnet",
        (
            ("k3_e1",),
            ("k3_e6", "k5_e1", "k3_e1", "k3_e1"),
            ("k5_e6", "k5_e3", "k3_e6", "k5_e6"),
            ("k5_e6", "k5_e6", SKIP, "k5_e3"),
            ("k5_e6", "k3_e1", "k5_e1", "k5_e3"),
            ("k5_e6", "k5_e1", "k5_e6", "k5_e6"),
            ("k3_e6",),
        ),
        (295_000_000, 4_500_000),
    ),
    "fbnet_c": (
        "fbnet",
        (
            ("k3_e1",),
            ("k3_e6", SKIP, "k3_e1", "k3_e1"),
            ("k5_e6", "k5_e3", "k5_e6", "k3_e6"),
            ("k5_e6", "k5_e3", "k5_e6", "k5_e6"),
            ("k5_e6", "k5_e6", "k5_e6", "k5_e3"),
            ("k5_e6",) * 4,
            ("k3_e6",),
        ),
        (375_000_000, 5_500_000),
    ),
}


def published_arch(name: str, space: Space) -> Arch:
    """The published network as an architecture of `space`, which must be its own chain (any resolution or width)."""
    network = PUBLISHED[name]
    if space.name != network.space:
        raise ValueError(f"{name} is a point of {network.space}, not of {space.name}")
    stages = itertools.groupby(space.decisions, key=lambda decision: decision.name.split(".")[0])
    names: list[str] = []
    for choices, (_, layers) in zip(network.layers, stages, strict=True):
        names += [*choices, *[SKIP] * (len(list(layers)) - len(choices))]
    return space.from_names(tuple(names))
