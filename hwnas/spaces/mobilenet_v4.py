"""Universal inverted bottlenecks around MobileNetV4-Conv-S (https://arxiv.org/abs/2404.10518, section 4).

Two decisions a layer: which of two depthwise convolutions it has, of kernel 3 or 5, or a skip where the shape stays;
and an expansion of 2, 3, 4 or 6, which says nothing beside a skip. The first two stages are as published.
"""

from hwnas.spaces.chain import SKIP, ChainBuilder, strides
from hwnas.spaces.space import OpSpec, Space, make_divisible, op

STEM_CHANNELS = 32
FIXED_STAGES = ((32, 32), (96, 64))  # channels of a 3x3 convolution of stride 2 and of the 1x1 after it
STAGES = ((96, 6), (128, 6))  # (channels, layers); the first layer of each has stride 2
HEAD_CHANNELS, FEATURES = 960, 1280
EXPANSIONS = (2, 3, 4, 6)
EXTRA = {f"extra{a}{k}": (a, k) for a in (3, 5) for k in (3, 5)}  # kernels of the first and of the second depthwise
DEPTHWISE = {**EXTRA, "ib3": (0, 3), "ib5": (0, 5), "convnext3": (3, 0), "convnext5": (5, 0), "ffn": (0, 0)}


def mobilenet_v4(resolution: int = 224, width_mult: float = 1.0, num_classes: int = 1000) -> Space:
    """The chain for RGB images of resolution x resolution pixels. A feed-forward network has no stride."""

    def width(channels: int) -> int:
        return make_divisible(channels * width_mult)

    chain, stage_strides = ChainBuilder(resolution), strides((2,) * (len(FIXED_STAGES) + len(STAGES)), resolution)
    chain.fixed("conv", width(STEM_CHANNELS), 2, k=3, relu=1)
    for (wide, narrow), stride in zip(FIXED_STAGES, stage_strides, strict=False):
        chain.fixed("conv", width(wide), stride, k=3, relu=1)
        chain.fixed("conv", width(narrow), k=1, relu=1)
    for number, (channels, layers) in enumerate(STAGES):
        for layer in range(layers):
            stride = stage_strides[len(FIXED_STAGES) + number] if layer == 0 else 1
            names = f"stage{number}.layer{layer}.block", f"stage{number}.layer{layer}.expansion"
            chain.paired(names, _options(chain.shape, width(channels), stride, is_first=layer == 0))
    chain.fixed("conv", width(HEAD_CHANNELS), k=1, relu=1)
    chain.fixed("classifier", num_classes, h=width(FEATURES), relu=1)
    return chain.space("mobilenet_v4")


def _options(shape: tuple[int, int, int], channels: int, stride: int, is_first: bool) -> dict[str, dict[str, OpSpec]]:
    """Blocks by name and expansion. A stage begins with a depthwise convolution, and with no skip."""
    offered = {name: kernels for name, kernels in DEPTHWISE.items() if any(kernels) or not is_first}
    options = {
        name: {f"e{e}": op("uib", shape, channels, stride, a=a, k=k, e=e) for e in EXPANSIONS}
        for name, (a, k) in offered.items()
    }
    if not is_first:
        options[SKIP] = dict.fromkeys((f"e{e}" for e in EXPANSIONS), op("skip", shape, channels))
    return options
