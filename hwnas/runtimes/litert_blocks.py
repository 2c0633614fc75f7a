"""Blocks -> a TFLite file, straight from the schema, with the operators that litert-torch emits for them.

A conversion takes a second a block; this takes milliseconds. That what is measured here is what ships is proven by
tests: the same operator list, the same output.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl
from numpy.typing import NDArray

from hwnas.runtimes.runtime import Shape, Weights
from hwnas.spaces.layers import Activation, Block, Conv, GlobalPool, Linear, SqueezeExcite

FUSED: dict[Activation, int] = {  # part of the operator before; hard-swish is an operator of its own
    "none": tfl.ActivationFunctionType.NONE,
    "relu": tfl.ActivationFunctionType.RELU,
    "relu6": tfl.ActivationFunctionType.RELU6,
    "hswish": tfl.ActivationFunctionType.NONE,
}
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
        self.graph.inputs = [self.tensor(input_shape)]

    def tensor(self, shape: tuple[int, ...]) -> int:
        """The index of a new activation."""
        return self._add(shape, tfl.TensorType.FLOAT32, buffer=0)

    def constant(self, value: NDArray[Any]) -> int:
        """The index of a new constant."""
        self.model.buffers.append(_buffer(np.ascontiguousarray(value).tobytes()))
        return self._add(value.shape, TYPES[value.dtype], len(self.model.buffers) - 1)

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
        """Adds an operator; returns the index of its output."""
        code = getattr(tfl.BuiltinOperator, name)
        version = FULLY_CONNECTED_VERSION if name == "FULLY_CONNECTED" else 1
        node = tfl.OperatorT()
        node.opcodeIndex = self.codes.setdefault((code, version), len(self.codes))
        node.inputs, node.outputs = inputs, [self.tensor(out_shape)]
        if options is not None:
            node.builtinOptions = options
            node.builtinOptionsType = getattr(tfl.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.graph.operators.append(node)
        return int(node.outputs[0])

    def serialise(self, output: int) -> bytes:
        """The file's content."""
        self.graph.outputs = [output]
        self.model.signatureDefs = [_signature(self.graph.inputs[0], output)]
        for code, version in self.codes:
            entry = tfl.OperatorCodeT()
            entry.builtinCode, entry.version = code, version
            entry.deprecatedBuiltinCode = min(code, 127)
            self.model.operatorCodes.append(entry)
        return _packed(self.model, expected_bytes=1 << 20)


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


def _buffer(content: bytes) -> AlignedBuffer:
    buffer = AlignedBuffer()
    buffer.data = np.frombuffer(content, np.uint8)
    return buffer


def _packed(model: Any, expected_bytes: int) -> bytes:
    builder = flatbuffers.Builder(expected_bytes)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def build_tflite(blocks: Sequence[Block], weights: Weights, input_shape: Shape) -> bytes:
    """The blocks one after another as a TFLite file for one channel-last image."""
    channels, height, width = input_shape
    graph, left = Graph((1, height, width, channels)), iter(weights)
    x: int = graph.graph.inputs[0]
    for block in blocks:
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
        x = graph.operator("ADD", [x, y], graph.shape(y), _add_options()) if block.residual else y
    return graph.serialise(x)


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
        x = _pad(graph, x, layer.kernel // 2)
    _, height, width, _ = graph.shape(x)
    lost = layer.kernel - 1 if padding == tfl.Padding.VALID else 0
    out = (1, -(-(height - lost) // layer.stride), -(-(width - lost) // layer.stride), layer.out_channels)
    depthwise = layer.groups > 1
    options = tfl.DepthwiseConv2DOptionsT() if depthwise else tfl.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = padding, layer.stride, layer.stride
    options.dilationHFactor = options.dilationWFactor = 1
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
    """Whether SAME, which pads only as much as the last window needs, pads kernel // 2 on every side."""
    needed = [(-(-size // layer.stride) - 1) * layer.stride + layer.kernel - size for size in shape[1:3]]
    return all(pixels == layer.kernel // 2 * 2 for pixels in needed)


def _pad(graph: Graph, x: int, pixels: int) -> int:
    _, height, width, channels = graph.shape(x)
    amounts = np.array([[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]], np.int32)
    out = (1, height + 2 * pixels, width + 2 * pixels, channels)
    return graph.operator("PAD", [x, graph.constant(amounts)], out, tfl.PadOptionsT())


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


def _own_buffer(buffer: Any, content: bytes) -> Any:
    """A buffer that holds its data itself: quantisers put data behind the flatbuffer, which packing would lose."""
    if buffer.offset > 1:  # 0 and 1 mean that there is none
        return _buffer(content[buffer.offset : buffer.offset + buffer.size])
    return buffer if buffer.data is None else _buffer(bytes(buffer.data))


def add_metadata(content: bytes, name: str, text: str) -> bytes:
    """The same model with a named metadata buffer; one of that name is replaced."""
    model = tfl.ModelT.InitFromPackedBuf(content, 0)
    model.buffers = [_own_buffer(b, content) for b in model.buffers]
    model.metadata = model.metadata or []
    entry = next((entry for entry in model.metadata if entry.name == name.encode()), None)
    if entry is None:
        entry = tfl.MetadataT()
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.metadata.append(entry)
        model.buffers.append(None)
    model.buffers[entry.buffer] = _buffer(text.encode())
    return _packed(model, len(content) + len(text) + 1024)


def metadata_text(content: bytes, name: str) -> str:
    """The metadata buffer of that name; empty where there is none."""
    model = tfl.ModelT.InitFromPackedBuf(content, 0)
    found = [model.buffers[entry.buffer] for entry in model.metadata or [] if entry.name == name.encode()]
    data = _own_buffer(found[0], content).data if found else None
    return "" if data is None else bytes(data).decode()


def operator_names(content: bytes) -> list[str]:
    """The operators of a file in order of execution."""
    names = {code: name for name, code in vars(tfl.BuiltinOperator).items() if isinstance(code, int)}
    model = tfl.ModelT.InitFromPackedBuf(content, 0)
    return [names[model.operatorCodes[node.opcodeIndex].builtinCode] for node in model.subgraphs[0].operators]


def with_finite_padding(content: bytes, lowest: Mapping[str, float]) -> tuple[bytes, dict[str, str]]:
    """The same model where nothing is padded with minus infinity, which int8 has not, and (padded, its input) by name.

    Before a max-pool the lowest value of what is padded serves as well; `lowest` has it by the tensor's name.
    """
    model, padded = tfl.ModelT.InitFromPackedBuf(content, 0), {}
    tensors = model.subgraphs[0].tensors
    for node in model.subgraphs[0].operators:
        if model.operatorCodes[node.opcodeIndex].builtinCode != tfl.BuiltinOperator.PADV2:
            continue
        source, _, value = (tensors[i] for i in node.inputs)
        name = source.name.decode()
        if np.isneginf(np.frombuffer(bytes(model.buffers[value.buffer].data), np.float32)).all() and name in lowest:
            model.buffers.append(_buffer(np.array(lowest[name], np.float32).tobytes()))
            value.buffer = len(model.buffers) - 1
            padded[tensors[node.outputs[0]].name.decode()] = name
    if not padded:
        return content, {}
    model.buffers = [_own_buffer(b, content) for b in model.buffers]
    return _packed(model, len(content) + 1024), padded
