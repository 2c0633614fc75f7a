"""Runs the slots of a space: one architecture standing alone, or all of them with shared weights."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwnas.nn.elastic import ElasticBlock, alike
from hwnas.nn.ops import BlockModule
from hwnas.spaces.layers import block
from hwnas.spaces.space import Arch, Slot, Space


class Network(nn.Module):
    """One architecture, standing alone."""

    def __init__(self, space: Space, arch: Arch) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(BlockModule(block(spec)) for spec in space.ops(arch))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, classes)
        for module in self.blocks:
            x = module(x)
        return x


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

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self.options = [block(spec) for spec in slot.options]
        groups = alike([b for b in self.options if b.layers])
        self.blocks = nn.ModuleList(ElasticBlock(group) if len(group) > 1 else BlockModule(*group) for group in groups)
        self.place = {b: number for number, group in enumerate(groups) for b in group}

    def forward(self, x: Tensor, option: int) -> Tensor:
        chosen = self.options[option]
        if not chosen.layers:
            return x
        module = self.blocks[self.place[chosen]]
        y: Tensor = module(x, chosen) if isinstance(module, ElasticBlock) else module(x)
        return y

    def copy_to(self, target: BlockModule) -> None:
        """Gives a block standing alone the weights it has here."""
        if not target.block.layers:
            return
        module = self.blocks[self.place[target.block]]
        if isinstance(module, ElasticBlock):
            module.copy_to(target)
        else:
            target.load_state_dict(module.state_dict())


class Supernet(nn.Module):
    """Every architecture of the space with shared weights; which one runs is decided per call."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        self.slots = nn.ModuleList(SharedSlot(slot) for slot in space.slots)

    def _path(self, arch: Arch) -> Iterator[tuple[SharedSlot, int]]:
        for slot, module in zip(self.space.slots, self.slots, strict=True):
            assert isinstance(module, SharedSlot)
            yield module, self.space.option(slot, arch)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:  # (N, C, H, W) -> (N, classes)
        for slot, option in self._path(arch):
            x = slot(x, option)
        return x

    def mixed(self, x: Tensor, gates: Sequence[Gate]) -> Tensor:
        """Every slot's options summed, weighted by their decisions' gates. (N, C, H, W) -> (N, classes)"""
        for slot, module in zip(self.space.slots, self.slots, strict=True):
            assert isinstance(module, SharedSlot)
            x = _mixture(self.space, slot, module, x, gates) if slot.decisions else module(x, 0)
        return x

    def network(self, arch: Arch) -> Network:
        """The architecture standing alone, with its share of the weights and statistics."""
        network = Network(self.space, arch)
        for (slot, _), target in zip(self._path(arch), network.blocks, strict=True):
            assert isinstance(target, BlockModule)
            slot.copy_to(target)
        return network.train(self.training)


def _mixture(space: Space, slot: Slot, module: SharedSlot, x: Tensor, gates: Sequence[Gate]) -> Tensor:
    ran = [(*gates[d].active, *gates[d].silent) for d in slot.decisions]
    total: Tensor | None = None
    for choices in itertools.product(*ran):
        pairs = list(zip(slot.decisions, choices, strict=True))
        weight = torch.stack([gates[d].weight[choice] for d, choice in pairs]).prod()
        option = _option(space, pairs)
        if any(choice in gates[d].silent for d, choice in pairs):
            with torch.no_grad():
                y = module(x, option)
        else:
            y = module(x, option)
        total = weight * y if total is None else total + weight * y
    assert total is not None
    return total


def _option(space: Space, pairs: Sequence[tuple[int, int]]) -> int:
    """Row-major, as the options of a slot are."""
    index = 0
    for d, choice in pairs:
        index = index * len(space.decisions[d].choices) + choice
    return index
