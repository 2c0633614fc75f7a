"""What is told of a training that diverged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.errors import UserError
from hwnas.ranks import of_all

MOST_LOSS = 1e3  # nats; chance among a thousand classes is 7: from there no training comes back


class Diverged(UserError):
    """A loss or a weight is not finite, or the loss is beyond every measure."""


@dataclass
class Outputs:
    """Of the layers that ran: the first whose output is not finite, and the largest output."""

    first: str = ""
    largest: float = 0.0
    largest_of: str = ""

    def see(self, name: str, output: object) -> None:
        """Takes one layer's output into account; layers are seen in the order in which they run."""
        if self.first or not isinstance(output, Tensor) or not output.numel():
            return
        most = float(output.detach().abs().amax())
        if not most < torch.inf:
            self.first = name
        elif most > self.largest:
            self.largest, self.largest_of = most, name

    def told(self, module: nn.Module) -> str:
        """In words; of any process, as one of them may have met it alone."""
        names = [name for name, _ in module.named_modules()]  # of the module itself: ""
        found = [names[int(number)] for number in of_all(names.index(self.first))]
        if any(found):
            return f"the first output that is not finite is of {next(filter(None, found))}"
        return f"every layer's output is finite, the largest, {self.largest:.3g}, of {self.largest_of}"


@contextmanager
def outputs_of(module: nn.Module) -> Iterator[Outputs]:
    """Watches every layer's output meanwhile. It waits for the device at each, so not while training."""
    seen = Outputs()

    def hook(name: str) -> Any:
        return lambda layer, inputs, output: seen.see(name, output)

    handles = [layer.register_forward_hook(hook(name)) for name, layer in module.named_modules() if name]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
