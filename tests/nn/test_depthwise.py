"""Depthwise convolutions: the same function and the same gradients as torch's own."""

import pytest
import torch
from torch import nn

from hwnas.nn.depthwise import conv2d
from hwnas.nn.memory import keep_freed_memory


def gradients(function, x, weight, autocast=False):
    """(output, gradient of the input, gradient of the weight)"""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = function(x, weight)
    y.float().square().sum().backward()
    return y.detach(), x.grad, weight.grad


def operands(side, kernel, channels_last):
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.randn(3, 6, side, side + 1).contiguous(memory_format=layout), torch.randn(6, 1, kernel, kernel)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(
    ("side", "kernel", "stride"), [(9, 5, 1), (9, 7, 1), (2, 7, 1), (9, 5, 2), (8, 7, 2), (8, 3, 2)]
)
def test_gradients_are_torch_s(side, kernel, stride, channels_last):
    x, weight = operands(side, kernel, channels_last)

    def plain(x, weight):
        return nn.functional.conv2d(x, weight, None, stride, kernel // 2, groups=6)

    def ours(x, weight):
        return conv2d(x, weight, stride, 6)

    for mine, theirs in zip(gradients(ours, x, weight), gradients(plain, x, weight), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)
    exact = gradients(plain, x, weight)[2]
    coarse, coarse_weight = gradients(ours, x, weight, autocast=True)[::2]
    assert coarse.dtype == torch.bfloat16
    assert (coarse_weight - exact).norm() < 0.02 * exact.norm()


def test_a_slice_of_a_larger_weight_gets_its_gradient_and_the_rest_none():
    x, weight = operands(9, 7, True)
    grad = gradients(lambda x, w: conv2d(x[:, :4], w[:4, :, 1:6, 1:6], 1, 4), x, weight)[2]
    assert grad[:4, :, 1:6, 1:6].abs().min() > 0
    assert grad[4:].abs().max() == grad[:, :, 0].abs().max() == grad[..., 6].abs().max() == 0


def test_convolutions_that_are_not_depthwise_and_frozen_ones_are_torch_s():
    x = torch.randn(2, 6, 8, 8)
    for weight, groups in ((torch.randn(4, 6, 5, 5), 1), (torch.randn(6, 1, 5, 5), 6)):
        expected = nn.functional.conv2d(x, weight, None, 2, 2, groups=groups)
        torch.testing.assert_close(conv2d(x, weight, 2, groups), expected)


def test_keeping_freed_memory_changes_no_result():
    x, weight = torch.randn(4, 16, 32, 32), torch.randn(16, 1, 3, 3)
    before = conv2d(x, weight, 1, 16)
    assert isinstance(keep_freed_memory(), bool)
    torch.testing.assert_close(conv2d(x, weight, 1, 16), before, rtol=0, atol=0)
