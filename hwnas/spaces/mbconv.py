"""The ProxylessNAS / MobileNetV2 chain of inverted residuals: stage tables, one function, published points.

ProxylessNAS, https://arxiv.org/abs/1812.00332, section 4.2: kernel 3, 5 or 7 and expansion 3 or 6 in every layer,
or a skip where the shape allows it. MobileNetV2, https://arxiv.org/abs/1801.04381, table 2.
"""

from dataclasses import dataclass

from hwnas.errors import UserError
from hwnas.spaces.space import Arch, Decision, OpSpec, Slot, Space, op

BLOCKS = {f"k{k}e{e}": {"k": k, "e": e} for e in (3, 6) for k in (3, 5, 7)}
SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Chain:
    """A stage table. Every stage starts with its stride and continues with layers that may be skipped."""

    stem_channels: int
    first_channels: int  # of the one block of expansion 1
    stages: tuple[tuple[int, int, int], ...]  # (channels, layers, stride)
    head_channels: int


CHAINS = {
    "proxyless": Chain(
        32, 16, ((32, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)), head_channels=1280
    ),
    # the widths that ProxylessNAS and TuNAS search and give tables of; those published as Mobile are 32 at the start
    "proxyless_24": Chain(
        32, 16, ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)), head_channels=1280
    ),
    "mobilenet_v2": Chain(
        32, 16, ((24, 4, 2), (32, 4, 2), (64, 4, 2), (96, 4, 1), (160, 4, 2), (320, 1, 1)), head_channels=1280
    ),
    "proxyless_small": Chain(16, 16, ((24, 3, 2), (40, 3, 2), (80, 3, 2), (112, 3, 2)), head_channels=512),
}


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, never more than 10 % below (MobileNetV2's official rounding)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def strides(published: tuple[int, ...], resolution: int) -> tuple[int, ...]:
    """The stages' strides for an input size.

    The published ones from 128 pixels on. Below, the last feature map would shrink to almost nothing: under 128 the
    last down-sampling is left out, under 64 the first one too (the usual change for CIFAR).
    """
    result, halving = list(published), [i for i, s in enumerate(published) if s == 2]
    if resolution < 128:
        result[halving[-1]] = 1
    if resolution < 64:
        result[halving[0]] = 1
    return tuple(result)


def _layer_slot(decisions: list[Decision], name: str, shape: tuple[int, int, int], channels: int, stride: int) -> Slot:
    options = {name: op("ir", shape, channels, stride, **args) for name, args in BLOCKS.items()}
    if stride == 1 and shape[0] == channels:
        options[SKIP] = op("skip", shape, channels)
    decisions.append(Decision(name, tuple(options)))
    return Slot(tuple(options.values()), (len(decisions) - 1,))


def mbconv(name: str, resolution: int = 224, width_mult: float = 1.0, num_classes: int = 1000) -> Space:
    """The chain called `name` for RGB images of resolution x resolution pixels.

    A skip is offered from the second layer of a stage on, never where a stage begins.
    """
    chain = CHAINS[name]
    shape = (3, resolution, resolution)
    decisions: list[Decision] = []
    slots: list[Slot] = []

    def fixed(spec: OpSpec) -> None:
        nonlocal shape
        slots.append(Slot((spec,)))
        shape = spec.out_shape

    fixed(op("conv", shape, make_divisible(chain.stem_channels * width_mult), 2, k=3))
    fixed(op("ir", shape, make_divisible(chain.first_channels * width_mult), 1, e=1, k=3))
    stage_strides = strides(tuple(s for _, _, s in chain.stages), resolution)
    for stage, ((width, layers, _), stage_stride) in enumerate(zip(chain.stages, stage_strides, strict=True)):
        channels = make_divisible(width * width_mult)
        for layer in range(layers):
            stride = stage_stride if layer == 0 else 1
            slot = _layer_slot(decisions, f"stage{stage}.layer{layer}", shape, channels, stride)
            slots.append(slot)
            shape = slot.options[0].out_shape
    fixed(op("conv", shape, make_divisible(chain.head_channels * max(1.0, width_mult)), k=1))
    slots.append(Slot((op("classifier", shape, num_classes),)))
    space = Space(name, (3, resolution, resolution), num_classes, tuple(decisions), tuple(slots))
    if resolution < space.stride:
        raise UserError(
            f"resolution {resolution} is smaller than the stride of {name}, {space.stride}; "
            f"choose at least {space.stride} pixels"
        )
    return space


@dataclass(frozen=True, slots=True)
class Published:
    """A network of the literature as a point of a chain, with the figures its authors or torchvision give at 224."""

    space: str
    layers: tuple[tuple[str, ...], ...]  # per stage, the names of the choices; left out at the end: skip
    macs: int
    params: int
    source: str


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
}


def published_arch(name: str, space: Space) -> Arch:
    """The published network as an architecture of `space`, which must be its own chain (any resolution or width)."""
    network = PUBLISHED[name]
    if space.name != network.space:
        raise ValueError(f"{name} is a point of {network.space}, not of {space.name}")
    names: list[str] = []
    for choices, (_, layers, _) in zip(network.layers, CHAINS[network.space].stages, strict=True):
        names += [*choices, *[SKIP] * (layers - len(choices))]
    return space.from_names(tuple(names))
