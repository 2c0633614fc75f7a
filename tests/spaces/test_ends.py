"""The cheapest and the dearest architecture, also where slots share decisions."""

import itertools
import random

import pytest

from hwnas.spaces import Decision, OpSpec, Slot, Space, extremes, op

SHAPE = (4, 8, 8)


def space_of(choices, slots):
    """Decisions of so many choices, and a slot for each tuple of them, all of different operators."""
    decisions = tuple(Decision(str(d), tuple(map(str, range(n)))) for d, n in enumerate(choices))
    numbers = itertools.count(1)

    def options(of_slot: tuple[int, ...]) -> tuple[OpSpec, ...]:
        joint = itertools.product(*(range(choices[d]) for d in of_slot))
        return tuple(op("conv", SHAPE, 4, k=next(numbers)) for _ in joint)

    return Space("s", SHAPE, 2, decisions, tuple(Slot(options(of_slot), of_slot) for of_slot in slots))


@pytest.mark.parametrize(
    "slots",
    [
        [(0,), (1,), (2,), (3,)],
        [(0,), (1, 2), (3,), (0,)],
        [(0, 1), (1, 2), (), (3, 0)],
        [(1,), (1, 0), (1, 2), (1, 3)],
    ],
)
def test_they_are_the_ends_of_all_architectures(slots):
    space, rng = space_of((3, 2, 3, 2), slots), random.Random(0)
    for _ in range(20):
        cost = {spec: rng.randrange(100) for spec in space.all_ops()}

        def total(arch, cost=cost):
            return sum(cost[spec] for spec in space.ops(arch))

        every = [total(arch) for arch in space]
        assert [total(arch) for arch in extremes(space, cost.__getitem__)] == [min(every), max(every)]


def test_too_many_joint_choices_are_refused():
    space = space_of((10,) * 6, itertools.combinations(range(6), 2))
    with pytest.raises(ValueError, match="decisions have over 65536 joint choices"):
        extremes(space)


def test_what_all_slots_share_is_not_too_much():
    """A resolution, on which each of many operators depends."""
    shared, layers = 4, 30
    space = space_of((shared, *[7] * layers), [(0, d) for d in range(1, layers + 1)])
    cost = {spec: float(dict(spec.args)["k"] * 7919 % 1000) for spec in space.all_ops()}
    rows = [[[cost[slot.options[7 * c + own]] for own in range(7)] for c in range(shared)] for slot in space.slots]
    found = [sum(cost[spec] for spec in space.ops(arch)) for arch in extremes(space, cost.__getitem__)]
    assert found == [end(sum(end(of[c]) for of in rows) for c in range(shared)) for end in (min, max)]
