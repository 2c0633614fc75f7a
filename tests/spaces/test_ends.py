"""The cheapest and the dearest architecture, also where slots share decisions."""

import random

import pytest

from hwnas.spaces import Decision, Slot, Space, op
from hwnas.spaces.ends import ends

SHAPE = (4, 8, 8)


def space_of(choices, slots):
    """Decisions of so many choices, and a slot for each tuple of them; what the options are does not matter here."""
    decisions = tuple(Decision(str(d), tuple(map(str, range(n)))) for d, n in enumerate(choices))
    skip = op("skip", SHAPE, 4)
    sizes = [1] * len(slots)
    for number, of_slot in enumerate(slots):
        for d in of_slot:
            sizes[number] *= choices[d]
    return Space("s", SHAPE, 2, decisions, tuple(Slot((skip,) * n, s) for n, s in zip(sizes, slots, strict=True)))


@pytest.mark.parametrize("slots", [[(0,), (1,), (2,), (3,)], [(0,), (1, 2), (3,), (0,)], [(0, 1), (1, 2), (), (3, 0)]])
def test_they_are_the_ends_of_all_architectures(slots):
    space, rng = space_of((3, 2, 3, 2), slots), random.Random(0)
    for _ in range(20):
        costs = [[rng.randrange(100) for _ in slot.options] for slot in space.slots]

        def total(arch, costs=costs):
            return sum(cost[space.option(slot, arch)] for slot, cost in zip(space.slots, costs, strict=True))

        least, most = ends(space, zip(slots, costs, strict=True))
        every = [total(arch) for arch in space]
        assert (total(least), total(most)) == (min(every), max(every))


def test_too_many_joint_choices_are_refused():
    slots = [(d, d + 1) for d in range(5)]
    space = space_of((10,) * 6, slots)
    with pytest.raises(ValueError, match="6 decisions depend on each other"):
        ends(space, [(decisions, [0.0] * 100) for decisions in slots])
