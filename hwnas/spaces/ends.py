"""The two ends of a space: the architectures that cost least and most, when what slots cost adds up."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from hwnas.spaces.joint import Joint, combined
from hwnas.spaces.macs import op_macs
from hwnas.spaces.space import Arch, OpSpec, Space


def extremes(space: Space, cost_of: Callable[[OpSpec], float] = op_macs) -> tuple[Arch, Arch]:
    """The architectures of lowest and of highest cost, a sum over slots: multiply-adds unless told otherwise.

    Exact: where slots share decisions, by bucket elimination (Dechter 1999, https://doi.org/10.1016/S0004-3702(99)00059-4).
    ValueError where one decision shares slots with so many others that their joint choices are too many.
    """
    tables, decisions = space.slot_costs(cost_of), range(len(space.decisions))
    return _lowest(tables, decisions), _lowest([Joint(t.decisions, -t.values) for t in tables], decisions)


def _lowest(tables: Sequence[Joint], decisions: Sequence[int]) -> Arch:
    """Of the tables that a decision is in, only the lowest value over its choices is kept; the fewest entries first."""
    left, asked, choices = list(tables), list[tuple[int, Joint]](), dict.fromkeys(decisions, 0)
    waiting = {d for table in left for d in table.decisions}
    while waiting:
        entries = {d: _entries([table for table in left if d in table.decisions]) for d in waiting}
        decision = min(waiting, key=lambda d: (entries[d], -d))
        total = combined(np.add, [table for table in left if decision in table.decisions])
        others = tuple(d for d in total.decisions if d != decision)
        lowest = Joint(others, total.values.min(axis=total.decisions.index(decision)))
        left = [lowest, *(table for table in left if decision not in table.decisions)]
        asked.append((decision, total))
        waiting.remove(decision)
    for decision, total in reversed(asked):
        known = tuple(slice(None) if d == decision else choices[d] for d in total.decisions)
        choices[decision] = int(total.values[known].argmin())
    return tuple(choices[d] for d in decisions)


def _entries(tables: Sequence[Joint]) -> int:
    """Of all of them together."""
    sizes = {d: size for table in tables for d, size in zip(table.decisions, table.values.shape, strict=True)}
    return math.prod(sizes.values())
