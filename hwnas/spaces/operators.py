"""What an operator is made of: OpSpec -> a Block of layers.

The only place that knows it. The torch module, multiply-adds, parameters and the TFLite and ONNX files that are
measured all derive from these blocks, so a new kind of operator is one function here.
"""

import functools
import itertools
from collections.abc import Callable

from hwnas.spaces.layers import (
    Activation,
    BatchNorm,
    Block,
    Branches,
    Conv,
    FactorizedReduce,
    GlobalPool,
    Layer,
    Linear,
    Pool,
    Relu,
    Resize,
    Shuffle,
    SqueezeExcite,
)
from hwnas.spaces.space import ZERO, OpSpec, make_divisible

RESIZE = "resize"
KERNELS = ("k", "a")  # the arguments that are sizes of kernels; in `uib` 0 leaves the convolution out
SQUEEZE = 4  # hidden channels per squeezed one (MobileNetV3, section 5.3)


def conv(spec: OpSpec, k: int, hs: int = 0, relu: int = 0) -> Block:
    """Convolution, batch norm, ReLU6 or, with hs, hard-swish, or, with relu, ReLU."""
    activation: Activation = "hswish" if hs else "relu" if relu else "relu6"
    return Block((Conv(spec.in_shape[0], spec.out_channels, k, spec.stride, activation=activation),))


def inverted_residual(spec: OpSpec, e: int, k: int) -> Block:
    """MobileNetV2's block (https://arxiv.org/abs/1801.04381, table 1): expand e times, depthwise k x k, project."""
    return _bottleneck(spec, spec.in_shape[0] * e, k, "relu6")


def inverted_residual_v3(spec: OpSpec, h: int, k: int, hs: int, se: int) -> Block:
    """MobileNetV3's block (https://arxiv.org/abs/1905.02244, figure 4): expand to h channels, depthwise k x k, project.

    hs: hard-swish instead of ReLU. se: squeeze-and-excitation of the h channels after the depthwise convolution.
    """
    return _bottleneck(spec, h, k, "hswish" if hs else "relu", bool(se))


