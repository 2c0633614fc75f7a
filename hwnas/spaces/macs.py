"""OpSpec -> multiply-adds, parameters and elements held, from its layers."""

import functools
import math
from collections.abc import Iterable

from hwnas.spaces.joint import Joint
from hwnas.spaces.layers import (
    BatchNorm,
    Branches,
    Conv,
    FactorizedReduce,
    Layer,
    Shape,
    SqueezeExcite,
    branch_inputs,
    flat,
    out_shape,
    shape_after,
    steps,
    weight_shapes,
)
from hwnas.spaces.operators import block
from hwnas.spaces.space import OpSpec, Space


def _layer_macs(layer: Layer, after: Shape) -> int:
    """Multiply-adds of the weights; `after` is the shape of the layer's output.

    Means, activations, batch norms and the product of a squeeze-and-excitation are not counted, as is usual.
    """
    if isinstance(layer, BatchNorm):
        return 0
    uses = after[1] * after[2] if isinstance(layer, Conv | FactorizedReduce) else 1
    return uses * sum(map(math.prod, weight_shapes(layer)))


def _layer_params(layer: Layer) -> int:
    per_output = 1  # a bias
    if isinstance(layer, Conv | FactorizedReduce):  # scale and shift of its batch norm
        per_output = 0 if isinstance(layer, Conv) and not layer.norm else 2
    return sum(math.prod(shape) + per_output * shape[0] for shape in weight_shapes(layer))


@functools.lru_cache(maxsize=1 << 16)
def op_macs(spec: OpSpec) -> int:
    """Multiply-adds of one operator on one image."""
    return sum(_layer_macs(layer, after) for layer, _, after in steps(block(spec).layers, spec.in_shape))


def op_activations(spec: OpSpec) -> int:
    """Elements that the layers of one operator write, on one image.

    Radosavovic et al., https://arxiv.org/abs/2003.13678, section 3.1, count those of convolutions.
    """
    return sum(_written(*step) for step in steps(block(spec).layers, spec.in_shape))


def _written(layer: Layer, before: Shape, after: Shape) -> int:
    match layer:
        case SqueezeExcite():
            return layer.squeezed + layer.channels + math.prod(after)
        case Branches():
            return math.prod(after) + (math.prod(before) if layer.halved else 0)
        case _:
            return math.prod(after)


def op_peak_activations(spec: OpSpec, kept: bool = False) -> int:
    """Elements held at once, at most: a layer's input and output, and what is still to be read of what came before.

    kept: the block's input is needed by others later.
    """
    chosen = block(spec)
    return _peak(chosen.layers, spec.in_shape, 0, kept or chosen.residual)


def _peak(layers: tuple[Layer, ...], shape: Shape, held: int, keeps_input: bool) -> int:
    """While `held` other elements wait, and the input of the first layer if it is read once more afterwards."""
    kept, peak = math.prod(shape) if keeps_input else 0, 0
    for number, layer in enumerate(layers):
        waiting = held + (kept if number else 0)
        after = out_shape(layer, shape)
        if isinstance(layer, Branches):
            peak = max(peak, _peak_of_branches(layer, shape, waiting))
        else:
            peak = max(peak, waiting + math.prod(shape) + math.prod(after))
        shape = after
    return peak


def _peak_of_branches(layer: Branches, shape: Shape, held: int) -> int:
    """The first branch runs while the second's input waits, the second while the first's output does."""
    (first, own), _ = branch_inputs(layer, shape)
    first_out, second_out = (math.prod(shape_after(*branch)) for branch in branch_inputs(layer, shape))
    split = 2 * math.prod(shape) if layer.halved else 0
    return max(
        held + split,
        _peak(first, own, held + (math.prod(own) if layer.halved else 0), keeps_input=not layer.halved),
        _peak(layer.second, own, held + first_out, keeps_input=False),
        held + 2 * (first_out + second_out),
    )


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
    return sum(math.prod(shape) + shape[0] for layer in flat(block(spec).layers) for shape in weight_shapes(layer))


def op_params(spec: OpSpec) -> int:
    """Trainable parameters of one operator."""
    return sum(_layer_params(layer) for layer in flat(block(spec).layers))


def macs(ops: Iterable[OpSpec]) -> int:
    """Multiply-adds of a network on one image."""
    return sum(map(op_macs, ops))


def params(ops: Iterable[OpSpec]) -> int:
    """Trainable parameters of a network."""
    return sum(map(op_params, ops))
