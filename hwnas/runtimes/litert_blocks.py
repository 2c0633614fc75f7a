"""Blocks -> a TFLite file, straight from the schema, with the operators that litert-torch emits for them.

A conversion takes a second a block; this takes milliseconds. That what is measured here is what ships is proven by
tests: the same operator list, the same output.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as tfl
from numpy.typing import NDArray

from hwnas.runtimes.litert_graph import FUSED, Graph
from hwnas.runtimes.litert_operators import add, joined, mean, multiply, pad, part, reshape, transpose
from hwnas.runtimes.litert_rewriting import pad_without_infinity
from hwnas.runtimes.runtime import FoldedWeight, Weights
from hwnas.spaces.layers import (
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
    Shape,
    Shuffle,
    SqueezeExcite,
    as_convolution,
)
from hwnas.spaces.space import Wire, chain_wires


def build_tflite(
    blocks: Sequence[Block], weights: Weights, input_shape: Shape, wires: Sequence[Wire] | None = None
) -> bytes:
    """The blocks between their nodes, or one after another, as a TFLite file for one channel-last image."""
    channels, height, width = input_shape
    graph, left = Graph((1, height, width, channels)), iter(weights)
    nodes: dict[int, int] = {0: graph.graph.inputs[0]}
    for block, wire in zip(blocks, wires or chain_wires(len(blocks)), strict=True):
        x = joined(graph, [nodes[node] for node in wire.reads])
        y = _through(graph, x, block.layers, left)
        y = add(graph, x, y) if block.residual else y
        nodes[wire.writes] = add(graph, nodes[wire.writes], y) if wire.writes in nodes else y
    graph.graph.outputs = [nodes[wire.writes]]
    graph.fuse_relu()
    pad_without_infinity(graph)
    return graph.serialise()


def _through(graph: Graph, x: int, layers: Sequence[Layer], left: Iterator[FoldedWeight]) -> int:
    """Layers one after another, with the weights that come next."""
    for layer in layers:
        match layer:
            case Conv():
                x = _conv(graph, x, layer, *next(left))
            case GlobalPool():
                x = _global_pool(graph, x)
            case Linear():
                x = _linear(graph, x, layer, *next(left))
            case SqueezeExcite():
                x = _squeeze_excite(graph, x, layer, *next(left), *next(left))
            case Relu():
                x = graph.operator("RELU", [x], graph.shape(x))
            case BatchNorm():
                x = _conv(graph, x, as_convolution(layer), *next(left))
            case Pool():
                x = _pool(graph, x, layer)
            case Resize():
                x = _resize(graph, x, layer)
            case FactorizedReduce():
                x = _factorized_reduce(graph, x, layer, *next(left), *next(left))
            case Shuffle():
                x = _shuffle(graph, x, layer)
            case Branches():
                x = _branches(graph, x, layer, left)
    return x


def _shuffle(graph: Graph, x: int, layer: Shuffle) -> int:
    """The converter keeps torch's order of dimensions inside, as its reshape tells it."""
    _, height, width, channels = graph.shape(x)
    x = transpose(graph, x, (0, 3, 1, 2))
    x = reshape(graph, x, (1, layer.groups, channels // layer.groups, height * width))
    x = transpose(graph, x, (0, 2, 1, 3))
    x = reshape(graph, x, (1, channels, height, width))
    return transpose(graph, x, (0, 2, 3, 1))


def _branches(graph: Graph, x: int, layer: Branches, left: Iterator[FoldedWeight]) -> int:
    half = graph.shape(x)[3] // 2
    first, second = (part(graph, x, 3, start, half) for start in (0, half)) if layer.halved else (x, x)
    return joined(graph, [_through(graph, first, layer.first, left), _through(graph, second, layer.second, left)])


def _pool(graph: Graph, x: int, layer: Pool) -> int:
    """A padded mean of stride 2 is every second pixel of that of stride 1."""
    stride = 1 if layer.kind == "avg" and layer.kernel % 2 else layer.stride
    options = tfl.Pool2DOptionsT()
    options.filterHeight = options.filterWidth = layer.kernel
    options.strideH = options.strideW = stride
    options.padding = tfl.Padding.SAME if stride == 1 else tfl.Padding.VALID
    if layer.kernel % 2 and stride > 1:
        x = pad(graph, x, layer.kernel // 2, np.array(-np.inf, np.float32))
    _, height, width, channels = graph.shape(x)
    lost = layer.kernel - 1 if stride > 1 else 0
    out = (1, -(-(height - lost) // stride), -(-(width - lost) // stride), channels)
    y = graph.operator("AVERAGE_POOL_2D" if layer.kind == "avg" else "MAX_POOL_2D", [x], out, options)
    return y if stride == layer.stride else _every_second(graph, y)


def _resize(graph: Graph, x: int, layer: Resize) -> int:
    options = tfl.ResizeBilinearOptionsT()
    options.halfPixelCenters = True
    sides = graph.constant(np.array([layer.side] * 2, np.int32))
    return graph.operator("RESIZE_BILINEAR", [x, sides], (1, layer.side, layer.side, layer.channels), options)


def _every_second(graph: Graph, x: int) -> int:
    """Pixel of the height, then of the width."""
    for axis in (1, 2):
        shape = list(graph.shape(x))
        end = graph.constant(np.array(shape, np.int32))
        shape[axis] = -(-shape[axis] // 2)
        step = np.ones(4, np.int32)
        step[axis] = 2
        inputs = [x, graph.constant(np.zeros(4, np.int32)), end, graph.constant(step)]
        x = graph.operator("STRIDED_SLICE", inputs, tuple(shape), tfl.StridedSliceOptionsT())
    return x


def _factorized_reduce(
    graph: Graph,
    x: int,
    layer: FactorizedReduce,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    second_weight: NDArray[np.float32],
    second_bias: NDArray[np.float32],
) -> int:
    def conv(y: int, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> int:
        return _conv(graph, y, Conv(layer.in_channels, len(bias), 1, 2, activation="none"), weight, bias)

    first, y = conv(x, weight, bias), x
    for axis in (1, 2):
        y = part(graph, y, axis, 1, graph.shape(y)[axis] - 1)
    return joined(graph, [first, conv(y, second_weight, second_bias)])


def _conv(graph: Graph, x: int, layer: Conv, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> int:
    """Where TFLite's SAME is not torch's padding (stride 2 on an even size) it is PAD, then VALID."""
    padding = tfl.Padding.VALID
    if layer.kernel > 1 and _same_is_symmetric(layer, graph.shape(x)):
        padding = tfl.Padding.SAME
    elif layer.kernel > 1:
        x = pad(graph, x, layer.padding)
    _, height, width, _ = graph.shape(x)
    lost = 2 * layer.padding if padding == tfl.Padding.VALID else 0
    out = (1, -(-(height - lost) // layer.stride), -(-(width - lost) // layer.stride), layer.out_channels)
    depthwise = layer.depthwise
    options = tfl.DepthwiseConv2DOptionsT() if depthwise else tfl.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = padding, layer.stride, layer.stride
    options.dilationHFactor = options.dilationWFactor = layer.dilation
    options.fusedActivationFunction = FUSED[layer.activation]
    if depthwise:
        options.depthMultiplier = 1
    kernel = weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
    inputs = [x, graph.constant(kernel), graph.constant(bias)]
    y = graph.operator("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, out, options)
    return _hard_swish(graph, y) if layer.activation == "hswish" else y


def _hard_swish(graph: Graph, x: int) -> int:
    return graph.operator("HARD_SWISH", [x], graph.shape(x))


def _same_is_symmetric(layer: Conv, shape: tuple[int, ...]) -> bool:
    """Whether SAME, which pads only as much as the last window needs, pads as the layer does on every side."""
    kernel = 2 * layer.padding + 1
    needed = [(-(-size // layer.stride) - 1) * layer.stride + kernel - size for size in shape[1:3]]
    return all(pixels == 2 * layer.padding for pixels in needed)


def _global_pool(graph: Graph, x: int) -> int:
    return mean(graph, x, (1, graph.shape(x)[3]))


def _linear(graph: Graph, x: int, layer: Linear, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> int:
    options = tfl.FullyConnectedOptionsT()
    options.keepNumDims = True
    options.fusedActivationFunction = FUSED[layer.activation]
    inputs = [x, graph.constant(weight), graph.constant(bias)]
    y = graph.operator("FULLY_CONNECTED", inputs, (1, layer.out_features), options)
    return _hard_swish(graph, y) if layer.activation == "hswish" else y


def _squeeze_excite(
    graph: Graph,
    x: int,
    layer: SqueezeExcite,
    squeeze: NDArray[np.float32],
    squeeze_bias: NDArray[np.float32],
    excite: NDArray[np.float32],
    excite_bias: NDArray[np.float32],
) -> int:
    """TFLite has no hard-sigmoid: it is ReLU6 of x + 3, divided by 6, and the 3 goes into the bias."""
    y = mean(graph, x, (1, 1, 1, layer.channels))
    y = _conv(graph, y, Conv(layer.channels, layer.squeezed, activation="relu"), squeeze, squeeze_bias)
    y = _conv(graph, y, Conv(layer.squeezed, layer.channels, activation="relu6"), excite, excite_bias + np.float32(3))
    factor = multiply(graph, y, graph.constant(np.array(1 / 6, np.float32)))
    return multiply(graph, x, factor)
