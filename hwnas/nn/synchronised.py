"""Training steps of several processes, each with a part of the batch, that compute what one process would.

Two layers look beyond one image: batch norm, whose statistics are of the whole batch here (as of torch's SyncBatchNorm,
which is for GPUs and for modules of its own only), and dropout, which takes this process' rows of the batch's mask.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.overrides import TorchFunctionMode

from hwnas.ranks import rank, size


class Summed(torch.autograd.Function):
    """The sum over the processes; so is the gradient, as every process' loss depends on it."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        y = x.clone()
        dist.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Tensor:
        grad = grads[0].clone()
        dist.all_reduce(grad)
        return grad


class _Whole(TorchFunctionMode):
    """Puts the two functions below in the place of torch's, whichever module calls them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _REPLACED.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def synchronised() -> Iterator[None]:
    """Batch norm and dropout are of the whole batch meanwhile; nothing changes where there is one process."""
    if size() == 1:
        yield
        return
    with _Whole():
        yield


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`nn.functional.batch_norm` over the processes' batches, all of one size. x: (N, C, H, W)"""
    if not training:
        return nn.functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    own = torch.stack(torch.var_mean(x.to(torch.promote_types(x.dtype, torch.float32)), (0, 2, 3), correction=0))
    mine = torch.arange(size(), device=x.device) == rank()
    vars, means = Summed.apply(own * mine[:, None, None]).unbind(1)  # (processes, C): a sum of squares would cancel
    mean, var = means.mean(0), vars.mean(0) + means.var(0, correction=0)
    count = size() * x.numel() // x.shape[1]
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.detach(), momentum)
        if running_var is not None:
            running_var.lerp_(var.detach() * count / (count - 1), momentum)  # as torch: unbiased
    scale = torch.rsqrt(var + eps) if weight is None else torch.rsqrt(var + eps) * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    y: Tensor = x * scale[:, None, None] + shift[:, None, None]
    return y.to(x.dtype)


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`nn.functional.dropout` with the mask that a process with the whole batch would draw on a CPU. x: (N, ...)"""
    if not training or p == 0:
        return x
    mask = torch.empty(size() * len(x), *x.shape[1:], dtype=x.dtype, device=x.device).bernoulli_(1 - p).div_(1 - p)
    kept: Tensor = x * mask[rank() :: size()]
    return kept


_REPLACED: dict[Callable[..., Any], Callable[..., Any]] = {
    nn.functional.batch_norm: batch_norm,
    nn.functional.dropout: dropout,
}
