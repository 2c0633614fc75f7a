"""What an operator is made of: OpSpec -> a Block of layers.

The only place that knows it. The torch module, multiply-adds, parameters and the TFLite and ONNX files that are
measured all derive from these blocks, so a new kind of operator is one function here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hwnas.spaces.space import OpSpec

Activation = Literal["none", "relu6"]


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
    """Fully connected, with bias: (N, in) -> (N, out)."""

    in_features: int
    out_features: int


Layer = Conv | GlobalPool | Linear


@dataclass(frozen=True, slots=True)
class Block:
    """Layers one after another; `residual` adds the block's input to its output. No layers: the identity."""

    layers: tuple[Layer, ...]
    residual: bool = False


def conv(spec: OpSpec, k: int) -> Block:
    """Convolution, batch norm, ReLU6."""
    return Block((Conv(spec.in_shape[0], spec.out_channels, k, spec.stride),))


def inverted_residual(spec: OpSpec, e: int, k: int) -> Block:
    """MobileNetV2's block (https://arxiv.org/abs/1801.04381, table 1): expand e times, depthwise k x k, project."""
    c_in, hidden = spec.in_shape[0], spec.in_shape[0] * e
    expand = (Conv(c_in, hidden),) if e > 1 else ()
    depthwise = Conv(hidden, hidden, k, spec.stride, groups=hidden)
    project = Conv(hidden, spec.out_channels, activation="none")
    return Block((*expand, depthwise, project), residual=spec.stride == 1 and c_in == spec.out_channels)


def skip(spec: OpSpec) -> Block:
    """The identity: nothing runs and nothing is measured."""
    return Block(())


def classifier(spec: OpSpec) -> Block:
    """Global average pooling and a linear layer."""
    return Block((GlobalPool(spec.in_shape[0]), Linear(spec.in_shape[0], spec.out_channels)))


KINDS: dict[str, Callable[..., Block]] = {
    "conv": conv,
    "ir": inverted_residual,
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
