"""Runs the slots of a space: one architecture standing alone, or all of them with shared weights."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce

import torch
from torch import Tensor, nn

from hwnas.nn.elastic import ElasticBlock, alike
from hwnas.nn.ops import BlockModule
from hwnas.spaces.layers import Block
from hwnas.spaces.operators import block
from hwnas.spaces.space import ZERO, Arch, Slot, Space, Wire


class Nodes:
    """The tensors between operators, each until the last operator that may read it has run."""

    def __init__(self, x: Tensor, shapes: Mapping[int, tuple[int, int, int]], reads: Sequence[Iterable[int]]) -> None:
        """reads: of every operator in turn, the nodes that it may read."""
        self.tensors, self.shapes = {0: x}, shapes
        self.last_reader = {node: number for number, nodes in enumerate(reads) for node in nodes}

    def hold(self, reads: Iterable[int]) -> bool:
        """Whether anything was written to one of the nodes."""
        return any(node in self.tensors for node in reads)

    def read(self, reads: Sequence[int], image: Tensor) -> Tensor:
        """The nodes, concatenated over channels; zeros where nothing was written. Batch, type and device of `image`."""
        found = [
            self.tensors[node] if node in self.tensors else image.new_zeros(len(image), *self.shapes[node])
            for node in reads
        ]
        return found[0] if len(found) == 1 else torch.cat(found, 1)

    def write(self, node: int, y: Tensor) -> None:
        """Adds `y` to what is at the node."""
        self.tensors[node] = self.tensors[node] + y if node in self.tensors else y

    def forget(self, number: int) -> None:
        """Lets go of what operator `number` was the last to read."""
        for node in [node for node in self.tensors if self.last_reader.get(node) == number]:
            del self.tensors[node]


def _run(x: Tensor, space: Space, operators: Sequence[tuple[Wire, Callable[[Tensor], Tensor]]]) -> Tensor:
    nodes = Nodes(x, space.shapes, [wire.reads for wire, _ in operators])
    for number, (wire, operator) in enumerate(operators):
        nodes.write(wire.writes, operator(nodes.read(wire.reads, x)))
        nodes.forget(number)
    return nodes.tensors[operators[-1][0].writes]


class Network(nn.Module):
    """One architecture, standing alone."""

    def __init__(self, space: Space, arch: Arch) -> None:
        super().__init__()
        self.space, steps = space, space.steps(arch)
        self.wires = [step.wire for step in steps]
        self.blocks = nn.ModuleList(BlockModule(block(step.spec)) for step in steps)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, classes)
        return _run(x, self.space, list(zip(self.wires, self.blocks, strict=True)))


@dataclass(frozen=True)
class Gate:
    """How the choices of one decision take part: `weight` (choices,), of which only `active` run.

    The weight of a `silent` choice is 0, but it may have a gradient: its output is needed, and nothing of what made it.
    """

    weight: Tensor
    active: tuple[int, ...]
    silent: tuple[int, ...] = ()


class SharedSlot(nn.Module):
    """The options of one slot: identities, and blocks that share weights where they can."""

    def __init__(self, space: Space, number: int, kernel_transforms: bool = False) -> None:
        super().__init__()
        slot = space.slots[number]
        self.reads = [space.wire(number, option).reads for option in range(len(slot.options))]
        self.options = [block(spec) for spec in slot.options]
        self.zero = [spec.kind == ZERO for spec in slot.options]
        places = dict.fromkeys((r, b) for r, b in zip(self.reads, self.options, strict=True) if b.layers)
        groups = [
            (reads, group)
            for reads in dict.fromkeys(r for r, _ in places)
            for group in alike([b for r, b in places if r == reads])
        ]
        self.blocks = nn.ModuleList(
            ElasticBlock(group, kernel_transforms) if len(group) > 1 else BlockModule(*group) for _, group in groups
        )
        self.place = {(reads, b): number for number, (reads, group) in enumerate(groups) for b in group}

    def _module(self, option: int) -> nn.Module:
        """Of an option with layers: one for all that are alike and read the same nodes."""
        return self.blocks[self.place[self.reads[option], self.options[option]]]

    def forward(self, x: Tensor, option: int) -> Tensor:
        chosen = self.options[option]
        if not chosen.layers:
            return x
        module = self._module(option)
        y: Tensor = module(x, chosen) if isinstance(module, ElasticBlock) else module(x)
        return y

    def sort_hidden(self, trained: Iterable[int]) -> None:
        """As `ElasticBlock.sort_hidden`; `trained` are numbers of options."""
        blocks: dict[ElasticBlock, list[Block]] = {}
        for option in trained:
            module = self._module(option) if self.options[option].layers else None
            if isinstance(module, ElasticBlock):
                blocks.setdefault(module, []).append(self.options[option])
        for module, of_module in blocks.items():
            module.sort_hidden(of_module)

    def copy_to(self, target: BlockModule, option: int) -> None:
        """Gives a block standing alone the weights it has here."""
        if not target.block.layers:
            return
        module = self._module(option)
        if isinstance(module, ElasticBlock):
            module.copy_to(target)
        else:
            target.load_state_dict(module.state_dict())


class Supernet(nn.Module):
    """Every architecture of the space with shared weights; which one runs is decided per call."""

    def __init__(self, space: Space, kernel_transforms: bool = False) -> None:
        """kernel_transforms: as in `ElasticConv`."""
        super().__init__()
        self.space = space
        numbers = range(len(space.slots))
        self.slots = nn.ModuleList(SharedSlot(space, number, kernel_transforms) for number in numbers)

    def _slot(self, number: int) -> SharedSlot:
        module = self.slots[number]
        assert isinstance(module, SharedSlot)
        return module

    def forward(self, x: Tensor, arch: Arch) -> Tensor:  # (N, C, H, W) -> (N, classes)
        steps = self.space.steps(arch)
        return _run(x, self.space, [(s.wire, partial(self._slot(s.slot), option=s.option)) for s in steps])

    def resized(self, x: Tensor, arch: Arch) -> Tensor:  # (N, C, H, W) -> (N, C, H', W')
        """The images in the size that the architecture chooses."""
        if self.space.resolution is None:
            return x
        return self._slot(0)(x, arch[self.space.resolution])  # type: ignore[no-any-return]

    def mixed(self, x: Tensor, gates: Sequence[Gate]) -> Tensor:
        """Every slot's options summed, weighted by their decisions' gates. (N, C, H, W) -> (N, classes)

        Of resolutions the logits: images of different sizes have no sum.
        """
        d = self.space.resolution
        if d is None:
            return self._mixed(x, gates)
        logits = None
        for choice in (*gates[d].active, *gates[d].silent):
            is_silent = choice in gates[d].silent
            certain = replace(gates[d], weight=torch.ones_like(gates[d].weight), active=(choice,), silent=())
            inner = [replace(gate, silent=()) for gate in gates] if is_silent else list(gates)  # 0 x 0, as in _weighted
            with torch.set_grad_enabled(torch.is_grad_enabled() and not is_silent):
                y = self._mixed(x, [*inner[:d], certain, *inner[d + 1 :]])
            y = gates[d].weight[choice] * y
            logits = y if logits is None else logits + y
        assert logits is not None
        return logits

    def _mixed(self, x: Tensor, gates: Sequence[Gate]) -> Tensor:
        """The same where at most one resolution is active.

        Options that read nothing but nodes to which nothing was written add nothing, as in `Space.steps`.
        """
        slots = self.space.slots
        nodes = Nodes(x, self.space.shapes, [self.space.may_read(number) for number in range(len(slots))])
        last = len(slots) - 1
        for number, slot in enumerate(slots):
            module, node = self._slot(number), self.space.wire(number, 0).writes
            for option, weight, silent in _weighted(self.space, slot, module.reads, gates):
                reads = module.reads[option]
                if module.zero[option] or not (nodes.hold(reads) or number == last):
                    continue
                with torch.set_grad_enabled(torch.is_grad_enabled() and not silent):
                    y = module(nodes.read(reads, x), option)
                nodes.write(node, y if weight is None else weight * y)
            nodes.forget(number)
        return nodes.tensors[node]

    def sort_hidden(self, trained: Sequence[Sequence[int]]) -> None:
        """Brings the hidden channels that matter most to the front, in every block that shares weights.

        trained: of each decision the choices that were trained so far; networks of these compute what they did.
        """
        for slot, module in zip(self.space.slots, self.slots, strict=True):
            assert isinstance(module, SharedSlot)
            joint = itertools.product(*(trained[d] for d in slot.decisions))
            choices = (dict(zip(slot.decisions, chosen, strict=True)) for chosen in joint)
            module.sort_hidden(self.space.option(slot, chosen) for chosen in choices)

    def network(self, arch: Arch) -> Network:
        """The architecture standing alone, with its share of the weights and statistics."""
        network = Network(self.space, arch)
        for step, target in zip(self.space.steps(arch), network.blocks, strict=True):
            assert isinstance(target, BlockModule)
            self._slot(step.slot).copy_to(target, step.option)
        return network.train(self.training)


def _weighted(
    space: Space, slot: Slot, reads: Sequence[tuple[int, ...]], gates: Sequence[Gate]
) -> Iterator[tuple[int, Tensor | None, bool]]:
    """(option, its weight, whether it is silent) of every option that runs; those that are equal count as one.

    Where choices of two decisions are silent, a weight is 0 x 0, whose gradient is 0 too: such options do not run.
    """
    if not slot.decisions:
        yield 0, None, False
        return
    ran = [(*gates[d].active, *gates[d].silent) for d in slot.decisions]
    weights = [gates[d].weight[list(choices)] for d, choices in zip(slot.decisions, ran, strict=True)]
    joint = reduce(lambda a, b: (a[:, None] * b[None, :]).flatten(), weights)
    equal: dict[object, tuple[int, int]] = {}  # (position, option)
    silent: dict[int, bool] = {}
    numbers, positions = [], []  # of what counts in `joint`, and where it is added
    for number, chosen in enumerate(itertools.product(*ran)):
        choices = dict(zip(slot.decisions, chosen, strict=True))
        silences = sum(choice in gates[d].silent for d, choice in choices.items())
        if silences > 1:
            continue
        option = space.option(slot, choices)
        position, _ = equal.setdefault((reads[option], slot.options[option]), (len(equal), option))
        numbers.append(number)
        positions.append(position)
        silent[position] = silent.get(position, True) and silences == 1
    if len(equal) < len(joint):
        added = joint if len(numbers) == len(joint) else joint[numbers]
        joint = joint.new_zeros(len(equal)).index_add(0, torch.tensor(positions, device=joint.device), added)
    for (position, option), weight in zip(equal.values(), joint.unbind(), strict=True):
        yield option, weight, silent[position]
