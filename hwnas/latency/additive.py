"""What slots cost, added up or the largest, of many architectures at once: slots merged into few tables.

One read per slot and architecture is the obvious way; a table over the joint choices of several slots takes one read
for all of them, and stays in the fastest cache while it has few thousand entries.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.spaces.joint import Joint
from hwnas.spaces.space import OpSpec, Space

if TYPE_CHECKING:  # `expected` computes with the caller's tensors; nothing here needs torch
    import torch

Floats = NDArray[np.float64]
MAX_ENTRIES = 2401  # of a merged table: four layers of seven choices, 19 kB
CHUNK = 16_384  # architectures at a time: their choices stay in the second-level cache


@dataclass(frozen=True)
class Part:
    """What some slots cost together: row-major over the choices of `decisions`."""

    decisions: tuple[int, ...]
    cost: Floats


class SlotCost:
    """A cost put together from the slots' own by `combine`, to which 0 adds nothing."""

    combine: np.ufunc

    def __init__(self, space: Space, tables: Iterable[Joint]) -> None:
        """tables: what some slots cost together, by the choices on which that depends."""
        self.space = space
        self.parts = [Part(t.decisions, t.values.astype(np.float64).ravel()) for t in tables]
        fixed = [part.cost[0] for part in self.parts if not part.decisions]
        self.fixed = float(self.combine.reduce(fixed, initial=0.0))
        self.parts = [part for part in self.parts if part.decisions]
        self._sizes = [len(d.choices) for d in space.decisions]
        self._merged = [self._merge(group) for group in self._groups()]

    def of(self, archs: ArrayLike) -> Floats:
        """archs: (n, decisions) -> (n,). Fastest on uint8. ValueError where a choice is outside its decision."""
        rows = np.atleast_2d(np.asarray(archs))
        if rows.shape[1] != len(self._sizes):
            raise ValueError(f"{self.space.name} has {len(self._sizes)} decisions, the architectures {rows.shape[1]}")
        total = np.empty(len(rows))
        for start in range(0, len(rows), CHUNK):
            total[start : start + CHUNK] = self._of_chunk(self._columns(rows[start : start + CHUNK]))
        return total

    def _columns(self, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """(decisions, n), one decision after the other in memory."""
        columns = np.ascontiguousarray(rows.T)
        if columns.size and ((columns.max(axis=1) >= self._sizes).any() or columns.min() < 0):
            raise ValueError(f"a choice is outside its decision of {self.space.name}, which have {self._sizes} choices")
        return columns.astype(np.uint8, copy=False)

    def _of_chunk(self, columns: NDArray[np.uint8]) -> Floats:
        total = np.full(columns.shape[1], self.fixed)
        for part in self._merged:
            cost = part.cost.take(self._index(part.decisions, columns), mode="clip")  # checked already
            self.combine(total, cost, out=total)
        return total

    def _index(
        self, decisions: Sequence[int], choices: NDArray[np.uint8] | Mapping[int, NDArray[np.uint8]]
    ) -> NDArray[np.uint16]:
        """Row-major index of the choices at `decisions`."""
        index = choices[decisions[0]].astype(np.uint16)
        for d in decisions[1:]:
            index *= np.uint16(self._sizes[d])
            index += choices[d]
        return index

    def _groups(self) -> Iterator[list[Part]]:
        """Neighbouring slots whose joint choices are few enough."""
        group: list[Part] = []
        for part in self.parts:
            if group and self._entries(_joint([*group, part])) > MAX_ENTRIES:
                yield group
                group = []
            group.append(part)
        if group:
            yield group

    def _entries(self, decisions: Sequence[int]) -> int:
        return math.prod(self._sizes[d] for d in decisions)

    def _merge(self, parts: Sequence[Part]) -> Part:
        decisions = _joint(parts)
        grid = np.indices([self._sizes[d] for d in decisions], dtype=np.uint8).reshape(len(decisions), -1)
        choices = dict(zip(decisions, grid, strict=True))
        total = np.zeros(self._entries(decisions))
        for part in parts:
            self.combine(total, part.cost[self._index(part.decisions, choices)], out=total)
        return Part(decisions, total)


class LargestCost(SlotCost):
    """The largest cost of any slot, none being below 0: memory that is free again after each."""

    combine = np.maximum


class AdditiveCost(SlotCost):
    """A cost that is a sum over slots: latency from a table, multiply-adds, bytes."""

    combine = np.add

    def __init__(self, space: Space, cost_of: Callable[[OpSpec], float]) -> None:
        super().__init__(space, space.slot_costs(cost_of))

    def expected(self, gates: Sequence["torch.Tensor"]) -> "torch.Tensor":
        """Expectation where decision d is drawn with probabilities `gates[d]` (choices of d,); differentiable.

        Decisions are independent, so a slot that depends on several takes the product of their probabilities:
        ProxylessNAS (https://arxiv.org/abs/1812.00332), equation 2.
        """
        return expected_costs([self], gates)[0]


def expected_costs(costs: Sequence[AdditiveCost], gates: Sequence["torch.Tensor"]) -> "torch.Tensor":
    """(costs,): `expected` of several costs of one space, for which the gates are multiplied once."""
    joint = [_product([gates[d] for d in part.decisions]) for part in costs[0].parts]
    values = np.stack([np.concatenate([part.cost for part in cost.parts]) for cost in costs], axis=1)
    import torch  # only here: who has gates has torch

    fixed = joint[0].new_tensor([cost.fixed for cost in costs])
    return fixed + torch.cat(joint) @ joint[0].new_tensor(values)


def _product(gates: Sequence["torch.Tensor"]) -> "torch.Tensor":
    """Probabilities of the joint choices, row-major, of independent decisions."""
    joint = gates[0]
    for gate in gates[1:]:
        joint = (joint[:, None] * gate[None, :]).flatten()
    return joint


def _joint(parts: Sequence[Part]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(d for part in parts for d in part.decisions))
