"""Elastic resolution: a chain whose network first brings its images to a size of its own choice.

Once-for-All, https://arxiv.org/abs/1908.09791, section 3.2, gives its network images of any of 25 sizes. Here images
always have the largest size, and the first operator resizes them: whoever calls the network need not know its choice.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hwnas.errors import UserError
from hwnas.spaces.chain import SKIP
from hwnas.spaces.operators import RESIZE, block
from hwnas.spaces.space import Decision, OpSpec, Slot, Space, op

DECISION = "resolution"
MULTIPLE = 4  # of which the smaller sides are


def with_resolutions(chain: Space, name: str, shares: Sequence[float]) -> Space:
    """The chain at its own resolution and at these shares of it, each below the one before, the first below 1.

    Strides are those of the largest images. UserError where two sizes are equal, or one is below the stride,
    or none of an operator's.
    """
    largest = chain.input_shape[1]
    sides = [largest, *(max(MULTIPLE, MULTIPLE * round(largest * share / MULTIPLE)) for share in shares)]
    if len(set(sides)) < len(sides) or sides[-1] < chain.stride:
        raise UserError(
            f"resolution {largest} gives {name} images of {', '.join(map(str, sides))} pixels; allowed are different "
            f"sizes of at least its stride, {chain.stride}: choose a larger resolution, {2 * largest} say"
        )
    resizes = (op(RESIZE, chain.input_shape, chain.input_shape[0], r=side) for side in sides[1:])
    first = Slot((op(SKIP, chain.input_shape, chain.input_shape[0]), *resizes), (0,))
    at_each = zip(chain.slots, *(_options_at(chain, side) for side in sides), strict=True)
    slots = (
        Slot(tuple(itertools.chain(*options)), (0, *(d + 1 for d in slot.decisions))) for slot, *options in at_each
    )
    decision = Decision(DECISION, tuple(f"r{side}" for side in sides))
    return Space(name, chain.input_shape, chain.num_classes, (decision, *chain.decisions), (first, *slots))


def _options_at(chain: Space, side: int) -> Iterator[tuple[OpSpec, ...]]:
    """Of each slot the options on images of this many pixels a side."""
    height = width = side
    for slot in chain.slots:
        options = tuple(_resized(spec, height, width) for spec in slot.options)
        _, height, width = options[0].out_shape
        yield options


def _resized(spec: OpSpec, height: int, width: int) -> OpSpec:
    found = replace(spec, in_shape=(spec.in_shape[0], height, width))
    try:
        block(found)
    except ValueError as error:
        raise UserError(f"{found}: {error}; leave out its resolution, or choose a larger one") from None
    return found
