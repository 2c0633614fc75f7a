"""Networks of the literature as points of the spaces: baselines, and proof that a space is what it says."""

import itertools
from dataclasses import dataclass

from hwnas.spaces.chain import SKIP
from hwnas.spaces.space import Arch, Space


@dataclass(frozen=True, slots=True)
class Published:
    """A network of the literature as a point of a chain, with what its authors, torchvision or timm count at 224."""

    title: str
    space: str
    layers: tuple[tuple[str, ...], ...]  # per stage, the names of the choices; skip where they end
    macs: int
    params: int
    source: str
    macs_within: float = 0.002  # the share by which rounded figures, or those counted otherwise, may be off
    params_within: float = 0.0


MOBILE_VISION = "https://arxiv.org/abs/1812.03443; https://github.com/facebookresearch/mobile-vision"
UNITS = ("shuffle3", "shuffle5", "shuffle7", "xception")
SPOS_UNITS = [UNITS[i] for i in (0, 0, 3, 1, 1, 1, 0, 0, 2, 0, 2, 1, 1, 0, 2, 0, 2, 1, 3, 2)]
SPOS_WIDTHS = [f"w{(i + 1) / 5:g}" for i in (6, 5, 3, 5, 2, 6, 3, 4, 2, 5, 7, 5, 4, 6, 7, 4, 4, 5, 4, 3)]


def _by_stage(layers: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """The choices of 20 layers in stages of 4, 4, 8 and 4."""
    cuts = itertools.pairwise((0, 4, 8, 16, 20))
    return tuple(tuple(itertools.chain(*layers[start:end])) for start, end in cuts)


PUBLISHED = {
    "mobilenet_v2": Published(
        "MobileNetV2",
        "mobilenet_v2",
        tuple(("k3e6",) * n for n in (2, 3, 4, 3, 3, 1)),
        macs=300_774_272,
        params=3_504_872,
        source="torchvision.models.mobilenet_v2",
    ),
    "proxyless_mobile": Published(
        "ProxylessNAS-Mobile",
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
        "MobileNetV3-Large",
        "mobilenet_v3_large",
        (("k3",) * 2, ("k5",) * 3, ("k3",) * 4, ("k3",) * 2, ("k5",) * 3),
        macs=216_589_760,
        params=5_483_032,
        source="torchvision.models.mobilenet_v3_large",
    ),
    # The figures of mobile-vision's README, but for FBNet-C's, which are timm's. Its code leaves out the first
    # convolution of blocks of expansion 1, which paper and timm have: its FBNet-B is smaller for that.
    "fbnet_a": Published(
        "FBNet-A",
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
        macs=249_400_000,
        params=4_300_000,
        source=MOBILE_VISION,
        macs_within=0.003,
        params_within=0.006,
    ),
    "fbnet_b": Published(
        "FBNet-B",
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
        macs=295_600_000,
        params=4_800_000,
        source=MOBILE_VISION,
        macs_within=0.04,
        params_within=0.014,
    ),
    "fbnet_c": Published(
        "FBNet-C",
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
        macs=384_960_160,
        params=5_572_200,
        source=f"timm: fbnetc_100; {MOBILE_VISION}",
        macs_within=0.0,
    ),
    "mobilenet_v4_conv_small": Published(
        "MobileNetV4-Conv-S",
        "mobilenet_v4",
        (
            ("extra55", "e3", *("ib3", "e2") * 4, "convnext3", "e4"),
            ("extra33", "e6", "extra55", "e4", "ib5", "e4", "ib5", "e3", "ib3", "e4", "ib3", "e4"),
        ),
        macs=186_005_568,
        params=3_774_024 - 1_280,  # batch norm after the first of the last two layers; here that one has a bias
        source="timm: mobilenetv4_conv_small; https://arxiv.org/abs/2404.10518",
        macs_within=0.0,
    ),
    "spos": Published(
        "Single Path One-Shot",
        "shufflenet_spos",
        _by_stage(tuple((unit,) for unit in SPOS_UNITS)),
        macs=319_000_000,
        params=3_345_088 + 1_000,  # as for `spos_channels`
        source="https://arxiv.org/abs/1904.00420, section 4: block search, 319M",
    ),
    "spos_channels": Published(
        "Single Path One-Shot with channels",
        "shufflenet_spos_channels",
        _by_stage(tuple(zip(SPOS_UNITS, SPOS_WIDTHS, strict=True))),
        macs=328_000_000,
        params=3_432_579 + 1_000,  # the official last layer has no bias
        source="https://github.com/megvii-model/ShuffleNet-Series, OneShot: 328M, 3.4M",
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
