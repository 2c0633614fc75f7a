"""Gradient of the architecture parameters through one step of the weights: DARTS, second order.

https://arxiv.org/abs/1806.09055, equations 7 and 8. The official trainer also unrolls momentum and weight decay; here
the step is the plain one of the equations.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

DISTANCE = 0.01  # of the two points of the finite difference, over the length of the gradient (section 2.3, footnote)


def unrolled_gradient(
    alpha: nn.Parameter,
    weights: Sequence[nn.Parameter],
    training_loss: Callable[[], Tensor],
    validation_loss: Callable[[], Tensor],
    lr: float,
) -> tuple[Tensor, Tensor]:
    """(the validation loss after a step of the weights, its gradient with respect to alpha, that step included).

    Each loss is computed anew from alpha and the weights as they are at the call, and must be the same function of
    them each time: a dropout that differs between two calls is larger than their finite difference. Afterwards the
    weights are what they were, to the bit.
    """
    with restored(weights) as before:
        _move(weights, before, _gradient(training_loss(), weights), -lr)
        loss = validation_loss()
        direct, *ahead = torch.autograd.grad(loss, [alpha, *weights], allow_unused=True)
        length = float(torch.stack([g.norm() for g in ahead if g is not None]).norm())
        if length == 0:
            return loss.detach(), direct
        epsilon = DISTANCE / length
        sides: list[Tensor | None] = []
        for sign in (1, -1):
            _move(weights, before, ahead, sign * epsilon)
            sides += _gradient(training_loss(), [alpha])
    plus, minus = sides
    assert plus is not None
    assert minus is not None
    return loss.detach(), direct - lr * (plus - minus) / (2 * epsilon)


def _gradient(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Sequence[Tensor | None]:
    return torch.autograd.grad(loss, parameters, allow_unused=True)


@torch.no_grad()
def _move(
    weights: Sequence[nn.Parameter], start: Sequence[Tensor], directions: Sequence[Tensor | None], distance: float
) -> None:
    """Puts the weights at `distance` from where they started; those without a direction go back there."""
    for weight, origin, direction in zip(weights, start, directions, strict=True):
        weight.copy_(origin if direction is None else origin + distance * direction)


@contextmanager
def restored(weights: Sequence[nn.Parameter]) -> Iterator[list[Tensor]]:
    """Copies of the weights, which get their values back in the end."""
    before = [weight.detach().clone() for weight in weights]
    try:
        yield before
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)
