"""A TFLite file as the schema has it: a graph under construction, metadata, and the operators that a file holds."""

import itertools
from collections import Counter, defaultdict
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
ABSENT = -1  # in the place of a tensor that an operator does not need, like a bias
ALIGNMENT_BYTES = 16  # of constants; the schema demands it, its generated Python code does not do it
NAMES = {code: name for name, code in vars(tfl.BuiltinOperator).items() if isinstance(code, int)}  # of operators
TYPES: dict[np.dtype[Any], int] = {
    np.dtype(np.float32): tfl.TensorType.FLOAT32,
    np.dtype(np.int32): tfl.TensorType.INT32,
    np.dtype(np.int64): tfl.TensorType.INT64,
}


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
        self._know_nothing()
        self.graph.inputs = [self.tensor(input_shape)]

    @classmethod
    def opened(cls, content: bytes) -> "Graph":
        """The graph of a file, the first where there are several, to be changed."""
        graph = cls.__new__(cls)
        graph.model = tfl.ModelT.InitFromPackedBuf(content, 0)
        graph.model.buffers = [_own_buffer(buffer, content) for buffer in graph.model.buffers]
        graph.graph = graph.model.subgraphs[0]
        for part in (graph.graph, *graph.graph.operators):
            part.inputs, part.outputs = ([] if x is None else list(x) for x in (part.inputs, part.outputs))  # no arrays
        graph._know_nothing()
        return graph

    def _know_nothing(self) -> None:
        self.codes = {(code.builtinCode, code.version): i for i, code in enumerate(self.model.operatorCodes)}
        self.names = {tensor.name for tensor in self.graph.tensors}
        self.known: dict[tuple[str, tuple[int, ...], str], int] = {}  # outputs of operators
        self.constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}

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
        tensor.name = self._new_name()
        tensor.hasRank = True
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _new_name(self) -> bytes:
        """Quantisers know tensors by their names."""
        numbers = itertools.count(len(self.graph.tensors))
        name = next(name for number in numbers if (name := f"t{number}".encode()) not in self.names)
        self.names.add(name)
        return name

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self.graph.tensors[tensor].shape)

    def value(self, tensor: int) -> NDArray[Any]:
        """Of a constant of one of TYPES; empty where the tensor is none."""
        found = self.graph.tensors[tensor]
        data = self.model.buffers[found.buffer].data
        kinds = [dtype for dtype, kind in TYPES.items() if kind == found.type]
        if data is None or not kinds:
            return np.empty(0, np.float32)
        value: NDArray[Any] = np.frombuffer(bytes(data), kinds[0]).reshape(found.shape)
        return value

    def readers(self) -> dict[int, list[Any]]:
        """The operators that read each tensor."""
        found: dict[int, list[Any]] = defaultdict(list)
        for node in self.graph.operators:
            for tensor in node.inputs:
                found[tensor].append(node)
        return found

    def operator(self, name: str, inputs: list[int], out_shape: tuple[int, ...], options: Any = None) -> int:
        """Adds an operator; returns the index of its output. One that is there already runs once, as converted."""
        same = (name, tuple(inputs), repr(sorted(vars(options).items())) if options is not None else "")
        if same in self.known:
            return self.known[same]
        node = tfl.OperatorT()
        node.opcodeIndex = self._code(getattr(tfl.BuiltinOperator, name), VERSIONS.get(name, 1))
        node.inputs, node.outputs = inputs, [self.tensor(out_shape)]
        if options is not None:
            node.builtinOptions = options
            node.builtinOptionsType = getattr(tfl.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.graph.operators.append(node)
        self.known[same] = int(node.outputs[0])
        return self.known[same]

    def _code(self, code: int, version: int) -> int:
        """The index of an operator's entry in the file's list of operators."""
        if (code, version) not in self.codes:
            entry = tfl.OperatorCodeT()
            entry.builtinCode, entry.version = code, version
            entry.deprecatedBuiltinCode = min(code, 127)
            self.codes[(code, version)] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(entry)
        return self.codes[(code, version)]

    def kind(self, node: Any) -> str:
        """An operator's name, like CONV_2D."""
        return str(NAMES[self.model.operatorCodes[node.opcodeIndex].builtinCode])

    def fuse_relu(self) -> None:
        """Makes a ReLU that alone reads an operator's output part of that operator, as the converter does."""
        maker = {node.outputs[0]: node for node in self.graph.operators}
        reads = Counter(tensor for node in self.graph.operators for tensor in node.inputs)
        left = []
        for node in self.graph.operators:
            before = maker.get(node.inputs[0]) if self.kind(node) == "RELU" else None
            if before is not None and self.kind(before) in FUSING and reads[node.inputs[0]] == 1:
                before.builtinOptions.fusedActivationFunction = FUSED["relu"]
                before.outputs = node.outputs
                maker[node.outputs[0]] = before
            else:
                left.append(node)
        self.graph.operators = left

    def serialise(self) -> bytes:
        """The file's content."""
        self._drop_unused_tensors()
        self.model.signatureDefs = [_signature(self.graph.inputs[0], self.graph.outputs[0])]
        return _packed(self.model, expected_bytes=1 << 20)

    def _drop_unused_tensors(self) -> None:
        """Numbers the others anew: quantisers read every tensor, and one that nothing writes has no memory."""
        lists = [self.graph.inputs, self.graph.outputs]
        lists += [tensors for node in self.graph.operators for tensors in (node.inputs, node.outputs)]
        used = sorted({tensor for tensors in lists for tensor in tensors} - {ABSENT})
        number = {tensor: i for i, tensor in enumerate(used)} | {ABSENT: ABSENT}
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
    model = tfl.Model.GetRootAs(content, 0)
    graph, kinds = model.Subgraphs(0), _kinds(model)
    return [kinds[graph.Operators(i).OpcodeIndex()] for i in range(graph.OperatorsLength())]


def kinds_in(content: bytes) -> set[str]:
    """The kinds of operators that a file has."""
    return set(_kinds(tfl.Model.GetRootAs(content, 0)))


def _kinds(model: Any) -> list[str]:
    """Of a model that is not unpacked, which takes a second: the names that its operators have by their index."""
    return [NAMES[model.OperatorCodes(i).BuiltinCode()] for i in range(model.OperatorCodesLength())]
