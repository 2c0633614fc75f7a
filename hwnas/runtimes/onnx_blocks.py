"""Blocks -> an ONNX file, straight from the format, with what ONNX Runtime executes of torch's exported file."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hwnas.runtimes.runtime import FoldedWeight, Weights
from hwnas.spaces.layers import (
    Activation,
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
    branch_inputs,
    out_shape,
    shape_after,
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

    def halves(self, x: str) -> tuple[str, str]:
        """The names of the two halves of the channels."""
        name = f"n{len(self.nodes)}"
        parts = f"{name}a", f"{name}b"
        self.nodes.append(helper.make_node("Split", [x], parts, name=name, axis=1, num_outputs=2))
        return parts


def build_onnx(
    blocks: Sequence[Block], weights: Weights, input_shape: Shape, wires: Sequence[Wire] | None = None
) -> bytes:
    """The blocks between their nodes, or one after another, as an ONNX file for one image."""
    graph, left, nodes, shapes = Graph(), iter(weights), {0: INPUT}, {0: input_shape}
    for block, wire in zip(blocks, wires or chain_wires(len(blocks)), strict=True):
        x = _joined(graph, [nodes[node] for node in wire.reads])
        shape = (sum(shapes[node][0] for node in wire.reads), *shapes[wire.reads[0]][1:])
        y = _through(graph, x, block.layers, shape, left)
        y = graph.node("Add", [x, y]) if block.residual else y
        nodes[wire.writes] = graph.node("Add", [nodes[wire.writes], y]) if wire.writes in nodes else y
        shapes[wire.writes] = shape_after(block.layers, shape)
    graph.nodes[-1].output[0] = OUTPUT
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, *input_shape])]
    outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)]
    made = helper.make_graph(graph.nodes, "hwnas", inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def _through(graph: Graph, x: str, layers: Sequence[Layer], shape: Shape, left: Iterator[FoldedWeight]) -> str:
    """Layers one after another on an image of this shape, with the weights that come next."""
    for layer in layers:
        match layer:
            case Conv():
                x = _conv(graph, x, layer, *next(left))
            case GlobalPool():
                x = _global_pool(graph, x, layer)
            case Linear():
                weight, bias = next(left)
                x = graph.node("Gemm", [x, graph.constant(weight), graph.constant(bias)], transB=1)
                x = _activation(graph, x, layer.activation)
            case SqueezeExcite():
                x = _squeeze_excite(graph, x, layer, *next(left), *next(left))
            case Relu():
                x = _activation(graph, x, "relu")
            case BatchNorm():
                x = _conv(graph, x, as_convolution(layer), *next(left))
            case Pool():
                x = _pool(graph, x, layer)
            case Resize():
                sizes = graph.constant(np.array([1, layer.channels, layer.side, layer.side]))
                x = graph.node("Resize", [x, "", "", sizes], mode="linear", coordinate_transformation_mode="half_pixel")
            case FactorizedReduce():
                x = _factorized_reduce(graph, x, layer, *next(left), *next(left))
            case Shuffle():
                x = _shuffle(graph, x, layer, shape)
            case Branches():
                x = _branches(graph, x, layer, shape, left)
        shape = out_shape(layer, shape)
    return x


def _shuffle(graph: Graph, x: str, layer: Shuffle, shape: Shape) -> str:
    channels, height, width = shape
    rows = np.array([1, layer.groups, channels // layer.groups, height * width])
    x = graph.node("Reshape", [x, graph.constant(rows)], allowzero=1)
    x = graph.node("Transpose", [x], perm=[0, 2, 1, 3])
    return graph.node("Reshape", [x, graph.constant(np.array([1, *shape]))], allowzero=1)


def _branches(graph: Graph, x: str, layer: Branches, shape: Shape, left: Iterator[FoldedWeight]) -> str:
    inputs = graph.halves(x) if layer.halved else (x, x)
    branches = zip(inputs, branch_inputs(layer, shape), strict=True)
    return _joined(graph, [_through(graph, own, *branch, left) for own, branch in branches])


def _joined(graph: Graph, tensors: Sequence[str]) -> str:
    return tensors[0] if len(tensors) == 1 else graph.node("Concat", list(tensors), axis=1)


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
