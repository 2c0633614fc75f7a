"""What the spaces of cells have in common: a graph of slots under construction."""

from collections.abc import Sequence

from hwnas.errors import UserError
from hwnas.spaces.layers import Shape
from hwnas.spaces.space import Decision, OpSpec, Slot, Space, op

MULTIPLE = 4  # of which sides must be: cells halve the size twice, and halves of odd sides do not fit together


class GraphBuilder:
    """Slots between nodes, for RGB images of resolution x resolution pixels. Cells of one kind share decisions."""

    def __init__(self, name: str, resolution: int) -> None:
        if resolution % MULTIPLE:
            raise UserError(
                f"resolution {resolution} came for {name}; allowed are multiples of {MULTIPLE}, "
                f"{resolution - resolution % MULTIPLE + MULTIPLE} say"
            )
        self.name = name
        self.shapes: dict[int, Shape] = {0: (3, resolution, resolution)}
        self.decisions: list[Decision] = []
        self.slots: list[Slot] = []

    def decision(self, name: str, choices: Sequence[str]) -> int:
        """The number of the decision of that name, a new one for a new name."""
        found = Decision(name, tuple(choices))
        if found not in self.decisions:
            self.decisions.append(found)
        return self.decisions.index(found)

    def shape(self, nodes: Sequence[int]) -> Shape:
        """Of the concatenation of nodes."""
        _, height, width = self.shapes[nodes[0]]
        return sum(self.shapes[node][0] for node in nodes), height, width

    def fixed(
        self, kind: str, reads: tuple[int, ...], channels: int, stride: int = 1, to: int | None = None, **args: int
    ) -> int:
        """An operator without a choice; returns the node it writes to, a new one unless `to` is given."""
        return self._append(Slot((op(kind, self.shape(reads), channels, stride, **args),), (), (reads,), to))

    def chosen(
        self, options: Sequence[tuple[int, tuple[OpSpec, ...]]], decisions: tuple[int, ...], to: int | None = None
    ) -> int:
        """One operator of several, row-major over the choices of `decisions`; returns as `fixed` does.

        options: of each node that may be read, the operators on it.
        """
        specs = tuple(spec for _, of_node in options for spec in of_node)
        reads = tuple((node,) for node, of_node in options for _ in of_node)
        return self._append(Slot(specs, decisions, reads, to))

    def _append(self, slot: Slot) -> int:
        self.slots.append(slot)
        node = len(self.slots) if slot.writes is None else slot.writes
        self.shapes[node] = slot.options[0].out_shape
        return node

    def space(self) -> Space:
        """All of it; the last operator's channels are the classes."""
        classes = self.slots[-1].options[0].out_channels
        return Space(self.name, self.shapes[0], classes, tuple(self.decisions), tuple(self.slots))
