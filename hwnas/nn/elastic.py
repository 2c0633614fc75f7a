"""One weight for several options: the options of a slot are slices of the largest one.

A smaller kernel is the centre of the larger, fewer channels are the first ones (Once-for-All,
https://arxiv.org/abs/1908.09791, section 3; Single-Path NAS, https://arxiv.org/abs/1904.02877). Every step then trains
weights of every option, where separate weights of seven options would each be trained in one step of seven: with the
few thousand steps of a laptop's schedule the latter hardly learn at all.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hwnas.nn.ops import BlockModule, ConvBatchNorm
from hwnas.spaces.layers import Block, Conv


class ElasticConv(nn.Module):
    """Convolution, batch norm and activation for any of several `Conv`, with the weights of the largest."""

    def __init__(self, layers: Sequence[Conv]) -> None:
        super().__init__()
        fan_in = max(layer.in_channels // layer.groups for layer in layers)
        channels, kernel = max(x.out_channels for x in layers), max(x.kernel for x in layers)
        self.weight = nn.Parameter(torch.empty(channels, fan_in, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.bn = nn.BatchNorm2d(channels)

    def sliced(self, layer: Conv) -> Tensor:
        """The weight of one option: first channels, centre of the kernel."""
        margin = (self.weight.shape[-1] - layer.kernel) // 2
        centre = slice(margin, margin + layer.kernel)
        return self.weight[: layer.out_channels, : layer.in_channels // layer.groups, centre, centre]

    def forward(self, x: Tensor, layer: Conv) -> Tensor:  # (N, C_in, H, W) -> (N, C_out, H / stride, W / stride)
        y = nn.functional.conv2d(x, self.sliced(layer), None, layer.stride, layer.kernel // 2, groups=layer.groups)
        y = self._normalised(y)
        return nn.functional.relu6(y) if layer.activation == "relu6" else y

    def _normalised(self, y: Tensor) -> Tensor:
        bn, channels = self.bn, y.shape[1]
        assert bn.running_mean is not None
        assert bn.running_var is not None
        assert bn.num_batches_tracked is not None
        momentum = bn.momentum
        if self.training:
            bn.num_batches_tracked.add_(1)
            momentum = 1 / float(bn.num_batches_tracked) if momentum is None else momentum
        return nn.functional.batch_norm(
            y,
            bn.running_mean[:channels],
            bn.running_var[:channels],
            bn.weight[:channels],
            bn.bias[:channels],
            self.training,
            momentum or 0.0,
            bn.eps,
        )

    @torch.no_grad()
    def copy_to(self, target: ConvBatchNorm, layer: Conv) -> None:
        """Gives a module standing alone the slice that belongs to it."""
        target.conv.weight.copy_(self.sliced(layer))
        for name, value in self.bn.state_dict().items():
            target.bn.state_dict()[name].copy_(value[: layer.out_channels] if value.ndim else value)


class ElasticBlock(nn.Module):
    """All blocks of a slot that have the same kinds of layers; which one runs is told per call."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        convs = zip(*(_convs(block) for block in blocks), strict=True)
        self.convs = nn.ModuleList(ElasticConv(layers) for layers in convs)

    def forward(self, x: Tensor, block: Block) -> Tensor:
        y = x
        for conv, layer in zip(self.convs, block.layers, strict=True):
            y = conv(y, layer)
        return x + y if block.residual else y

    def copy_to(self, target: BlockModule) -> None:
        """Gives a block standing alone its slices."""
        for conv, layer, module in zip(self.convs, _convs(target.block), target.layers, strict=True):
            conv.copy_to(module, layer)  # type: ignore[operator]


def _convs(block: Block) -> list[Conv]:
    return [layer for layer in block.layers if isinstance(layer, Conv)]


def shares(blocks: Sequence[Block]) -> bool:
    """Whether the blocks can be slices of one: several, of convolutions only, as many in each."""
    return (
        len(blocks) > 1
        and len({len(b.layers) for b in blocks}) == 1
        and all(len(_convs(b)) == len(b.layers) for b in blocks)
    )
