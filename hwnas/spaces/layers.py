"""What an operator is made of: OpSpec -> a Block of layers.

The only place that knows it. The torch module, multiply-adds, parameters and the TFLite and ONNX files that are
measured all derive from these blocks, so a new kind of operator is one function here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hwnas.spaces.space import OpSpec, make_divisible

Activation = Literal["none", "relu", "relu6", "hswish"]
SQUEEZE = 4  # hidden channels per squeezed one (MobileNetV3, section 5.3)


@dataclass(frozen=True, slots=True)
class Conv:
    """Square convolution without bias, padded by kernel // 2, then batch norm, then the activation."""

    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: Activation = "relu6"


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


Layer = Conv | GlobalPool | Linear | SqueezeExcite


def weight_shapes(layer: Layer) -> tuple[tuple[int, ...], ...]:
    """The shapes of a layer's weights, outputs first; to each belongs a bias, or a shift, per output."""
    match layer:
        case Conv():
            return ((layer.out_channels, layer.in_channels // layer.groups, layer.kernel, layer.kernel),)
        case Linear():
            return ((layer.out_features, layer.in_features),)
        case SqueezeExcite():
            return ((layer.squeezed, layer.channels, 1, 1), (layer.channels, layer.squeezed, 1, 1))
        case GlobalPool():
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


def classifier(spec: OpSpec, h: int = 0) -> Block:
    """Global average pooling and a linear layer; with h another one, to h features with hard-swish, before it."""
    channels = spec.in_shape[0]
    hidden = (Linear(channels, h, "hswish"),) if h else ()
    return Block((GlobalPool(channels), *hidden, Linear(h or channels, spec.out_channels)))


KINDS: dict[str, Callable[..., Block]] = {
    "conv": conv,
    "ir": inverted_residual,
    "ir3": inverted_residual_v3,
    "shortcut": shortcut,
    "skip": skip,
    "classifier": classifier,
}


def block(spec: OpSpec) -> Block:
    """The layers of one operator."""
    if spec.kind not in KINDS:
        raise ValueError(f"no operator kind {spec.kind!r} for {spec}; known: {sorted(KINDS)}")
    return KINDS[spec.kind](spec, **dict(spec.args))


def is_free(spec: OpSpec) -> bool:
    """True where nothing runs, so that the latency is 0 by construction."""
    return not block(spec).layers
