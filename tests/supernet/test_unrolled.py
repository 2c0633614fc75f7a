"""The finite difference of second-order DARTS against the exact second derivative."""

import pytest
import torch
from torch import nn

from hwnas.supernet.unrolled import unrolled_gradient

LR = 0.3


def problem():
    """Losses of a mixture of three layers, as functions of (alpha, weights)."""
    torch.manual_seed(0)
    data = [(torch.randn(20, 4, dtype=torch.float64), torch.randn(20, dtype=torch.float64)) for _ in range(2)]

    def loss_on(batch):
        x, y = batch

        def loss(alpha, weights):
            mixed = sum(p * torch.tanh(x @ w) for p, w in zip(alpha.softmax(0), weights, strict=True))
            return (mixed - y).square().mean()

        return loss

    alpha = nn.Parameter(torch.randn(3, dtype=torch.float64))
    weights = [nn.Parameter(torch.randn(4, dtype=torch.float64)) for _ in range(3)]
    return (*map(loss_on, data), alpha, weights)


def test_it_is_the_gradient_through_the_step():
    training, validation, alpha, weights = problem()
    steps = torch.autograd.grad(training(alpha, weights), weights, create_graph=True)
    ahead = validation(alpha, [w - LR * g for w, g in zip(weights, steps, strict=True)])
    (exact,) = torch.autograd.grad(ahead, alpha)
    (first_order,) = torch.autograd.grad(validation(alpha, weights), alpha)
    before = [w.detach().clone() for w in weights]
    loss, found = unrolled_gradient(
        alpha, weights, lambda: training(alpha, weights), lambda: validation(alpha, weights), LR
    )
    assert float(loss) == pytest.approx(float(ahead.detach()))
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(first_order, exact, rtol=0.05)
    for weight, value in zip(weights, before, strict=True):
        torch.testing.assert_close(weight.detach(), value, rtol=0, atol=0)


def test_weights_are_what_they_were_also_where_a_loss_fails():
    training, _, alpha, weights = problem()
    before = [w.detach().clone() for w in weights]

    def fails():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        unrolled_gradient(alpha, weights, lambda: training(alpha, weights), fails, LR)
    for weight, value in zip(weights, before, strict=True):
        torch.testing.assert_close(weight.detach(), value, rtol=0, atol=0)
