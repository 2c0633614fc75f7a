"""FBNet's space (https://arxiv.org/abs/1812.03443, tables 1 and 2): eight blocks or a skip in each of 22 layers.

`fbnet` has the last convolution of FBNet-B and FBNet-C, `fbnet_1504` the narrower one of FBNet-A. Under 64 pixels the
strides are those for which HW-NAS-Bench (https://arxiv.org/abs/2103.10584) gives latencies: table 1 is for 224.
"""

from hwnas.spaces.chain import ChainBuilder, strides
from hwnas.spaces.space import Space, make_divisible

STEM_CHANNELS = 16
STAGES = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))  # channels, n, stride
SMALL_RESOLUTION = 64  # below it the stem and the second stage keep the size
EXPANSIONS = {"e1": (1, 1), "e1_g2": (1, 2), "e3": (3, 1), "e6": (6, 1)}  # (expansion, groups)
BLOCKS = {f"k{k}_{name}": {"k": k, "e": e, "g": g} for k in (3, 5) for name, (e, g) in EXPANSIONS.items()}
FBNETS = {"fbnet": 1984, "fbnet_1504": 1504}  # channels of the last convolution


def fbnet(name: str, resolution: int = 224, width_mult: float = 1.0, num_classes: int = 1000) -> Space:
    """The chain called `name` for RGB images of resolution x resolution pixels."""
    chain, small = ChainBuilder(resolution), resolution < SMALL_RESOLUTION
    chain.fixed("conv", make_divisible(STEM_CHANNELS * width_mult), 1 if small else 2, k=3, relu=1)
    stage_strides = [stride for _, _, stride in STAGES]
    if small:
        stage_strides[1] = 1
    else:
        stage_strides = list(strides(tuple(stage_strides), resolution))
    for stage, ((width, layers, _), stage_stride) in enumerate(zip(STAGES, stage_strides, strict=True)):
        channels = make_divisible(width * width_mult)
        for layer in range(layers):
            stride = stage_stride if layer == 0 else 1
            chain.searched(f"stage{stage}.layer{layer}", "fbnet_ir", channels, stride, BLOCKS)
    chain.fixed("conv", make_divisible(FBNETS[name] * max(1.0, width_mult)), k=1, relu=1)
    chain.fixed("classifier", num_classes)
    return chain.space(name)
