"""What an operator is made of: OpSpec -> a Block of layers.

The only place that knows it. The torch module, multiply-adds, parameters and the TFLite and ONNX files that are
measured all derive from these blocks, so a new kind of operator is one function here.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
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

    def __post_init__(self) -> None:
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"{self.in_channels} and {self.out_channels} channels are no multiples of {self.groups}")

    @property
    def depthwise(self) -> bool:
        """Whether every channel has a filter of its own."""
        return self.groups == self.in_channels == self.out_channels > 1


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
class Shuffle:
    """Channels written in rows, one a group, and read by columns (https://arxiv.org/abs/1707.01083, section 3.1)."""

    channels: int
    groups: int

    def __post_init__(self) -> None:
        if self.channels % self.groups:
            raise ValueError(f"{self.channels} channels are no multiple of {self.groups}")


@dataclass(frozen=True, slots=True)
class Branches:
    """Two branches of layers, their outputs one after the other; a branch of no layers passes on what it gets.

    halved: the first gets the first half of the channels, the second the others. Else both get all.
    """

    first: tuple["Layer", ...]
    second: tuple["Layer", ...]
    halved: bool


Layer = Conv | GlobalPool | Linear | SqueezeExcite | Shuffle | Branches
Shape = tuple[int, int, int]  # (C, H, W)


def out_shape(layer: Layer, shape: Shape) -> Shape:
    """What a layer makes of an image of this shape; of vectors height and width are 1."""
    channels, height, width = shape
    match layer:
        case Conv():
            return (layer.out_channels, -(-height // layer.stride), -(-width // layer.stride))
        case GlobalPool():
            return (channels, 1, 1)
        case Linear():
            return (layer.out_features, 1, 1)
        case SqueezeExcite() | Shuffle():
            return shape
        case Branches():
            first, second = (shape_after(*branch) for branch in branch_inputs(layer, shape))
            return (first[0] + second[0], *first[1:])


def branch_inputs(layer: Branches, shape: Shape) -> tuple[tuple[tuple[Layer, ...], Shape], ...]:
    """Each branch with the shape of what it gets."""
    own = (shape[0] // 2, *shape[1:]) if layer.halved else shape
    return (layer.first, own), (layer.second, own)


def shape_after(layers: tuple[Layer, ...], shape: Shape) -> Shape:
    """What layers one after another make of an image of this shape."""
    for layer in layers:
        shape = out_shape(layer, shape)
    return shape


def steps(layers: tuple[Layer, ...], shape: Shape) -> Iterator[tuple[Layer, Shape, Shape]]:
    """(layer, shape before, shape after) in order of execution; branches come after the layers in them."""
    for layer in layers:
        if isinstance(layer, Branches):
            for branch in branch_inputs(layer, shape):
                yield from steps(*branch)
        yield layer, shape, (shape := out_shape(layer, shape))


def flat(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """Layers in order of execution; branches come after the layers in them."""
    for layer in layers:
        if isinstance(layer, Branches):
            yield from flat(layer.first + layer.second)
        yield layer


def weight_shapes(layer: Layer) -> tuple[tuple[int, ...], ...]:
    """The shapes of a layer's weights, outputs first; to each belongs a bias, or a shift, per output."""
    match layer:
        case Conv():
            return ((layer.out_channels, layer.in_channels // layer.groups, layer.kernel, layer.kernel),)
        case Linear():
            return ((layer.out_features, layer.in_features),)
        case SqueezeExcite():
            return ((layer.squeezed, layer.channels, 1, 1), (layer.channels, layer.squeezed, 1, 1))
        case GlobalPool() | Shuffle() | Branches():
            return ()


@dataclass(frozen=True, slots=True)
class Block:
    """Layers one after another; `residual` adds the block's input to its output. No layers: the identity."""

    layers: tuple[Layer, ...]
    residual: bool = False


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


def classifier(spec: OpSpec, h: int = 0, relu: int = 0) -> Block:
    """Global average pooling and a linear layer; with h one more before it, to h features with hard-swish or ReLU."""
    channels = spec.in_shape[0]
    hidden = (Linear(channels, h, "relu" if relu else "hswish"),) if h else ()
    return Block((GlobalPool(channels), *hidden, Linear(h or channels, spec.out_channels)))


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
    "classifier": classifier,
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
