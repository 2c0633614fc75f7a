"""The two ends of a space: the architectures that cost least and most, when what slots cost adds up."""

import itertools
from collections.abc import Iterable, Sequence

from hwnas.spaces.space import Arch, Space

MAX_JOINT = 100_000  # choices made together that are tried one by one


def ends(space: Space, costs: Iterable[tuple[tuple[int, ...], Sequence[float]]]) -> tuple[Arch, Arch]:
    """Of least and of most cost, from (decisions, cost of every option row-major) of each slot.

    Decisions that meet in a slot are made together, by trying all of their choices; ValueError where these are many.
    """
    parts = [part for part in costs if part[0]]
    least, most = [0] * len(space.decisions), [0] * len(space.decisions)
    for group in _meeting(decisions for decisions, _ in parts):
        sizes = {d: len(space.decisions[d].choices) for d in group}
        tried = _joint_costs(sizes, [part for part in parts if part[0][0] in sizes])
        for arch, best in ((least, min(tried, key=tried.__getitem__)), (most, max(tried, key=tried.__getitem__))):
            for d, choice in zip(group, best, strict=True):
                arch[d] = choice
    return tuple(least), tuple(most)


def _meeting(slots: Iterable[tuple[int, ...]]) -> list[list[int]]:
    """The decisions in groups: those that meet in a slot, directly or by others."""
    groups: list[set[int]] = []
    for decisions in slots:
        met = [group for group in groups if not group.isdisjoint(decisions)]
        groups = [group for group in groups if group not in met] + [set(decisions).union(*met)]
    return [sorted(group) for group in groups]


def _joint_costs(
    sizes: dict[int, int], parts: Sequence[tuple[tuple[int, ...], Sequence[float]]]
) -> dict[tuple[int, ...], float]:
    """What all slots of a group cost together, by the choices made at its decisions."""
    place = {d: i for i, d in enumerate(sizes)}
    joint = list(itertools.islice(itertools.product(*map(range, sizes.values())), MAX_JOINT + 1))
    if len(joint) > MAX_JOINT:
        raise ValueError(f"{len(sizes)} decisions depend on each other: over {MAX_JOINT} joint choices to try")
    total = dict.fromkeys(joint, 0.0)
    for decisions, cost in parts:
        for choices in joint:
            index = 0
            for d in decisions:
                index = index * sizes[d] + choices[place[d]]
            total[choices] += cost[index]
    return total
