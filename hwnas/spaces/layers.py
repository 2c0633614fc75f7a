"""What networks are made of: layers, the shapes between them, and blocks of them. Operators are made in `operators`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Activation = Literal["none", "relu", "relu6", "hswish"]


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
class Resize:
    """Another size of image, square: bilinear, pixels as areas (half-pixel centres), no filter before it."""

    channels: int
    side: int


@dataclass(frozen=True, slots=True)
class FactorizedReduce:
    """Half the size without a filter: 1x1 convolutions of stride 2, the second one pixel further, concatenated.

    Each with its half of the batch norm. DARTS (https://arxiv.org/abs/1806.09055), as its authors' code has it.
    """

    in_channels: int
    out_channels: int


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


Layer = (
    Conv
    | GlobalPool
    | Linear
    | SqueezeExcite
    | Relu
    | BatchNorm
    | Pool
    | Resize
    | FactorizedReduce
    | Shuffle
    | Branches
)
Shape = tuple[int, int, int]  # (C, H, W)


def out_shape(layer: Layer, shape: Shape) -> Shape:
    """What a layer makes of an image of this shape; of vectors height and width are 1."""
    channels, height, width = shape
    match layer:
        case Conv():
            return (layer.out_channels, -(-height // layer.stride), -(-width // layer.stride))
        case Pool():
            return (channels, -(-height // layer.stride), -(-width // layer.stride))
        case Resize():
            return (channels, layer.side, layer.side)
        case FactorizedReduce():
            return (layer.out_channels, -(-height // 2), -(-width // 2))
        case GlobalPool():
            return (channels, 1, 1)
        case Linear():
            return (layer.out_features, 1, 1)
        case SqueezeExcite() | Relu() | BatchNorm() | Shuffle():
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


def as_convolution(layer: BatchNorm) -> Conv:
    """What a batch norm of its own is at inference."""
    return Conv(layer.channels, layer.channels, groups=layer.channels, activation="none")


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
        case GlobalPool() | Relu() | Pool() | Resize() | Shuffle() | Branches():
            return ()


@dataclass(frozen=True, slots=True)
class Block:
    """Layers one after another; `residual` adds the block's input to its output. No layers: the identity."""

    layers: tuple[Layer, ...]
    residual: bool = False
