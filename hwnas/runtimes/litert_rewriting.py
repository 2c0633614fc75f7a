"""Operators of a TFLite graph that XNNPACK does not run, written as operators that it runs.

One that it does not run goes to plain CPU code, and cuts the graph in two. Which it runs: "Limitations and supported
operators", https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/delegates/xnnpack/README.md
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as tfl
from numpy.typing import NDArray

from hwnas.runtimes.litert_graph import Graph
from hwnas.runtimes.litert_operators import add, joined, mean, multiply, part

Rule = Callable[[Graph, Any], int | None]  # writes others in an operator's place; None: the operator stays as it is
ACTIVATION = tfl.ActivationFunctionType
CLAMPS = {"RELU": ACTIVATION.RELU, "RELU6": ACTIVATION.RELU6, "RELU_N1_TO_1": ACTIVATION.RELU_N1_TO_1}
NOT_NEGATIVE = (ACTIVATION.RELU, ACTIVATION.RELU6)


def with_finite_padding(content: bytes) -> bytes:
    """The same model where no max pooling pads with minus infinity: the same values."""
    graph = Graph.opened(content)
    return graph.serialise() if pad_without_infinity(graph) else content


def in_integers(content: bytes) -> bytes:
    """The same model, to be quantised to int8, of operators that XNNPACK runs in int8: the same values in floats."""
    graph, rules = Graph.opened(content), {"HARD_SWISH": _hard_swish, "AVERAGE_POOL_2D": _average_pool}
    return graph.serialise() if _rewrite(graph, {**rules, **dict.fromkeys(CLAMPS, _clamp)}) else content


def pad_without_infinity(graph: Graph) -> bool:
    """What max pooling pads, it pads with zeros or with the image's own edge. Returns whether there was any."""
    makers = {node.outputs[0]: node for node in graph.graph.operators}
    readers = defaultdict(list)
    for node in graph.graph.operators:
        for tensor in node.inputs:
            readers[tensor].append(node)

    def pad(graph: Graph, node: Any) -> int | None:
        source, amounts, value = node.inputs
        pools = readers[node.outputs[0]]
        if any(graph.kind(pool) != "MAX_POOL_2D" for pool in pools) or not np.isneginf(graph.value(value)).all():
            return None
        if _is_not_negative(graph, makers.get(source)):
            return graph.operator("PAD", [source, amounts], graph.shape(node.outputs[0]), tfl.PadOptionsT())
        return _with_edges(graph, source, graph.value(amounts), pools)

    return _rewrite(graph, {"PADV2": pad})


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
    if maker is None:
        return False
    return graph.kind(maker) in ("RELU", "RELU6") or _fused(maker) in NOT_NEGATIVE


def _fused(node: Any) -> int:
    """The activation function that an operator ends with."""
    return int(getattr(node.builtinOptions, "fusedActivationFunction", ACTIVATION.NONE))


def _with_edges(graph: Graph, x: int, amounts: NDArray[np.int32], pools: list[Any]) -> int:
    """The first and the last row and column again: every window that reads a copy reads the original as well."""
    for axis, stride, kernel in ((1, "strideH", "filterHeight"), (2, "strideW", "filterWidth")):
        source, size, before = x, graph.shape(x)[axis], int(amounts[axis][0])
        ends = [
            (graph.shape(pool.outputs[0])[axis] - 1) * getattr(pool.builtinOptions, stride)
            + getattr(pool.builtinOptions, kernel)
            for pool in pools
        ]  # of the last windows: behind them nothing is read
        for _ in range(before):
            x = joined(graph, [part(graph, source, axis, 0, 1), x], axis)
        for _ in range(max(ends) - size - before):
            x = joined(graph, [x, part(graph, source, axis, size - 1, 1)], axis)
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
    y = _equal_weights(graph, x, options, out)
    if (factors == 1).all():
        graph.graph.operators[-1].builtinOptions.fusedActivationFunction = _fused(node)
        return y
    return multiply(graph, y, graph.constant(factors), _fused(node))


def _lacking(size: int, kernel: int, stride: int, out: int) -> NDArray[np.float64]:
    """By how much fewer pixels than the kernel has each window averages, along one axis: (out,)."""
    before = max((out - 1) * stride + kernel - size, 0) // 2  # as SAME pads; VALID needs none
    starts = np.arange(out) * stride - before
    return kernel / (np.minimum(starts + kernel, size) - np.maximum(starts, 0))


def _equal_weights(graph: Graph, x: int, pool: Any, out: tuple[int, ...]) -> int:
    """What the pooling sums up, divided by the size of the kernel."""
    shape = (1, pool.filterHeight, pool.filterWidth, out[3])
    weight = np.full(shape, 1 / (pool.filterHeight * pool.filterWidth), np.float32)
    options = tfl.DepthwiseConv2DOptionsT()
    options.padding, options.strideH, options.strideW = pool.padding, pool.strideH, pool.strideW
    options.depthMultiplier = options.dilationHFactor = options.dilationWFactor = 1
    inputs = [x, graph.constant(weight), graph.constant(np.zeros(out[3], np.float32))]
    return graph.operator("DEPTHWISE_CONV_2D", inputs, out, options)
