"""An optimizer's step that moves nothing but what took part in it, of weights that options share by slices.

Elsewhere, as in Once-for-All, momentum and weight decay move the slices that a path left out. What a parameter without
a gradient is spared, a slice without one is spared here: an optimizer that works element by element is given views of
the parts, of weights, gradients and its own state. What an optimizer counts once for a parameter stays so: AdamW
corrects a slice that runs late for the first time by the steps of the whole.
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.nn.parts import Region, index

OptimizerState = dict[str, Any]


@torch.no_grad()
def step(optimizer: torch.optim.Optimizer, used: Mapping[nn.Parameter, Collection[Region]]) -> None:
    """One step of an elementwise optimizer. `used`: of some parameters what took part; of the others all did."""
    whole = [group["params"] for group in optimizer.param_groups]
    parts = [
        _Part(p, used[p], optimizer.state.get(p, {}))
        for params in whole
        for p in params
        if p.grad is not None and not _covered(p, used.get(p))
    ]
    view_of = {part.whole: part.view for part in parts}
    for group, params in zip(optimizer.param_groups, whole, strict=True):
        group["params"] = [view_of.get(p, p) for p in params]
    optimizer.state.update({part.view: part.state for part in parts if part.state})
    try:
        optimizer.step()
    finally:
        for group, params in zip(optimizer.param_groups, whole, strict=True):
            group["params"] = params
    for part in parts:
        optimizer.state[part.whole] = part.finished(optimizer.state.pop(part.view))


def _covered(parameter: Tensor, regions: Collection[Region] | None) -> bool:
    return regions is None or tuple((0, size) for size in parameter.shape) in regions


class _Part:
    """The smallest box around the regions of one parameter."""

    def __init__(self, whole: nn.Parameter, regions: Collection[Region], state: OptimizerState) -> None:
        """state: the optimizer's of the whole parameter, empty before its first step."""
        assert whole.grad is not None
        self.whole, self.whole_state = whole, state
        box = tuple((min(a for a, _ in of), max(b for _, b in of)) for of in zip(*regions, strict=True))
        self.box = index(box)
        self.view = whole.detach()[self.box]
        self.view.grad = whole.grad[self.box]
        self.state = {name: self._of(value) for name, value in state.items()}
        self.idle = None if box in regions else self._idle(regions)
        moved = (self.view, *self.state.values()) if self.idle is not None else ()
        self.kept = [(x, x[self.idle]) for x in moved if self._is_alike(x)]

    def _of(self, value: Any) -> Any:
        return value[self.box] if isinstance(value, Tensor) and value.shape == self.whole.shape else value

    def _is_alike(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.shape == self.view.shape

    def _idle(self, regions: Collection[Region]) -> Tensor:
        """What of the box is in no region."""
        idle = torch.ones_like(self.whole, dtype=torch.bool)
        for region in regions:
            idle[index(region)] = False
        return idle[self.box]

    def finished(self, state: OptimizerState) -> OptimizerState:
        """After the step, which left `state` for the view: what no region holds is as before; the whole's state."""
        for moved, before in self.kept:
            moved[self.idle] = before
        if self.whole_state:
            return {name: self.whole_state[name] if self._is_alike(value) else value for name, value in state.items()}
        return {name: self._begun(value) if self._is_alike(value) else value for name, value in state.items()}

    def _begun(self, value: Tensor) -> Tensor:
        """State of the whole that begins with that of a part: 0 elsewhere."""
        if self.idle is not None:
            value = value.masked_fill(self.idle, 0)
        whole = torch.zeros_like(self.whole)
        whole[self.box] = value
        return whole
