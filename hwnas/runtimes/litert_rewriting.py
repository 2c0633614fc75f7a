"""Operators of a TFLite graph that XNNPACK does not run, written as operators that it runs.

One that it does not run goes to plain CPU code, and cuts the graph in two. Which it runs: "Limitations and supported
operators", https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/delegates/xnnpack/README.md
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as tfl
from numpy.typing import NDArray

from hwnas.runtimes.litert_graph import Graph, kinds_in
from hwnas.runtimes.litert_operators import add, joined, mean, multiply, part

Rule = Callable[[Graph, Any], int | None]  # writes others in an operator's place; None: the operator stays as it is
ACTIVATION = tfl.ActivationFunctionType
CLAMPS = {"RELU": ACTIVATION.RELU, "RELU6": ACTIVATION.RELU6, "RELU_N1_TO_1": ACTIVATION.RELU_N1_TO_1}
IN_ORDER: tuple[int, ...] = (0, 1, 2, 3)  # of the axes
NOT_NEGATIVE = (ACTIVATION.RELU, ACTIVATION.RELU6)


def with_finite_padding(content: bytes) -> bytes:
    """The same model where max pooling does not pad with minus infinity: the same values."""
    return _rewritten(content, {"PADV2"}, pad_without_infinity)


def in_integers(content: bytes) -> bytes:
    """The same model, to be quantised to int8, of operators that XNNPACK runs in int8: the same values in floats.

    ValueError where it pads with infinity otherwise than max pooling does, which int8 does not hold.
    """
    rules = {"HARD_SWISH": _hard_swish, "AVERAGE_POOL_2D": _average_pool, **dict.fromkeys(CLAMPS, _clamp)}

    def rewrite(graph: Graph) -> bool:
        _check_padding(graph)
        return _rewrite(graph, rules)

    return _rewritten(content, {*rules, "PADV2"}, rewrite)


def pad_without_infinity(graph: Graph) -> bool:
    """What max pooling pads, it pads with zeros or with the image's own edge. Returns whether there was any."""
    makers, readers = {node.outputs[0]: node for node in graph.graph.operators}, graph.readers()

    def pad(graph: Graph, node: Any) -> int | None:
        source, amounts, value = node.inputs
        sides = _sides(graph, readers, node) if np.isneginf(graph.value(value)).any() else ()
        if not sides:
            return None
        if _is_not_negative(graph, makers.get(source)):
            return graph.operator("PAD", [source, amounts], graph.shape(node.outputs[0]), tfl.PadOptionsT())
        return _with_edges(graph, source, sides)

    return _rewrite(graph, {"PADV2": pad})


def _rewritten(content: bytes, concerned: set[str], rewrite: Callable[[Graph], bool]) -> bytes:
    """A model of one graph that has such operators, changed; any other as it is."""
    if concerned.isdisjoint(kinds_in(content)):
        return content  # opening it takes a second
    graph = Graph.opened(content)
    return graph.serialise() if len(graph.model.subgraphs) == 1 and rewrite(graph) else content


def _check_padding(graph: Graph) -> None:
    padding = [node for node in graph.graph.operators if graph.kind(node) == "PADV2"]
    if any(np.isinf(graph.value(node.inputs[2])).any() for node in padding):
        raise ValueError("it pads with infinity (PADV2), which int8 does not hold")


def _rewrite(graph: Graph, rules: Mapping[str, Rule]) -> bool:
    """Applies each operator's rule. Returns whether any did something."""
    nodes, graph.graph.operators = graph.graph.operators, []
    is_changed = False
    for node in nodes:
        graph.known = {}  # the last operator that a rule writes is to be a new one: it makes what this one made
        rule = rules.get(graph.kind(node))
        made = rule(graph, node) if rule is not None else None
        if made is None:
            graph.graph.operators.append(node)
            continue
        graph.graph.tensors[node.outputs[0]].shape = list(graph.shape(made))
        graph.graph.operators[-1].outputs = node.outputs
        is_changed = True
    return is_changed


def _is_not_negative(graph: Graph, maker: Any) -> bool:
    """Whether an operator, None for the image itself, makes nothing below zero."""
    return maker is not None and CLAMPS.get(graph.kind(maker), _fused(maker)) in NOT_NEGATIVE


def _fused(node: Any) -> int:
    """The activation function that an operator ends with."""
    return int(getattr(node.builtinOptions, "fusedActivationFunction", ACTIVATION.NONE))


@dataclass(frozen=True)
class Side:
    """An axis of an image that is padded for max pooling."""

    axis: int
    before: int
    after: int


