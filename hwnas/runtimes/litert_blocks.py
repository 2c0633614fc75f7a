"""Blocks -> a TFLite file, straight from the schema, with the operators that litert-torch emits for them.

A conversion takes a second a block; this takes milliseconds. That what is measured here is what ships is proven by
tests: the same operator list, the same output.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl
from numpy.typing import NDArray

from hwnas.runtimes.runtime import Shape, Weights
from hwnas.spaces.layers import (
    Activation,
    BatchNorm,
    Block,
    Conv,
    FactorizedReduce,
    GlobalPool,
    Linear,
    Pool,
    Relu,
    SqueezeExcite,
    as_convolution,
)
from hwnas.spaces.space import Wire, chain_wires

FUSED: dict[Activation, int] = {  # part of the operator before; hard-swish is an operator of its own
    "none": tfl.ActivationFunctionType.NONE,
    "relu": tfl.ActivationFunctionType.RELU,
    "relu6": tfl.ActivationFunctionType.RELU6,
    "hswish": tfl.ActivationFunctionType.NONE,
}
FUSING = {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "AVERAGE_POOL_2D", "MAX_POOL_2D"}
FULLY_CONNECTED_VERSION = 5  # what the converter writes; all others are of version 1
SIGNATURE, INPUT_NAME, OUTPUT_NAME = "serving_default", "args_0", "output_0"
SCHEMA_VERSION = 3
ALIGNMENT_BYTES = 16  # of constants; the schema demands it, its generated Python code does not do it
TYPES = {np.dtype(np.float32): tfl.TensorType.FLOAT32, np.dtype(np.int32): tfl.TensorType.INT32}


class AlignedBuffer(tfl.BufferT):  # type: ignore[misc]  # the schema is untyped
    """A buffer whose data begins at a multiple of 16 bytes."""

    def Pack(self, builder: Any) -> int:
        if self.data is not None:
            builder.Prep(ALIGNMENT_BYTES, len(self.data))
        return int(super().Pack(builder))


class Graph:
    """A TFLite model under construction: one subgraph, tensors channel-last."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        self.model, self.graph = tfl.ModelT(), tfl.SubGraphT()
        self.model.version, self.model.description = SCHEMA_VERSION, b"hwnas"
        self.model.buffers = [tfl.BufferT()]  # the first one is empty by definition
        self.model.operatorCodes, self.model.subgraphs = [], [self.graph]
        self.graph.name, self.graph.tensors, self.graph.operators = b"main", [], []
        self.codes: dict[tuple[int, int], int] = {}
        self.known: dict[tuple[str, tuple[int, ...], str], int] = {}  # outputs of operators
        self.constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}
        self.graph.inputs = [self.tensor(input_shape)]

    def tensor(self, shape: tuple[int, ...]) -> int:
        """The index of a new activation."""
        return self._add(shape, tfl.TensorType.FLOAT32, buffer=0)

    def constant(self, value: NDArray[Any]) -> int:
        """The index of a constant."""
        same = (str(value.dtype), value.shape, np.ascontiguousarray(value).tobytes())
        if same not in self.constants:
            self.model.buffers.append(buffer_of(same[2]))
            self.constants[same] = self._add(value.shape, TYPES[value.dtype], len(self.model.buffers) - 1)
        return self.constants[same]

    def _add(self, shape: tuple[int, ...], kind: int, buffer: int) -> int:
        tensor = tfl.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), kind, buffer
        tensor.name = f"t{len(self.graph.tensors)}".encode()
        tensor.hasRank = True
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self.graph.tensors[tensor].shape)

    def operator(self, name: str, inputs: list[int], out_shape: tuple[int, ...], options: Any = None) -> int:
        """Adds an operator; returns the index of its output. One that is there already runs once, as converted."""
        same = (name, tuple(inputs), repr(sorted(vars(options).items())) if options is not None else "")
        if same in self.known:
            return self.known[same]
        code = getattr(tfl.BuiltinOperator, name)
        version = FULLY_CONNECTED_VERSION if name == "FULLY_CONNECTED" else 1
        node = tfl.OperatorT()
        node.opcodeIndex = self.codes.setdefault((code, version), len(self.codes))
        node.inputs, node.outputs = inputs, [self.tensor(out_shape)]
        if options is not None:
            node.builtinOptions = options
            node.builtinOptionsType = getattr(tfl.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.graph.operators.append(node)
        self.known[same] = int(node.outputs[0])
        return self.known[same]

    def fuse_relu(self) -> None:
        """Makes a ReLU that alone reads an operator's output part of that operator, as the converter does."""
        names = {code: name for name, code in vars(tfl.BuiltinOperator).items() if isinstance(code, int)}
        kinds = [names[code] for code, _ in self.codes]
        maker = {node.outputs[0]: node for node in self.graph.operators}
        reads = Counter(tensor for node in self.graph.operators for tensor in node.inputs)
        left = []
        for node in self.graph.operators:
            before = maker.get(node.inputs[0]) if kinds[node.opcodeIndex] == "RELU" else None
            if before is not None and kinds[before.opcodeIndex] in FUSING and reads[node.inputs[0]] == 1:
                before.builtinOptions.fusedActivationFunction = FUSED["relu"]
                before.outputs = node.outputs
                maker[node.outputs[0]] = before
            else:
                left.append(node)
        self.graph.operators = left

    def serialise(self, output: int) -> bytes:
        """The file's content."""
        self.graph.outputs = [output]
        self._drop_unused_tensors()
        self.model.signatureDefs = [_signature(self.graph.inputs[0], self.graph.outputs[0])]
        for code, version in self.codes:
            entry = tfl.OperatorCodeT()
            entry.builtinCode, entry.version = code, version
            entry.deprecatedBuiltinCode = min(code, 127)
            self.model.operatorCodes.append(entry)
        return packed(self.model, expected_bytes=1 << 20)

    def _drop_unused_tensors(self) -> None:
        """Numbers the others anew: quantisers read every tensor, and one that nothing writes has no memory."""
        lists = [self.graph.inputs, self.graph.outputs]
        lists += [tensors for node in self.graph.operators for tensors in (node.inputs, node.outputs)]
        used = sorted({tensor for tensors in lists for tensor in tensors})
        number = {tensor: i for i, tensor in enumerate(used)}
        self.graph.tensors = [self.graph.tensors[tensor] for tensor in used]
        for tensors in {id(tensors): tensors for tensors in lists}.values():  # a fused operator has another one's list
            tensors[:] = [number[tensor] for tensor in tensors]


def _signature(input_tensor: int, output_tensor: int) -> Any:
    """The names by which quantisers and apps address the two, as litert-torch gives them."""
    signature = tfl.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    signature.inputs = [_named_tensor(INPUT_NAME, input_tensor)]
    signature.outputs = [_named_tensor(OUTPUT_NAME, output_tensor)]
    return signature


def _named_tensor(name: str, index: int) -> Any:
    entry = tfl.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry


def buffer_of(content: bytes) -> AlignedBuffer:
    buffer = AlignedBuffer()
    buffer.data = np.frombuffer(content, np.uint8)
    return buffer


def packed(model: Any, expected_bytes: int) -> bytes:
    builder = flatbuffers.Builder(expected_bytes)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def build_tflite(
    blocks: Sequence[Block], weights: Weights, input_shape: Shape, wires: Sequence[Wire] | None = None
) -> bytes:
    """The blocks between their nodes, or one after another, as a TFLite file for one channel-last image."""
    channels, height, width = input_shape
    graph, left = Graph((1, height, width, channels)), iter(weights)
    nodes: dict[int, int] = {0: graph.graph.inputs[0]}
    for block, wire in zip(blocks, wires or chain_wires(len(blocks)), strict=True):
        y = _block(graph, _joined(graph, [nodes[node] for node in wire.reads]), block, left)
        nodes[wire.writes] = _add(graph, nodes[wire.writes], y) if wire.writes in nodes else y
    graph.fuse_relu()
    return graph.serialise(nodes[wire.writes])


def _block(graph: Graph, x: int, block: Block, left: Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> int:
    y = x
    for layer in block.layers:
        match layer:
            case Conv():
                y = _conv(graph, y, layer, *next(left))
            case GlobalPool():
                y = _global_pool(graph, y)
            case Linear():
                y = _linear(graph, y, layer, *next(left))
            case SqueezeExcite():
                y = _squeeze_excite(graph, y, layer, *next(left), *next(left))
            case Relu():
                y = graph.operator("RELU", [y], graph.shape(y))
            case BatchNorm():
                y = _conv(graph, y, as_convolution(layer), *next(left))
            case Pool():
                y = _pool(graph, y, layer)
            case FactorizedReduce():
                y = _factorized_reduce(graph, y, layer, *next(left), *next(left))
    return _add(graph, x, y) if block.residual else y


def _add(graph: Graph, x: int, y: int) -> int:
    return graph.operator("ADD", [x, y], graph.shape(y), _add_options())


def _joined(graph: Graph, tensors: list[int]) -> int:
    if len(tensors) == 1:
        return tensors[0]
    *image, _ = graph.shape(tensors[0])
    options = tfl.ConcatenationOptionsT()
    options.axis = 3
    return graph.operator("CONCATENATION", tensors, (*image, sum(graph.shape(t)[3] for t in tensors)), options)


def _pool(graph: Graph, x: int, layer: Pool) -> int:
    """A padded mean of stride 2 is every second pixel of that of stride 1."""
    stride = 1 if layer.kind == "avg" and layer.kernel % 2 else layer.stride
    options = tfl.Pool2DOptionsT()
    options.filterHeight = options.filterWidth = layer.kernel
    options.strideH = options.strideW = stride
    options.padding = tfl.Padding.SAME if stride == 1 else tfl.Padding.VALID
    if layer.kernel % 2 and stride > 1:
        x = _pad(graph, x, layer.kernel // 2, np.array(-np.inf, np.float32))
    _, height, width, channels = graph.shape(x)
    lost = layer.kernel - 1 if stride > 1 else 0
    out = (1, -(-(height - lost) // stride), -(-(width - lost) // stride), channels)
    y = graph.operator("AVERAGE_POOL_2D" if layer.kind == "avg" else "MAX_POOL_2D", [x], out, options)
    return y if stride == layer.stride else _every_second(graph, y)


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
        begin, shape = np.zeros(4, np.int32), list(graph.shape(y))
        begin[axis] = 1
        shape[axis] -= 1
        inputs = [y, graph.constant(begin), graph.constant(np.array(shape, np.int32))]
        y = graph.operator("SLICE", inputs, tuple(shape), tfl.SliceOptionsT())
    return _joined(graph, [first, conv(y, second_weight, second_bias)])


def _add_options() -> Any:
    options = tfl.AddOptionsT()
    options.potScaleInt16 = True
    return options


def _conv(graph: Graph, x: int, layer: Conv, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> int:
    """Where TFLite's SAME is not torch's padding (stride 2 on an even size) it is PAD, then VALID."""
    padding = tfl.Padding.VALID
    if layer.kernel > 1 and _same_is_symmetric(layer, graph.shape(x)):
        padding = tfl.Padding.SAME
    elif layer.kernel > 1:
        x = _pad(graph, x, layer.padding)
    _, height, width, _ = graph.shape(x)
    lost = 2 * layer.padding if padding == tfl.Padding.VALID else 0
    out = (1, -(-(height - lost) // layer.stride), -(-(width - lost) // layer.stride), layer.out_channels)
    depthwise = layer.groups > 1
    options = tfl.DepthwiseConv2DOptionsT() if depthwise else tfl.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = padding, layer.stride, layer.stride
    options.dilationHFactor = options.dilationWFactor = layer.dilation
    options.fusedActivationFunction = FUSED[layer.activation]
    if depthwise:
        if not layer.groups == layer.in_channels == layer.out_channels:
            raise ValueError(f"only depthwise groups can be written to TFLite, {layer} came")
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


def _pad(graph: Graph, x: int, pixels: int, value: NDArray[np.float32] | None = None) -> int:
    """With zeros, or with the value."""
    _, height, width, channels = graph.shape(x)
    amounts = graph.constant(np.array([[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]], np.int32))
    out = (1, height + 2 * pixels, width + 2 * pixels, channels)
    if value is None:
        return graph.operator("PAD", [x, amounts], out, tfl.PadOptionsT())
    return graph.operator("PADV2", [x, amounts, graph.constant(value)], out, tfl.PadV2OptionsT())


def _global_pool(graph: Graph, x: int) -> int:
    return _mean(graph, x, (1, graph.shape(x)[3]))


def _mean(graph: Graph, x: int, out_shape: tuple[int, ...]) -> int:
    """Over height and width, which stay as ones where the output has four dimensions."""
    axes = graph.constant(np.array([2, 1], np.int32))
    options = tfl.ReducerOptionsT()
    options.keepDims = len(out_shape) == 4
    return graph.operator("MEAN", [x, axes], out_shape, options)


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
    y = _mean(graph, x, (1, 1, 1, layer.channels))
    y = _conv(graph, y, Conv(layer.channels, layer.squeezed, activation="relu"), squeeze, squeeze_bias)
    y = _conv(graph, y, Conv(layer.squeezed, layer.channels, activation="relu6"), excite, excite_bias + np.float32(3))
    factor = _multiply(graph, y, graph.constant(np.array(1 / 6, np.float32)))
    return _multiply(graph, x, factor)


def _multiply(graph: Graph, x: int, factor: int) -> int:
    return graph.operator("MUL", [x, factor], graph.shape(x), tfl.MulOptionsT())
