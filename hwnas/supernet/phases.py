"""Which choices progressive shrinking trains when: first the largest network's, in the end all.

Once-for-All, https://arxiv.org/abs/1908.09791, section 3.2. What is elastic follows from the operators: a choice that
differs from the largest one in nothing but its kernel joins with the kernels, one without a block of its own with the
depths, any other with the expansions. Resolutions are all there from the beginning.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from hwnas.spaces import extremes, operators
from hwnas.spaces.space import Arch, OpSpec, Space

HIDDEN = ("e", "h")  # as the arguments of an `OpSpec` name it


@dataclass(frozen=True, slots=True)
class Step:
    """A phase as published, for whatever space."""

    name: str
    epochs: int
    paths: int  # of one weight step


# The official trainer's, for ImageNet.
LARGEST, KERNELS, LAST_DEPTHS, DEPTHS, WIDE_EXPANSIONS, EXPANSIONS = range(6)
STEPS = (
    Step("largest", 180, 1),
    Step("kernels", 120, 1),
    Step("last layers' depths", 25, 2),
    Step("depths", 120, 2),
    Step("wide expansions", 25, 4),
    Step("expansions", 120, 4),
)


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of one space."""

    name: str
    share: float  # of the training
    paths: int
    choices: tuple[tuple[int, ...], ...]  # of each decision those that are trained
    sorts: bool  # whether channels are sorted before it


def phases(space: Space) -> list[Phase]:
    """Those that bring a space new choices, after the first one."""
    joins = _joins(space)
    used = [number for number in range(len(STEPS)) if number == LARGEST or any(number in of for of in joins)]
    epochs = sum(STEPS[number].epochs for number in used)
    return [
        Phase(
            STEPS[number].name,
            STEPS[number].epochs / epochs,
            STEPS[number].paths,
            tuple(tuple(choice for choice, joined in enumerate(of) if joined <= number) for of in joins),
            sorts=number in (WIDE_EXPANSIONS, EXPANSIONS),
        )
        for number in used
    ]


def _joins(space: Space) -> list[list[int]]:
    """The number of the step with which each decision's choices join."""
    largest = extremes(space)[1]
    joins = [
        [_joins_with(space, largest, d, c) for c in range(len(of.choices))] for d, of in enumerate(space.decisions)
    ]
    for d, of in enumerate(joins):
        is_last = d + 1 == len(joins) or DEPTHS not in joins[d + 1]
        if is_last:
            joins[d] = [LAST_DEPTHS if joined == DEPTHS else joined for joined in of]
    for short, long in ((LAST_DEPTHS, DEPTHS), (WIDE_EXPANSIONS, EXPANSIONS)):
        if not any(long in of for of in joins):  # nothing is left for the long one: there is one phase instead of two
            joins = [[long if joined == short else joined for joined in of] for of in joins]
    return joins


def _joins_with(space: Space, largest: Arch, d: int, choice: int) -> int:
    if choice == largest[d] or d == space.resolution:
        return LARGEST
    pairs = list(_pairs(space, largest, d, choice))
    if all(_without_kernel(spec) == _without_kernel(large) for spec, large in pairs):
        return KERNELS
    if any(large.args and not spec.args for spec, large in pairs):
        return DEPTHS
    widths = sorted({_hidden(space, largest, d, c) for c in range(len(space.decisions[d].choices))}, reverse=True)
    return WIDE_EXPANSIONS if _hidden(space, largest, d, choice) in widths[:2] else EXPANSIONS


def _pairs(space: Space, largest: Arch, d: int, choice: int) -> Iterator[tuple[OpSpec, OpSpec]]:
    """The operators that a choice changes, and the largest network's in their place."""
    changed = (*largest[:d], choice, *largest[d + 1 :])
    for slot in space.slots:
        if d in slot.decisions:
            yield slot.options[space.option(slot, changed)], slot.options[space.option(slot, largest)]


def _without_kernel(spec: OpSpec) -> tuple[object, ...]:
    args = tuple((name, bool(value) if name in operators.KERNELS else value) for name, value in spec.args)
    return spec.kind, spec.in_shape, spec.out_channels, spec.stride, args


def _hidden(space: Space, largest: Arch, d: int, choice: int) -> int:
    """How wide a choice's operators are inside, as their arguments tell; 0 where they do not."""
    specs = (spec for spec, _ in _pairs(space, largest, d, choice))
    values = (value for spec in specs for name, value in spec.args if name in HIDDEN)
    return max(itertools.chain(values, (0,)))
