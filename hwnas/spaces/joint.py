"""Values for every joint choice at some decisions: costs, and yes or no."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ENTRIES = 1 << 16  # of one table; `latency.additive` counts them in 16 bits


@dataclass(frozen=True)
class Joint:
    """An axis for each of `decisions`, which ascend."""

    decisions: tuple[int, ...]
    values: NDArray[Any]

    def at(self, arch: Sequence[int]) -> Any:
        """The value for one architecture."""
        return self.values[tuple(arch[d] for d in self.decisions)]

    def over(self, decisions: Sequence[int]) -> NDArray[Any]:
        """With an axis for each of `decisions`, of size 1 where the value does not depend on it."""
        sizes = dict(zip(self.decisions, self.values.shape, strict=True))
        return self.values.reshape([sizes.get(d, 1) for d in decisions])


YES, NO = Joint((), np.array(True)), Joint((), np.array(False))


def joint(decisions: Sequence[int], sizes: Sequence[int], values: Iterable[Any]) -> Joint:
    """From values row-major over the choices of `decisions`, as the options of a slot are."""
    array = np.array(list(values)).reshape([sizes[d] for d in decisions])
    return Joint(tuple(sorted(decisions)), array.transpose(np.argsort(decisions, kind="stable").tolist()))


def combined(function: np.ufunc, tables: Iterable[Joint]) -> Joint:
    """One table, by adding, multiplying, ..., over all decisions of at least one table."""
    tables = list(tables)
    decisions = tuple(sorted({d for table in tables for d in table.decisions}))
    values = tables[0].over(decisions)
    for table in tables[1:]:
        other = table.over(decisions)
        if np.broadcast(values, other).size > MAX_ENTRIES:
            raise ValueError(f"{len(decisions)} decisions have over {MAX_ENTRIES} joint choices: too many for a table")
        values = np.asarray(function(values, other))
    return Joint(decisions, values)


def shortened(table: Joint) -> Joint:
    """Without the decisions on which the value does not depend."""
    decisions, values = list(table.decisions), table.values
    for axis in reversed(range(values.ndim)):
        first = values.take([0], axis)
        if (values == first).all():
            values = first.squeeze(axis)
            del decisions[axis]
    return Joint(tuple(decisions), values)