def _sides(graph: Graph, readers: Mapping[int, list[Any]], node: Any) -> tuple[Side, ...]:
    """Height and width of what is padded; none where its edge would not do as well as infinity.

    It does where every window that reads a copy of the edge reads the edge itself, and nothing but pooling reads any.
    """
    source, amounts, _ = node.inputs
    pools, order = _poolings(graph, readers, node.outputs[0])
    padded, shape = graph.value(amounts), graph.shape(source)
    if not pools or padded.shape != (4, 2) or padded[[order[0], order[3]]].any():
        return ()
    found = []
    for out, stride, kernel in ((1, "strideH", "filterHeight"), (2, "strideW", "filterWidth")):
        axis = order[out]
        before, after = map(int, padded[axis])
        kernels = [getattr(pool.builtinOptions, kernel) for pool in pools]
        last = [(graph.shape(p.outputs[0])[out] - 1) * getattr(p.builtinOptions, stride) - before for p in pools]
        if before >= min(kernels) or max(last) >= shape[axis]:
            return ()
        read = max(map(operator.add, last, kernels)) - shape[axis]  # behind it nothing is
        found.append(Side(axis, before, max(0, min(after, read)) if order == IN_ORDER else after))
    return tuple(found) if any(side.before or side.after for side in found) else ()


def _poolings(graph: Graph, readers: Mapping[int, list[Any]], tensor: int) -> tuple[list[Any], tuple[int, ...]]:
    """(The max poolings that read a tensor, where its axes are in their input's order); none where others read it."""
    found, order = readers[tensor], IN_ORDER
    if len(found) == 1 and graph.kind(found[0]) == "TRANSPOSE":
        order = tuple(map(int, graph.value(found[0].inputs[1])))
        found = readers[found[0].outputs[0]]
    pooling = [n for n in found if graph.kind(n) == "MAX_POOL_2D" and n.builtinOptions.padding == tfl.Padding.VALID]
    is_alone = len(pooling) == len(found) and tensor not in graph.graph.outputs
    return (pooling if is_alone else []), order


def _with_edges(graph: Graph, x: int, sides: Iterable[Side]) -> int:
    """The first and the last row and column again."""
    for side in sides:
        source, size = x, graph.shape(x)[side.axis]
        for _ in range(side.before):
            x = joined(graph, [part(graph, source, side.axis, 0, 1), x], side.axis)
        for _ in range(side.after):
            x = joined(graph, [x, part(graph, source, side.axis, size - 1, 1)], side.axis)
    return x


def _hard_swish(graph: Graph, node: Any) -> int:
    """x * relu6(x + 3) / 6, where the gate keeps its 256 steps as it is divided."""
    (x,) = node.inputs
    gate = add(graph, x, graph.constant(np.array(3, np.float32)), ACTIVATION.RELU6)
    return multiply(graph, x, multiply(graph, gate, graph.constant(np.array(1 / 6, np.float32))))


def _clamp(graph: Graph, node: Any) -> int:
    """A part of a multiplication by one."""
    return multiply(graph, node.inputs[0], graph.constant(np.array(1, np.float32)), CLAMPS[graph.kind(node)])


def _average_pool(graph: Graph, node: Any) -> int:
    """A depthwise convolution of equal weights, and where windows reach over the border, a factor for each pixel."""
    (x,), options, out = node.inputs, node.builtinOptions, graph.shape(node.outputs[0])
    sides, kernel = graph.shape(x)[1:3], (options.filterHeight, options.filterWidth)
    if kernel == sides and out[1:3] == (1, 1) and _fused(node) == ACTIVATION.NONE:
        return mean(graph, x, out)
    strides = (options.strideH, options.strideW)
    rows, columns = (_lacking(*axis) for axis in zip(sides, kernel, strides, out[1:3], strict=True))
    factors = np.outer(rows, columns)[None, :, :, None].astype(np.float32)
    if (factors == 1).all():
        return _equal_weights(graph, x, options, out, _fused(node))
    y = _equal_weights(graph, x, options, out, ACTIVATION.NONE)
    return multiply(graph, y, graph.constant(factors), _fused(node))


def _lacking(size: int, kernel: int, stride: int, out: int) -> NDArray[np.float64]:
    """By how much fewer pixels than the kernel has each window averages, along one axis: (out,)."""
    before = max((out - 1) * stride + kernel - size, 0) // 2  # as SAME pads; VALID needs none
    starts = np.arange(out) * stride - before
    return kernel / (np.minimum(starts + kernel, size) - np.maximum(starts, 0))


def _equal_weights(graph: Graph, x: int, pool: Any, out: tuple[int, ...], activation: int) -> int:
    """What the pooling sums up, divided by the size of the kernel."""
    shape = (1, pool.filterHeight, pool.filterWidth, out[3])
    weight = np.full(shape, 1 / (pool.filterHeight * pool.filterWidth), np.float32)
    options = tfl.DepthwiseConv2DOptionsT()
    options.padding, options.strideH, options.strideW = pool.padding, pool.strideH, pool.strideW
    options.fusedActivationFunction = activation
    options.depthMultiplier = options.dilationHFactor = options.dilationWFactor = 1
    inputs = [x, graph.constant(weight), graph.constant(np.zeros(out[3], np.float32))]
    return graph.operator("DEPTHWISE_CONV_2D", inputs, out, options)
