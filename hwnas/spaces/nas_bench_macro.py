"""NAS-Bench-Macro (https://arxiv.org/abs/2103.11922, section 4.2): 6,561 chains, all of them trained by its authors.

Eight layers in stages of two, three and three, each an identity or an inverted residual. Where a stage begins its shape
changes, and the identity is a 1x1 convolution. Published for 32 x 32 pixels and 10 classes.
"""

from hwnas.spaces.chain import SKIP, ChainBuilder
from hwnas.spaces.space import OpSpec, Space, make_divisible, op

STAGES = ((64, 2), (128, 3), (256, 3))  # (channels, layers); the first layer of each has stride 2
BLOCKS = {"k3e3": (3, 3), "k5e6": (5, 6)}  # (kernel, expansion)
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280


def nas_bench_macro(resolution: int = 32, width_mult: float = 1.0, num_classes: int = 10) -> Space:
    """The chain for RGB images of resolution x resolution pixels."""
    chain = ChainBuilder(resolution)
    chain.fixed("conv", make_divisible(STEM_CHANNELS * width_mult), k=3)
    for number, (width, layers) in enumerate(STAGES):
        channels = make_divisible(width * width_mult)
        for layer in range(layers):
            chain.chosen(f"stage{number}.layer{layer}", _options(chain.shape, channels, 2 if layer == 0 else 1))
    chain.fixed("conv", make_divisible(HEAD_CHANNELS * max(1.0, width_mult)), k=1)
    chain.fixed("classifier", num_classes)
    return chain.space("nas_bench_macro")


def _options(shape: tuple[int, int, int], channels: int, stride: int) -> dict[str, OpSpec]:
    keeps = stride == 1 and shape[0] == channels
    identity = op("skip", shape, channels) if keeps else op("shortcut", shape, channels, stride)
    blocks = {
        name: op("ir3", shape, channels, stride, h=e * shape[0], k=k, hs=0, se=0) for name, (k, e) in BLOCKS.items()
    }
    return {SKIP: identity, **blocks}
