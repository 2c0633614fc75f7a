"""Which part of a shared weight took part in a step.

Options that are slices of one weight leave the rest of it out. That rest has a gradient of zero, by which momentum and
weight decay would move it all the same; so modules that share remember what ran, for the step to move nothing else.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from hwnas.spaces.layers import Layer

Region = tuple[tuple[int, int], ...]  # of every dimension: the first index, and the one after the last


class Shared(nn.Module):
    """A module whose layers are slices of one weight; it tells which of them ran with gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[Layer] = set()  # since the last `forget_use`

    def note_use(self, layer: Layer) -> None:
        """To be called for every layer that runs; one that runs without gradients moves nothing."""
        if torch.is_grad_enabled():
            self.used.add(layer)

    def parts(self, layer: Layer) -> Iterator[tuple[nn.Parameter, Region]]:
        """What of which parameter a layer uses."""
        raise NotImplementedError


def index(region: Region) -> tuple[slice, ...]:
    """What picks a region out of its tensor."""
    return tuple(slice(first, end) for first, end in region)


def shared_modules(module: nn.Module) -> list[Shared]:
    """All in a module, which is walked through once: what they used is asked in every step."""
    return [each for each in module.modules() if isinstance(each, Shared)]


def forget_use(modules: Iterable[Shared]) -> None:
    """What runs from now on counts."""
    for shared in modules:
        shared.used.clear()


def used_parts(modules: Iterable[Shared]) -> dict[nn.Parameter, set[Region]]:
    """Of every parameter that is shared: what ran of it."""
    found: dict[nn.Parameter, set[Region]] = {}
    for shared in modules:
        for layer in shared.used:
            for parameter, region in shared.parts(layer):
                found.setdefault(parameter, set()).add(region)
    return found
