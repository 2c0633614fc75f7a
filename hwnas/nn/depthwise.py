"""Depthwise convolution whose gradients are fast on a CPU too.

oneDNN has a fast kernel for the weight gradient of a depthwise convolution only where the kernel is at most three
columns wide and the stride is 1: that of a 5x5 kernel takes 6 times as long in fp32, and 15 times in bf16, as that of a
5x3 kernel. So wider kernels are taken in groups of three columns: the same sums, the input shifted for each group. The
gradient of the input is slow in bf16 where there is a stride, and is computed in fp32 there. Figures: docs/speed.md.
"""

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WIDEST = 3  # columns of a kernel that oneDNN is fast with
_OF_INPUT, _OF_WEIGHT = 0, 1  # places in what a convolution's backward gives


def conv2d(x: Tensor, weight: Tensor, stride: int, groups: int, dilation: int = 1) -> Tensor:
    """Convolution padded as keeps the size at stride 1. (N, C_in, H, W) -> (N, C_out, H / stride, W / stride)"""
    depthwise = groups == weight.shape[0] == x.shape[1] and dilation == 1
    if depthwise and weight.requires_grad and _on_onednn(x):
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
        if weight.shape[-1] > WIDEST or _is_slow_in(dtype, stride):
            y: Tensor = _Depthwise.apply(x.to(dtype), weight, stride)
            return y
    return nn.functional.conv2d(x, weight, None, stride, dilation * (weight.shape[-1] // 2), dilation, groups)


def _on_onednn(x: Tensor) -> bool:
    usable: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return usable and x.device.type == "cpu" and torch.is_grad_enabled()


def _is_slow_in(dtype: torch.dtype, stride: int) -> bool:
    return stride > 1 and dtype == torch.bfloat16


class _Depthwise(torch.autograd.Function):
    """weight: (C, 1, k, k), fp32 also where x is bf16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return nn.functional.conv2d(x, weight.to(x.dtype), None, stride, weight.shape[-1] // 2, groups=x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, weight), (grad,) = ctx.saved_tensors, grads
        grad_x, grad_weight = None, None
        if ctx.needs_input_grad[0]:
            exact = torch.float32 if _is_slow_in(x.dtype, ctx.stride) else x.dtype
            operands = (grad.to(exact), x.to(exact), weight.to(exact))
            grad_x = _backward(*operands, ctx.stride, weight.shape[-1] // 2, _OF_INPUT).to(x.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(grad, x, weight.shape[-1], ctx.stride).to(weight.dtype)
        return grad_x, grad_weight, None


def weight_gradient(grad: Tensor, x: Tensor, kernel: int, stride: int) -> Tensor:
    """Of a depthwise convolution padded by half its kernel. (N, C, H', W'), (N, C, H, W) -> (C, 1, kernel, kernel)

    A stride s is s * s convolutions without one, of every s-th row and column.
    """
    height, width = grad.shape[-2:]
    padded = nn.functional.pad(x, [kernel // 2] * 4)
    found = x.new_empty(x.shape[1], 1, kernel, kernel)
    for top, left in itertools.product(range(stride), repeat=2):
        part, sums = padded[:, :, top::stride, left::stride], found[:, :, top::stride, left::stride]
        rows, columns = sums.shape[-2:]
        for first in range(0, columns, WIDEST):
            group = sums[..., first : first + WIDEST]
            seen = part[:, :, : height + rows - 1, first : first + width + group.shape[-1] - 1].clone()
            group.copy_(_backward(grad, seen, torch.empty_like(group), 1, 0, _OF_WEIGHT))
    return found


def _backward(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, of: int) -> Tensor:
    wanted = [of == _OF_INPUT, of == _OF_WEIGHT, False]
    found = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], x.shape[1], wanted
    )
    gradient: Tensor = found[of]
    return gradient
