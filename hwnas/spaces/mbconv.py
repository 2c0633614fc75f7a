"""The ProxylessNAS / MobileNetV2 chain of inverted residuals: stage tables and one function.

ProxylessNAS, https://arxiv.org/abs/1812.00332, section 4.2: kernel 3, 5 or 7 and expansion 3 or 6 in every layer,
or a skip where the shape allows it. MobileNetV2, https://arxiv.org/abs/1801.04381, table 2.
"""

from dataclasses import dataclass

from hwnas.spaces.chain import ChainBuilder, strides
from hwnas.spaces.resolution import with_resolutions
from hwnas.spaces.space import Space, make_divisible

RESOLUTIONS = (7 / 8, 3 / 4, 5 / 8)
BLOCKS = {f"k{k}e{e}": {"k": k, "e": e} for e in (3, 6) for k in (3, 5, 7)}


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


def mbconv(name: str, resolution: int = 224, width_mult: float = 1.0, num_classes: int = 1000) -> Space:
    """The chain called `name` for RGB images of resolution x resolution pixels.

    A skip is offered from the second layer of a stage on, never where a stage begins.
    """
    table, chain = CHAINS[name], ChainBuilder(resolution)
    chain.fixed("conv", make_divisible(table.stem_channels * width_mult), 2, k=3)
    chain.fixed("ir", make_divisible(table.first_channels * width_mult), 1, e=1, k=3)
    stage_strides = strides(tuple(s for _, _, s in table.stages), resolution)
    for stage, ((width, layers, _), stage_stride) in enumerate(zip(table.stages, stage_strides, strict=True)):
        channels = make_divisible(width * width_mult)
        for layer in range(layers):
            stride = stage_stride if layer == 0 else 1
            chain.searched(f"stage{stage}.layer{layer}", "ir", channels, stride, BLOCKS)
    chain.fixed("conv", make_divisible(table.head_channels * max(1.0, width_mult)), k=1)
    chain.fixed("classifier", num_classes)
    return chain.space(name)


def proxyless_small_elastic(resolution: int = 32, width_mult: float = 1.0, num_classes: int = 1000) -> Space:
    """`proxyless_small` with the resolution searched too; `resolution` is the largest."""
    chain = mbconv("proxyless_small", resolution, width_mult, num_classes)
    return with_resolutions(chain, "proxyless_small_elastic", RESOLUTIONS)
