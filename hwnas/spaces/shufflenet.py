"""ShuffleNetV2 units as Single Path One-Shot searches them (https://arxiv.org/abs/1904.00420, section 4, table 1).

`shufflenet_spos`: one of four units in each of 20 layers. `shufflenet_spos_channels`: also how wide it is inside.
"""

from hwnas.spaces.chain import ChainBuilder, strides
from hwnas.spaces.space import OpSpec, Space, make_divisible, op

STEM_CHANNELS, HEAD_CHANNELS = 16, 1024
STAGES = ((64, 4), (160, 4), (320, 8), (640, 4))  # (channels, layers); the first layer of each has stride 2
UNITS: dict[str, tuple[str, dict[str, int]]] = {
    **{f"shuffle{k}": ("shuffle", {"k": k}) for k in (3, 5, 7)},
    "xception": ("xception", {}),
}
TENTHS = tuple(range(2, 21, 2))  # of half the output's channels: the channels inside
WIDTHS = {f"w{tenths / 10:g}": tenths for tenths in TENTHS}


def shufflenet_spos(resolution: int = 224, width_mult: float = 1.0, num_classes: int = 1000) -> Space:
    """Units are searched."""
    return _chain("shufflenet_spos", resolution, width_mult, num_classes, channels_too=False)


def shufflenet_spos_channels(resolution: int = 224, width_mult: float = 1.0, num_classes: int = 1000) -> Space:
    """Units and the channels inside are searched: one operator depends on two decisions."""
    return _chain("shufflenet_spos_channels", resolution, width_mult, num_classes, channels_too=True)


def _chain(name: str, resolution: int, width_mult: float, num_classes: int, channels_too: bool) -> Space:
    chain = ChainBuilder(resolution)
    chain.fixed("conv", make_divisible(STEM_CHANNELS * width_mult), 2, k=3, relu=1)
    for stage, ((width, layers), stage_stride) in enumerate(zip(STAGES, strides((2,) * 4, resolution), strict=True)):
        channels = max(make_divisible(width * width_mult), chain.shape[0] + 8)  # a stage's first unit adds channels
        for layer in range(layers):
            shape, stride, where = chain.shape, stage_stride if layer == 0 else 1, f"stage{stage}.layer{layer}"
            units = {unit: {w: _unit(unit, shape, channels, stride, t) for w, t in WIDTHS.items()} for unit in UNITS}
            if channels_too:
                chain.paired((f"{where}.unit", f"{where}.width"), units)
            else:
                chain.chosen(where, {unit: options["w1"] for unit, options in units.items()})
    chain.fixed("conv", make_divisible(HEAD_CHANNELS * max(1.0, width_mult)), k=1, relu=1)
    chain.fixed("classifier", num_classes)
    return chain.space(name)


def _unit(name: str, shape: tuple[int, int, int], channels: int, stride: int, tenths: int) -> OpSpec:
    """As the official code rounds the channels inside: down."""
    kind, args = UNITS[name]
    inside = max(2, channels // 2 * tenths // 10)
    return op(kind, shape, channels, stride, h=inside, **args)
