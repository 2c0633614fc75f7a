"""What an operator is made of: OpSpec -> a Block of layers.

The only place that knows it. The torch module, multiply-adds, parameters and the TFLite and ONNX files that are
measured all derive from these blocks, so a new kind of operator is one function here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hwnas.spaces.space import ZERO, OpSpec, make_divisible

Activation = Literal["none", "relu", "relu6", "hswish"]
SQUEEZE = 4  # hidden channels per squeezed one (MobileNetV3, section 5.3)


@dataclass(frozen=True, slots=True)
class Conv:
    """Square convolution without bias, padded as keeps the size at stride 1, then batch norm, then the activation.

    norm: whether there is a batch norm.
    """

    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: Activation = "relu6"
    dilation: int = 1
    norm: bool = True

    @property
    def padding(self) -> int:
        """Pixels on each side."""
        return self.dilation * (self.kernel // 2)


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """Mean over height and width: (N, C, H, W) -> (N, C)."""

    channels: int


@dataclass(frozen=True, slots=True)
class Linear:
    """Fully connected, with bias, then the activation: (N, in) -> (N, out)."""

    in_features: int
    out_features: int
    activation: Activation = "none"


@dataclass(frozen=True, slots=True)
class SqueezeExcite:
    """Every channel times a factor from the means of all (https://arxiv.org/abs/1709.01507).

    Mean over the image, 1x1 convolution to `squeezed` channels, ReLU, 1x1 convolution back, hard-sigmoid; the
    convolutions with bias. The last activation is MobileNetV3's (https://arxiv.org/abs/1905.02244, section 5.2).
    """

    channels: int
    squeezed: int


@dataclass(frozen=True, slots=True)
class Relu:
    """max(x, 0), where it does not follow a layer that can do it itself."""

    channels: int


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Batch norm that follows no convolution, but a sum: a depthwise convolution of 1 x 1 at inference."""

    channels: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Square pooling. An odd kernel is padded to keep the size, and a mean does not count the padding."""

    channels: int
    kind: Literal["avg", "max"]
    kernel: int = 3
    stride: int = 1


@dataclass(frozen=True, slots=True)
class FactorizedReduce:
    """Half the size without a filter: 1x1 convolutions of stride 2, the second one pixel further, concatenated.

    Each with its half of the batch norm. DARTS (https://arxiv.org/abs/1806.09055), as its authors' code has it.
    """

    in_channels: int
    out_channels: int


Layer = Conv | GlobalPool | Linear | SqueezeExcite | Relu | BatchNorm | Pool | FactorizedReduce


def as_convolution(layer: BatchNorm) -> Conv:
    """What a batch norm of its own is at inference."""
    return Conv(layer.channels, layer.channels, groups=layer.channels, activation="none")


def stride_of(layer: Layer) -> int:
    """By how much the layer divides height and width."""
    match layer:
        case Conv() | Pool():
            return layer.stride
        case FactorizedReduce():
            return 2
        case _:
            return 1


def weight_shapes(layer: Layer) -> tuple[tuple[int, ...], ...]:
    """The shapes of a layer's weights, outputs first; to each belongs a bias, or a shift, per output."""
    match layer:
        case Conv():
            return ((layer.out_channels, layer.in_channels // layer.groups, layer.kernel, layer.kernel),)
        case Linear():
            return ((layer.out_features, layer.in_features),)
        case SqueezeExcite():
            return ((layer.squeezed, layer.channels, 1, 1), (layer.channels, layer.squeezed, 1, 1))
        case FactorizedReduce():
            first = layer.out_channels // 2
            return tuple((half, layer.in_channels, 1, 1) for half in (first, layer.out_channels - first))
        case BatchNorm():
            return ((layer.channels, 1, 1, 1),)
        case GlobalPool() | Relu() | Pool():
            return ()


@dataclass(frozen=True, slots=True)
class Block:
    """Layers one after another; `residual` adds the block's input to its output. No layers: the identity."""

    layers: tuple[Layer, ...]
    residual: bool = False


def conv(spec: OpSpec, k: int, hs: int = 0) -> Block:
    """Convolution, batch norm, ReLU6 or, with hs, hard-swish."""
    activation: Activation = "hswish" if hs else "relu6"
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


def shortcut(spec: OpSpec) -> Block:
    """1x1 convolution and batch norm alone: what comes nearest to the identity where the shape changes."""
    return Block((Conv(spec.in_shape[0], spec.out_channels, 1, spec.stride, activation="none"),))


def skip(spec: OpSpec) -> Block:
    """The identity: nothing runs and nothing is measured."""
    return Block(())


def zero(spec: OpSpec) -> Block:
    """Nothing comes out: an architecture is without the operator, and a mixture of operators gets nothing of it."""
    return Block(())


def classifier(spec: OpSpec, h: int = 0) -> Block:
    """Global average pooling and a linear layer; with h another one, to h features with hard-swish, before it."""
    channels = spec.in_shape[0]
    hidden = (Linear(channels, h, "hswish"),) if h else ()
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
    return Block((Relu(spec.in_shape[0]), FactorizedReduce(spec.in_shape[0], spec.out_channels)))


def normed_classifier(spec: OpSpec) -> Block:
    """Batch norm and ReLU before the pooling and the linear layer: behind operators that end with a sum."""
    channels = spec.in_shape[0]
    return Block((BatchNorm(channels), Relu(channels), GlobalPool(channels), Linear(channels, spec.out_channels)))


KINDS: dict[str, Callable[..., Block]] = {
    "conv": conv,
    "ir": inverted_residual,
    "ir3": inverted_residual_v3,
    "shortcut": shortcut,
    "skip": skip,
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


def block(spec: OpSpec) -> Block:
    """The layers of one operator."""
    if spec.kind not in KINDS:
        raise ValueError(f"no operator kind {spec.kind!r} for {spec}; known: {sorted(KINDS)}")
    return KINDS[spec.kind](spec, **dict(spec.args))


def is_free(spec: OpSpec) -> bool:
    """True where nothing runs, so that the latency is 0 by construction."""
    return not block(spec).layers
