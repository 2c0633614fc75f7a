"""One weight for several options: the options of a slot are slices of the largest one.

A smaller kernel is the centre of the larger, fewer channels are the first ones (Once-for-All,
https://arxiv.org/abs/1908.09791, section 3; Single-Path NAS, https://arxiv.org/abs/1904.02877). Every step then trains
weights of every option, where separate weights of seven options would each be trained in one step of seven: with the
few thousand steps of a laptop's schedule the latter hardly learn at all.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hwnas.nn.ops import ACTIVATIONS, BlockModule, ConvBatchNorm, Excitation, excited
from hwnas.spaces.layers import Block, Conv, Layer, SqueezeExcite


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
        return ACTIVATIONS[layer.activation](self._normalised(y))

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


class ElasticExcitation(nn.Module):
    """Squeeze-and-excitation for any of several `SqueezeExcite`, with the weights of the largest."""

    def __init__(self, layers: Sequence[SqueezeExcite]) -> None:
        super().__init__()
        self.largest = Excitation(SqueezeExcite(max(x.channels for x in layers), max(x.squeezed for x in layers)))

    def sliced(self, layer: SqueezeExcite) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The parameters of one option, its first channels, in their own order."""
        channels, squeezed = layer.channels, layer.squeezed
        squeeze, squeeze_bias, excite, excite_bias = self.largest.parameters()
        return (
            squeeze[:squeezed, :channels],
            squeeze_bias[:squeezed],
            excite[:channels, :squeezed],
            excite_bias[:channels],
        )

    def forward(self, x: Tensor, layer: SqueezeExcite) -> Tensor:  # (N, C, H, W) -> the same
        return excited(x, *self.sliced(layer))

    @torch.no_grad()
    def copy_to(self, target: Excitation, layer: SqueezeExcite) -> None:
        """Gives a module standing alone the slice that belongs to it."""
        for mine, own in zip(target.parameters(), self.sliced(layer), strict=True):
            mine.copy_(own)


def _elastic(layers: Sequence[Layer]) -> ElasticConv | ElasticExcitation:
    """One module for the layers at one place of the options, which are of one kind."""
    convs = [layer for layer in layers if isinstance(layer, Conv)]
    excitations = [layer for layer in layers if isinstance(layer, SqueezeExcite)]
    return ElasticConv(convs) if convs else ElasticExcitation(excitations)


class ElasticBlock(nn.Module):
    """All blocks of a slot that have the same kinds of layers; which one runs is told per call."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        places = zip(*(block.layers for block in blocks), strict=True)
        self.layers = nn.ModuleList(_elastic(layers) for layers in places)

    def forward(self, x: Tensor, block: Block) -> Tensor:
        y = x
        for module, layer in zip(self.layers, block.layers, strict=True):
            y = module(y, layer)
        return x + y if block.residual else y

    def copy_to(self, target: BlockModule) -> None:
        """Gives a block standing alone its slices."""
        for module, layer, own in zip(self.layers, target.block.layers, target.layers, strict=True):
            module.copy_to(own, layer)  # type: ignore[operator]


def shares(blocks: Sequence[Block]) -> bool:
    """Whether the blocks can be slices of one: several, of the same elastic kinds of layers in the same places."""
    kinds = {tuple(map(type, block.layers)) for block in blocks}
    convs = [layer for block in blocks for layer in block.layers if isinstance(layer, Conv)]
    plain = all(layer.norm and layer.dilation == 1 for layer in convs)
    return len(blocks) > 1 and len(kinds) == 1 and set(*kinds) <= {Conv, SqueezeExcite} and plain
