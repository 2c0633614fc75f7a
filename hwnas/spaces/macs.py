"""OpSpec -> multiply-adds, parameters and elements held, from its layers."""

import math
from collections.abc import Iterable

from hwnas.spaces.joint import Joint
from hwnas.spaces.layers import (
    BatchNorm,
    Conv,
    FactorizedReduce,
    GlobalPool,
    Layer,
    Linear,
    Pool,
    Relu,
    SqueezeExcite,
    block,
    stride_of,
    weight_shapes,
)
from hwnas.spaces.space import OpSpec, Space


def _layer_macs(layer: Layer, height: int, width: int) -> int:
    """Multiply-adds of the weights; height and width are those of the layer's output.

    Means, activations, batch norms and the product of a squeeze-and-excitation are not counted, as is usual.
    """
    if isinstance(layer, BatchNorm):
        return 0
    uses = height * width if isinstance(layer, Conv | FactorizedReduce) else 1
    return uses * sum(map(math.prod, weight_shapes(layer)))


def _layer_params(layer: Layer) -> int:
    per_output = 1  # a bias
    if isinstance(layer, Conv | FactorizedReduce):  # scale and shift of its batch norm
        per_output = 0 if isinstance(layer, Conv) and not layer.norm else 2
    return sum(math.prod(shape) + per_output * shape[0] for shape in weight_shapes(layer))


def _size_after(layer: Layer, height: int, width: int) -> tuple[int, int]:
    return -(-height // stride_of(layer)), -(-width // stride_of(layer))


def op_macs(spec: OpSpec) -> int:
    """Multiply-adds of one operator on one image."""
    total, (_, height, width) = 0, spec.in_shape
    for layer in block(spec).layers:
        height, width = _size_after(layer, height, width)
        total += _layer_macs(layer, height, width)
    return total


def op_activations(spec: OpSpec) -> int:
    """Elements that the layers of one operator write, on one image.

    Radosavovic et al., https://arxiv.org/abs/2003.13678, section 3.1, count those of convolutions.
    """
    total, (_, height, width) = 0, spec.in_shape
    for layer in block(spec).layers:
        height, width = _size_after(layer, height, width)
        match layer:
            case Conv() | FactorizedReduce():
                total += layer.out_channels * height * width
            case Relu() | BatchNorm() | Pool():
                total += layer.channels * height * width
            case GlobalPool():
                total += layer.channels
            case Linear():
                total += layer.out_features
            case SqueezeExcite():
                total += layer.squeezed + layer.channels * (1 + height * width)
    return total


def op_peak_activations(spec: OpSpec, kept: bool = False) -> int:
    """Elements held at once, at most: a layer's input and output, and the block's input if it is added in the end.

    kept: the block's input is needed by others later.
    """
    _, height, width = spec.in_shape
    elements = math.prod(spec.in_shape)
    waits, peak = elements if kept or block(spec).residual else 0, 0
    for number, layer in enumerate(block(spec).layers):
        height, width = _size_after(layer, height, width)
        match layer:
            case Conv() | FactorizedReduce():
                written = layer.out_channels * height * width
            case GlobalPool():
                written = layer.channels
            case Linear():
                written = layer.out_features
            case SqueezeExcite() | Relu() | BatchNorm():
                written = elements
            case Pool():
                written = layer.channels * height * width
        peak = max(peak, elements + written + (waits if number else 0))
        elements = written
    return peak


def peak_activations(space: Space, unit: float = 1.0) -> list[Joint]:
    """Units held at once, at most, while each slot runs, by its choices: its own, and what waits at other nodes.

    What waits is what was written and may still be read, by whatever choices.
    """
    elements = {node: math.prod(shape) for node, shape in space.shapes.items()}
    readers = [(number, node) for number in range(len(space.slots)) for node in space.may_read(number)]
    last = {node: number for number, node in readers}
    begun, tables = {0}, list[Joint]()
    for number, slot in enumerate(space.slots):
        waiting = {node for node in begun if last.get(node, -1) >= number}
        peaks = []
        for option, spec in enumerate(slot.options):
            wire = space.wire(number, option)
            kept = any(last[node] > number for node in wire.reads)
            others = sum(elements[node] for node in waiting - set(wire.reads))
            peaks.append(unit * (op_peak_activations(spec, kept) + others))
        tables.append(space.by_option(number, peaks))
        begun.add(space.wire(number, 0).writes)
    return tables


def op_stored(spec: OpSpec) -> int:
    """Weights and biases of one operator in a model file: batch norm is part of them."""
    return sum(math.prod(shape) + shape[0] for layer in block(spec).layers for shape in weight_shapes(layer))


def op_params(spec: OpSpec) -> int:
    """Trainable parameters of one operator."""
    return sum(_layer_params(layer) for layer in block(spec).layers)


def macs(ops: Iterable[OpSpec]) -> int:
    """Multiply-adds of a network on one image."""
    return sum(map(op_macs, ops))


def params(ops: Iterable[OpSpec]) -> int:
    """Trainable parameters of a network."""
    return sum(map(op_params, ops))
