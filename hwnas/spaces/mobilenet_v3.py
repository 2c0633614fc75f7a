"""Chains of MobileNetV3's blocks (https://arxiv.org/abs/1905.02244): hard-swish, squeeze-and-excitation.

`mobilenet_v3` has the shape of Once-for-All's space (https://arxiv.org/abs/1908.09791, section 3.2): stages of up to
four layers, kernel 3, 5 or 7 and expansion 3, 4 or 6 in each; any layer but a stage's first may be skipped.
`mobilenet_v3_elastic` is the same with its fourth dimension, the resolution.
`mobilenet_v3_large` keeps the hidden channels of MobileNetV3-Large (table 1), which are no multiples of a layer's
input, and searches kernels and depth around it.
"""

from dataclasses import dataclass

from hwnas.spaces.chain import ChainBuilder, strides
from hwnas.spaces.resolution import with_resolutions
from hwnas.spaces.space import Space, make_divisible

KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
LAYERS_PER_STAGE = 4
RESOLUTIONS = (192 / 224, 160 / 224, 128 / 224)  # the paper: 25 from 128 to 224; each has its own rows to measure
STEM_CHANNELS, LAST_EXPANSION, FEATURES = 16, 6, 1280


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of MobileNetV3-Large."""

    channels: int
    stride: int
    hs: int  # 1: hard-swish, 0: ReLU
    se: int  # 1: squeeze-and-excitation
    hidden: tuple[int, ...]  # channels inside each of its layers


STAGES = (
    Stage(24, 2, hs=0, se=0, hidden=(64, 72)),
    Stage(40, 2, hs=0, se=1, hidden=(72, 120, 120)),
    Stage(80, 2, hs=1, se=0, hidden=(240, 200, 184, 184)),
    Stage(112, 1, hs=1, se=1, hidden=(480, 672)),
    Stage(160, 2, hs=1, se=1, hidden=(672, 960, 960)),
)


def mobilenet_v3(resolution: int = 224, width_mult: float = 1.0, num_classes: int = 1000) -> Space:
    """Kernel, expansion and depth are searched."""
    return _chain("mobilenet_v3", resolution, width_mult, num_classes, expansions=True)


def mobilenet_v3_elastic(resolution: int = 224, width_mult: float = 1.0, num_classes: int = 1000) -> Space:
    """Kernel, expansion, depth and resolution are searched; `resolution` is the largest."""
    return with_resolutions(mobilenet_v3(resolution, width_mult, num_classes), "mobilenet_v3_elastic", RESOLUTIONS)


def mobilenet_v3_large(resolution: int = 224, width_mult: float = 1.0, num_classes: int = 1000) -> Space:
    """MobileNetV3-Large, kernel and depth searched."""
    return _chain("mobilenet_v3_large", resolution, width_mult, num_classes, expansions=False)


def _args(stage: Stage, hidden: int, kernel: int) -> dict[str, int]:
    return {"h": hidden, "k": kernel, "hs": stage.hs, "se": stage.se}


def _chain(name: str, resolution: int, width_mult: float, num_classes: int, expansions: bool) -> Space:
    """Channels follow torchvision's rounding; a skip is offered where a layer keeps its shape."""

    def width(channels: int) -> int:
        return make_divisible(channels * width_mult)

    chain = ChainBuilder(resolution)
    chain.fixed("conv", width(STEM_CHANNELS), 2, k=3, hs=1)
    chain.fixed("ir3", width(STEM_CHANNELS), h=width(STEM_CHANNELS), k=3, hs=0, se=0)
    stage_strides = strides(tuple(stage.stride for stage in STAGES), resolution)
    for number, (stage, stage_stride) in enumerate(zip(STAGES, stage_strides, strict=True)):
        for layer in range(LAYERS_PER_STAGE if expansions else len(stage.hidden)):
            if expansions:
                choices = {f"k{k}e{e}": _args(stage, e * chain.shape[0], k) for e in EXPANSIONS for k in KERNELS}
            else:
                choices = {f"k{k}": _args(stage, width(stage.hidden[layer]), k) for k in KERNELS}
            stride = stage_stride if layer == 0 else 1
            chain.searched(f"stage{number}.layer{layer}", "ir3", width(stage.channels), stride, choices)
    chain.fixed("conv", LAST_EXPANSION * chain.shape[0], k=1, hs=1)
    chain.fixed("classifier", num_classes, h=width(FEATURES))
    return chain.space(name)
