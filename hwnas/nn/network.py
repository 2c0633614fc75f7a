"""Runs the slots of a space: one architecture standing alone, or all of them with shared weights."""

from torch import Tensor, nn

from hwnas.nn.ops import BlockModule
from hwnas.spaces.layers import block
from hwnas.spaces.space import Arch, Space


class Network(nn.Module):
    """One architecture, standing alone."""

    def __init__(self, space: Space, arch: Arch) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(BlockModule(block(spec)) for spec in space.ops(arch))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, classes)
        for module in self.blocks:
            x = module(x)
        return x


class Supernet(nn.Module):
    """Every architecture of the space with shared weights; which one runs is decided per call.

    Batch norm has no learned scale here, as in Single Path One-Shot (https://arxiv.org/abs/1904.00420): a scale
    learned for one path is wrong for another, and the statistics are recalibrated for every candidate anyway.
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        self.slots = nn.ModuleList(
            nn.ModuleList(BlockModule(block(spec), affine=False) for spec in slot.options) for slot in space.slots
        )

    def path(self, arch: Arch) -> list[nn.Module]:
        """The modules that the architecture runs, in order."""
        return [
            options[self.space.option(slot, arch)]  # type: ignore[index]
            for slot, options in zip(self.space.slots, self.slots, strict=True)
        ]

    def forward(self, x: Tensor, arch: Arch) -> Tensor:  # (N, C, H, W) -> (N, classes)
        for module in self.path(arch):
            x = module(x)
        return x
