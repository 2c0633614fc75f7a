"""Batch-norm statistics, taken anew from a few batches."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def statistics_anew(module: nn.Module) -> Iterator[list[_BatchNorm]]:
    """The plain mean over the batches that run meanwhile, of every norm that is in training mode. Yields the norms.

    Cumulative instead of moving; momenta are restored, so that training can go on as before.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    try:
        yield norms
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
