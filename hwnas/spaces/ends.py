"""The two ends of a space: the architectures that cost least and most, when what slots cost adds up."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from hwnas.spaces.joint import Joint, combined
from hwnas.spaces.macs import op_macs
from hwnas.spaces.space import Arch, OpSpec, Space


def extremes(space: Space, cost_of: Callable[[OpSpec], float] = op_macs) -> tuple[Arch, Arch]:
    """The architectures of lowest and of highest cost, a sum over slots: multiply-adds unless told otherwise.

    Exact: slots that share decisions are added up over all joint choices. ValueError where these are too many.
    """
    ends: list[dict[int, int]] = [{}, {}]
    for tables in _coupled(space.slot_costs(cost_of)):
        total = combined(np.add, tables)
        for end, flat in zip(ends, (total.values.argmin(), total.values.argmax()), strict=True):
            end |= dict(zip(total.decisions, map(int, np.unravel_index(flat, total.values.shape)), strict=True))
    lowest, highest = (tuple(end.get(d, 0) for d in range(len(space.decisions))) for end in ends)
    return lowest, highest


def _coupled(tables: Iterable[Joint]) -> Iterator[list[Joint]]:
    """Tables in groups that have no decision in common."""
    groups: list[tuple[set[int], list[Joint]]] = []
    for table in tables:
        touched = [group for group in groups if group[0] & set(table.decisions)]
        groups = [group for group in groups if group not in touched]
        decisions = set(table.decisions).union(*(group[0] for group in touched))
        groups.append((decisions, [*(t for group in touched for t in group[1]), table]))
    yield from (tables for decisions, tables in groups if decisions)
