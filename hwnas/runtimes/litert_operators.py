"""Single operators of a TFLite graph: each function adds one, and returns the tensor that it makes."""

import numpy as np
from ai_edge_litert import schema_py_generated as tfl
from numpy.typing import NDArray

from hwnas.runtimes.litert_graph import Graph

NO_ACTIVATION = tfl.ActivationFunctionType.NONE


def add(graph: Graph, x: int, y: int, activation: int = NO_ACTIVATION) -> int:
    """y: of the shape of x, or one number."""
    options = tfl.AddOptionsT()
    options.fusedActivationFunction, options.potScaleInt16 = activation, True
    return graph.operator("ADD", [x, y], graph.shape(x), options)


def multiply(graph: Graph, x: int, factor: int, activation: int = NO_ACTIVATION) -> int:
    """factor: of a shape that is spread over that of x."""
    options = tfl.MulOptionsT()
    options.fusedActivationFunction = activation
    return graph.operator("MUL", [x, factor], graph.shape(x), options)


def pad(graph: Graph, x: int, pixels: int, value: NDArray[np.float32] | None = None) -> int:
    """With zeros, or with the value."""
    _, height, width, channels = graph.shape(x)
    amounts = graph.constant(np.array([[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]], np.int32))
    out = (1, height + 2 * pixels, width + 2 * pixels, channels)
    if value is None:
        return graph.operator("PAD", [x, amounts], out, tfl.PadOptionsT())
    return graph.operator("PADV2", [x, amounts, graph.constant(value)], out, tfl.PadV2OptionsT())


def part(graph: Graph, x: int, axis: int, start: int, size: int) -> int:
    """So many along one axis, from `start` on."""
    begin, shape = np.zeros(4, np.int32), list(graph.shape(x))
    begin[axis], shape[axis] = start, size
    inputs = [x, graph.constant(begin), graph.constant(np.array(shape, np.int32))]
    return graph.operator("SLICE", inputs, tuple(shape), tfl.SliceOptionsT())


def joined(graph: Graph, tensors: list[int], axis: int = 3) -> int:
    """One behind the other along an axis; a single one is left as it is."""
    if len(tensors) == 1:
        return tensors[0]
    shape, options = list(graph.shape(tensors[0])), tfl.ConcatenationOptionsT()
    shape[axis], options.axis = sum(graph.shape(t)[axis] for t in tensors), axis
    return graph.operator("CONCATENATION", tensors, tuple(shape), options)


def mean(graph: Graph, x: int, out_shape: tuple[int, ...]) -> int:
    """Over height and width, which stay as ones where the output has four dimensions."""
    axes = graph.constant(np.array([2, 1], np.int32))
    options = tfl.ReducerOptionsT()
    options.keepDims = len(out_shape) == 4
    return graph.operator("MEAN", [x, axes], out_shape, options)


def reshape(graph: Graph, x: int, shape: tuple[int, ...]) -> int:
    options = tfl.ReshapeOptionsT()
    options.newShape = list(shape)
    return graph.operator("RESHAPE", [x, graph.constant(np.array(shape, np.int32))], shape, options)


def transpose(graph: Graph, x: int, order: tuple[int, ...]) -> int:
    shape = graph.shape(x)
    axes = graph.constant(np.array(order, np.int32))
    return graph.operator("TRANSPOSE", [x, axes], tuple(shape[axis] for axis in order), tfl.TransposeOptionsT())
