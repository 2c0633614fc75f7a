"""A TFLite file as the schema has it: a graph under construction, metadata, and the operators that a file holds."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl
from numpy.typing import NDArray

from hwnas.spaces.layers import Activation

FUSED: dict[Activation, int] = {  # part of the operator before; hard-swish is an operator of its own
    "none": tfl.ActivationFunctionType.NONE,
    "relu": tfl.ActivationFunctionType.RELU,
    "relu6": tfl.ActivationFunctionType.RELU6,
    "hswish": tfl.ActivationFunctionType.NONE,
}
FUSING = {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "AVERAGE_POOL_2D", "MAX_POOL_2D"}
VERSIONS = {"FULLY_CONNECTED": 5, "RESIZE_BILINEAR": 3}  # what the converter writes; all others are of version 1
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
            self.model.buffers.append(_buffer(same[2]))
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
        node = tfl.OperatorT()
        node.opcodeIndex = self.codes.setdefault((code, VERSIONS.get(name, 1)), len(self.codes))
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
        return _packed(self.model, expected_bytes=1 << 20)

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


def _buffer(content: bytes) -> AlignedBuffer:
    buffer = AlignedBuffer()
    buffer.data = np.frombuffer(content, np.uint8)
    return buffer


def _packed(model: Any, expected_bytes: int) -> bytes:
    builder = flatbuffers.Builder(expected_bytes)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


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
