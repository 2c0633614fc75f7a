"""Blocks -> an ONNX file, straight from the format, with what ONNX Runtime executes of torch's exported file."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

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

OPSET = 20  # of converted files too: ONNX Runtime optimises the same operators differently by opset, in fp16
IR_VERSION = 10
INPUT, OUTPUT = "image", "logits"


class Graph:
    """Nodes and constants under construction."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: NDArray[Any]) -> str:
        """The name of a new constant."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        """Adds an operator; returns the name of its output."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name


def build_onnx(
    blocks: Sequence[Block], weights: Weights, input_shape: Shape, wires: Sequence[Wire] | None = None
) -> bytes:
    """The blocks between their nodes, or one after another, as an ONNX file for one image."""
    graph, left, nodes = Graph(), iter(weights), {0: INPUT}
    for block, wire in zip(blocks, wires or chain_wires(len(blocks)), strict=True):
        y = _block(graph, _joined(graph, [nodes[node] for node in wire.reads]), block, left)
        nodes[wire.writes] = graph.node("Add", [nodes[wire.writes], y]) if wire.writes in nodes else y
    graph.nodes[-1].output[0] = OUTPUT
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, *input_shape])]
    outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)]
    made = helper.make_graph(graph.nodes, "hwnas", inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def _block(graph: Graph, x: str, block: Block, left: Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> str:
    y = x
    for layer in block.layers:
        match layer:
            case Conv():
                y = _conv(graph, y, layer, *next(left))
            case GlobalPool():
                y = _global_pool(graph, y, layer)
            case Linear():
                weight, bias = next(left)
                y = graph.node("Gemm", [y, graph.constant(weight), graph.constant(bias)], transB=1)
                y = _activation(graph, y, layer.activation)
            case SqueezeExcite():
                y = _squeeze_excite(graph, y, layer, *next(left), *next(left))
            case Relu():
                y = _activation(graph, y, "relu")
            case BatchNorm():
                y = _conv(graph, y, as_convolution(layer), *next(left))
            case Pool():
                y = _pool(graph, y, layer)
            case FactorizedReduce():
                y = _factorized_reduce(graph, y, layer, *next(left), *next(left))
    return graph.node("Add", [x, y]) if block.residual else y


def _joined(graph: Graph, tensors: list[str]) -> str:
    return tensors[0] if len(tensors) == 1 else graph.node("Concat", tensors, axis=1)


def _pool(graph: Graph, x: str, layer: Pool) -> str:
    """A padded mean of stride 2 is every second pixel of that of stride 1, as in `nn.ops`."""
    stride = 1 if layer.kind == "avg" and layer.kernel % 2 else layer.stride
    shape = {"kernel_shape": [layer.kernel] * 2, "strides": [stride] * 2, "pads": [(layer.kernel - 1) // 2] * 4}
    y = graph.node("MaxPool" if layer.kind == "max" else "AveragePool", [x], **shape)
    for axis in (2, 3) if stride != layer.stride else ():
        y = _slice(graph, y, 0, layer.stride, axis)
    return y


def _slice(graph: Graph, x: str, start: int, step: int, axis: int) -> str:
    values = (start, np.iinfo(np.int64).max, axis, step)
    return graph.node("Slice", [x, *(graph.constant(np.array([value])) for value in values)])


def _factorized_reduce(
    graph: Graph,
    x: str,
    layer: FactorizedReduce,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    second_weight: NDArray[np.float32],
    second_bias: NDArray[np.float32],
) -> str:
    def conv(y: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        return _conv(graph, y, Conv(layer.in_channels, len(bias), 1, 2, activation="none"), weight, bias)

    shifted = _slice(graph, _slice(graph, x, 1, 1, 2), 1, 1, 3)
    return _joined(graph, [conv(x, weight, bias), conv(shifted, second_weight, second_bias)])


def _conv(graph: Graph, x: str, layer: Conv, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
    y = graph.node(
        "Conv",
        [x, graph.constant(weight), graph.constant(bias)],
        kernel_shape=[layer.kernel] * 2,
        strides=[layer.stride] * 2,
        pads=[layer.padding] * 4,
        dilations=[layer.dilation] * 2,
        group=layer.groups,
    )
    return _activation(graph, y, layer.activation)


def _activation(graph: Graph, x: str, activation: Activation) -> str:
    match activation:
        case "none":
            return x
        case "relu":
            return graph.node("Relu", [x])
        case "relu6":
            return graph.node("Clip", [x, *(graph.constant(np.array(value, np.float32)) for value in (0, 6))])
        case "hswish":
            return graph.node("HardSwish", [x])


def _global_pool(graph: Graph, x: str, layer: GlobalPool) -> str:
    return graph.node("Reshape", [_mean(graph, x), graph.constant(np.array([1, layer.channels]))], allowzero=1)


def _mean(graph: Graph, x: str) -> str:
    """Not GlobalAveragePool: the exporter writes a mean, and ONNX Runtime leaves its blocked layout before a mean."""
    return graph.node("ReduceMean", [x, graph.constant(np.array([-1, -2]))], keepdims=1, noop_with_empty_axes=0)


def _squeeze_excite(
    graph: Graph,
    x: str,
    layer: SqueezeExcite,
    squeeze: NDArray[np.float32],
    squeeze_bias: NDArray[np.float32],
    excite: NDArray[np.float32],
    excite_bias: NDArray[np.float32],
) -> str:
    y = _conv(graph, _mean(graph, x), Conv(layer.channels, layer.squeezed, activation="relu"), squeeze, squeeze_bias)
    y = _conv(graph, y, Conv(layer.squeezed, layer.channels, activation="none"), excite, excite_bias)
    return graph.node("Mul", [x, graph.node("HardSigmoid", [y], alpha=1 / 6, beta=0.5)])


def with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """The same model with these properties."""
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString())


def metadata_of(content: bytes) -> dict[str, str]:
    """The properties of a model."""
    return {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}


def operator_names(content: bytes) -> list[str]:
    """The operators of a file in order of execution."""
    return [node.op_type for node in onnx.load_from_string(content).graph.node]