def _bottleneck(spec: OpSpec, hidden: int, k: int, activation: Activation, squeeze: bool = False) -> Block:
    c_in = spec.in_shape[0]
    expand = (Conv(c_in, hidden, activation=activation),) if hidden != c_in else ()
    depthwise = Conv(hidden, hidden, k, spec.stride, groups=hidden, activation=activation)
    excite = (SqueezeExcite(hidden, make_divisible(hidden // SQUEEZE)),) if squeeze else ()
    project = Conv(hidden, spec.out_channels, activation="none")
    return Block((*expand, depthwise, *excite, project), residual=spec.stride == 1 and c_in == spec.out_channels)


def fbnet_ir(spec: OpSpec, e: int, k: int, g: int = 1) -> Block:
    """FBNet's block (https://arxiv.org/abs/1812.03443, figure 3): expand, also by 1, depthwise k x k, project; ReLU.

    The two 1x1 convolutions have g groups, whose channels are shuffled after the first one.
    """
    c_in, hidden = spec.in_shape[0], spec.in_shape[0] * e
    shuffle = (Shuffle(hidden, g),) if g > 1 else ()
    layers = (
        Conv(c_in, hidden, groups=g, activation="relu"),
        *shuffle,
        Conv(hidden, hidden, k, spec.stride, groups=hidden, activation="relu"),
        Conv(hidden, spec.out_channels, groups=g, activation="none"),
    )
    return Block(layers, residual=spec.stride == 1 and c_in == spec.out_channels)


def universal_inverted_bottleneck(spec: OpSpec, e: int, a: int, k: int) -> Block:
    """MobileNetV4's block (https://arxiv.org/abs/2404.10518, section 4): depthwise a x a, expand e times, depthwise
    k x k, project; ReLU after the expansion and what follows it.

    0 leaves a depthwise convolution out: a alone is like ConvNext, k alone the inverted bottleneck, both are ExtraDW,
    none is a feed-forward network. The last one of them has the stride.
    """
    c_in, hidden = spec.in_shape[0], spec.in_shape[0] * e
    if spec.stride > 1 and not a and not k:
        raise ValueError(f"a stride of {spec.stride} needs a depthwise convolution")
    start = (Conv(c_in, c_in, a, 1 if k else spec.stride, groups=c_in, activation="none"),) if a else ()
    middle = (Conv(hidden, hidden, k, spec.stride, groups=hidden, activation="relu"),) if k else ()
    expand, project = Conv(c_in, hidden, activation="relu"), Conv(hidden, spec.out_channels, activation="none")
    layers = (*start, expand, *middle, project)
    return Block(layers, residual=spec.stride == 1 and c_in == spec.out_channels)


def shuffle_unit(spec: OpSpec, h: int, k: int) -> Block:
    """ShuffleNetV2's unit (https://arxiv.org/abs/1807.11164, figure 3) with h channels inside, depthwise k x k."""
    c_in, c_out = _searched_branch(spec)
    main = (
        Conv(c_in, h, activation="relu"),
        Conv(h, h, k, spec.stride, groups=h, activation="none"),
        Conv(h, c_out, activation="relu"),
    )
    return _shuffled(spec, main, k)


def shuffle_xception(spec: OpSpec, h: int) -> Block:
    """Three depthwise separable convolutions in ShuffleNetV2's unit (https://arxiv.org/abs/1904.00420, section 4)."""
    c_in, c_out = _searched_branch(spec)
    widths = (c_in, h, h, c_out)
    main: list[Layer] = []
    for number, (before, after) in enumerate(itertools.pairwise(widths)):
        main.append(Conv(before, before, 3, 1 if number else spec.stride, groups=before, activation="none"))
        main.append(Conv(before, after, activation="relu"))
    return _shuffled(spec, tuple(main), 3)


def _searched_branch(spec: OpSpec) -> tuple[int, int]:
    """Channels into and out of the branch that is searched: half of them, or where there become more all, to these."""
    c_in = spec.in_shape[0]
    if c_in < spec.out_channels:
        return c_in, spec.out_channels - c_in
    if spec.stride == 1 and c_in == spec.out_channels and c_in % 2 == 0:
        return c_in // 2, c_in // 2
    raise ValueError("a shuffle unit makes more channels, or keeps an even number of them with stride 1")


def _shuffled(spec: OpSpec, main: tuple[Layer, ...], k: int) -> Block:
    """Beside the searched branch: the other channels as they are, or a depthwise separable convolution of all.

    Every second channel is taken in turn: the shuffle of the unit before stands here, where its output is read.
    """
    c_in = spec.in_shape[0]
    if c_in == spec.out_channels:
        return Block((Shuffle(c_in, c_in // 2), Branches((), main, halved=True)))
    kept = (Conv(c_in, c_in, k, spec.stride, groups=c_in, activation="none"), Conv(c_in, c_in, activation="relu"))
    return Block((Branches(kept, main, halved=False),))


def shortcut(spec: OpSpec) -> Block:
    """1x1 convolution and batch norm alone: what comes nearest to the identity where the shape changes."""
    return Block((Conv(spec.in_shape[0], spec.out_channels, 1, spec.stride, activation="none"),))


def skip(spec: OpSpec) -> Block:
    """The identity: nothing runs and nothing is measured."""
    return Block(())


def resize(spec: OpSpec, r: int) -> Block:
    """Images of r x r pixels: what comes first where the size of images is a choice."""
    return Block((Resize(spec.in_shape[0], r),))


def zero(spec: OpSpec) -> Block:
    """Nothing comes out: an architecture is without the operator, and a mixture of operators gets nothing of it."""
    return Block(())


def classifier(spec: OpSpec, h: int = 0, relu: int = 0) -> Block:
    """Global average pooling and a linear layer; with h one more before it, to h features with hard-swish or ReLU."""
    channels = spec.in_shape[0]
    hidden = (Linear(channels, h, "relu" if relu else "hswish"),) if h else ()
    return Block((GlobalPool(channels), *hidden, Linear(h or channels, spec.out_channels)))


def conv_bn(spec: OpSpec, k: int) -> Block:
    """Convolution and batch norm: the stem of a network of cells, whose operators begin with their ReLU."""
    return Block((Conv(spec.in_shape[0], spec.out_channels, k, spec.stride, activation="none"),))


def relu_conv(spec: OpSpec, k: int) -> Block:
    """ReLU, convolution, batch norm: in this order in the spaces of cells."""
    return Block(_relu_conv(spec.in_shape[0], spec.out_channels, k, spec.stride))


def _relu_conv(in_channels: int, out_channels: int, kernel: int, stride: int) -> tuple[Layer, ...]:
    return Relu(in_channels), Conv(in_channels, out_channels, kernel, stride, activation="none")


def relu_conv_pair(spec: OpSpec, k: int) -> Block:
    """`relu_conv` twice, the first with the stride."""
    c = spec.out_channels
    return Block((*_relu_conv(spec.in_shape[0], c, k, spec.stride), *_relu_conv(c, c, k, 1)))


def pooled_shortcut(spec: OpSpec) -> Block:
    """Mean of 2 x 2 pixels and a bare 1x1 convolution: beside `relu_conv_pair` where NAS-Bench-201 halves the size."""
    _check_sides(spec, spec.stride)
    pool = Pool(spec.in_shape[0], "avg", spec.stride, spec.stride)
    return Block((pool, Conv(spec.in_shape[0], spec.out_channels, activation="none", norm=False)))


def separable_conv(spec: OpSpec, k: int) -> Block:
    """DARTS' sep_conv: ReLU, depthwise k x k, 1x1, batch norm; and the same again, without stride."""
    c = spec.in_shape[0]
    return Block((*_separable(c, c, k, spec.stride, 1), *_separable(c, spec.out_channels, k, 1, 1)))


def dilated_conv(spec: OpSpec, k: int) -> Block:
    """DARTS' dil_conv: ReLU, depthwise k x k of dilation 2, 1x1, batch norm."""
    return Block(_separable(spec.in_shape[0], spec.out_channels, k, spec.stride, 2))


def _separable(in_channels: int, out_channels: int, kernel: int, stride: int, dilation: int) -> tuple[Layer, ...]:
    depthwise = Conv(in_channels, in_channels, kernel, stride, in_channels, "none", dilation, norm=False)
    return Relu(in_channels), depthwise, Conv(in_channels, out_channels, activation="none")


def average_pool(spec: OpSpec, k: int) -> Block:
    """Mean over k x k pixels."""
    return Block((Pool(spec.in_shape[0], "avg", k, spec.stride),))


def max_pool(spec: OpSpec, k: int) -> Block:
    """Largest of k x k pixels."""
    return Block((Pool(spec.in_shape[0], "max", k, spec.stride),))


def factorized_reduce(spec: OpSpec) -> Block:
    """ReLU, then the reduction: DARTS' skip_connect where the size is halved."""
    _check_sides(spec, 2)
    return Block((Relu(spec.in_shape[0]), FactorizedReduce(spec.in_shape[0], spec.out_channels)))


def _check_sides(spec: OpSpec, stride: int) -> None:
    """ValueError where pixels of the last row or column would get lost."""
    if spec.stride != stride or any(side % stride for side in spec.in_shape[1:]):
        raise ValueError(f"it needs a stride of {stride} and sides that are multiples of it")


def normed_classifier(spec: OpSpec) -> Block:
    """Batch norm and ReLU before the pooling and the linear layer: behind operators that end with a sum."""
    channels = spec.in_shape[0]
    return Block((BatchNorm(channels), Relu(channels), GlobalPool(channels), Linear(channels, spec.out_channels)))


KINDS: dict[str, Callable[..., Block]] = {
    "conv": conv,
    "ir": inverted_residual,
    "ir3": inverted_residual_v3,
    "fbnet_ir": fbnet_ir,
    "uib": universal_inverted_bottleneck,
    "shuffle": shuffle_unit,
    "xception": shuffle_xception,
    "shortcut": shortcut,
    "skip": skip,
    RESIZE: resize,
    "classifier": classifier,
    "conv_bn": conv_bn,
    "relu_conv": relu_conv,
    "relu_conv_pair": relu_conv_pair,
    "pooled_shortcut": pooled_shortcut,
    "sep_conv": separable_conv,
    "dil_conv": dilated_conv,
    "avg_pool": average_pool,
    "max_pool": max_pool,
    "factorized_reduce": factorized_reduce,
    "normed_classifier": normed_classifier,
    ZERO: zero,
}


@functools.lru_cache(maxsize=1 << 16)  # searches ask for the same operators over and over
def block(spec: OpSpec) -> Block:
    """The layers of one operator."""
    if spec.kind not in KINDS:
        raise ValueError(f"no operator kind {spec.kind!r} for {spec}; known: {sorted(KINDS)}")
    return KINDS[spec.kind](spec, **dict(spec.args))


def is_free(spec: OpSpec) -> bool:
    """True where nothing runs, so that the latency is 0 by construction."""
    return not block(spec).layers
