"""One weight for several options: the options of a slot are slices of the largest one.

A smaller kernel is the centre of the larger, fewer channels are the first ones (Once-for-All,
https://arxiv.org/abs/1908.09791, section 3; Single-Path NAS, https://arxiv.org/abs/1904.02877). Every step then trains
weights of every option, where separate weights of seven options would each be trained in one step of seven: with the
few thousand steps of a laptop's schedule the latter hardly learn at all.

With kernel transforms, which Once-for-All's progressive shrinking trains, the centre of a kernel is multiplied by a
matrix before it is the smaller kernel.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from hwnas.nn.depthwise import conv2d
from hwnas.nn.ops import ACTIVATIONS, BlockModule, ConvBatchNorm, Excitation, excited
from hwnas.spaces.layers import Block, Conv, Layer, SqueezeExcite


class ElasticConv(nn.Module):
    """Convolution, batch norm and activation for any of several `Conv`, with the weights of the largest.

    kernel_transforms: between each kernel size and the next smaller one a learned matrix, the same for all channels,
    that begins as the identity (Once-for-All, section 3.2, "elastic kernel size").
    """

    def __init__(self, layers: Sequence[Conv], kernel_transforms: bool = False) -> None:
        super().__init__()
        fan_in = max(layer.in_channels // layer.groups for layer in layers)
        channels, kernel = max(x.out_channels for x in layers), max(x.kernel for x in layers)
        self.weight = nn.Parameter(torch.empty(channels, fan_in, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.bn = nn.BatchNorm2d(channels)
        self.smaller = sorted({layer.kernel for layer in layers} - {kernel}, reverse=True) if kernel_transforms else []
        self.transforms = nn.ParameterList(torch.eye(size**2) for size in self.smaller)
        self.dense = all(layer.groups == 1 for layer in layers)
        self.depthwise = all(layer.groups == layer.in_channels == layer.out_channels for layer in layers)

    def sliced(self, layer: Conv) -> Tensor:
        """The weight of one option: first channels, centre of the kernel."""
        weight = self.weight[: layer.out_channels, : layer.in_channels // layer.groups]
        for kernel, matrix in zip(self.smaller, self.transforms, strict=True):
            if kernel < layer.kernel:
                break
            weight = _centre(weight, kernel)
            weight = (weight.flatten(2) @ matrix).view(weight.shape)
        return _centre(weight, layer.kernel)

    def forward(self, x: Tensor, layer: Conv) -> Tensor:  # (N, C_in, H, W) -> (N, C_out, H / stride, W / stride)
        y = conv2d(x, self.sliced(layer), layer.stride, layer.groups)
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

    @torch.no_grad()
    def reorder(self, order: Tensor) -> None:
        """The channels that it writes, and of a depthwise convolution therefore those it reads, in another order."""
        own = (self.weight, self.bn.weight, self.bn.bias, self.bn.running_mean, self.bn.running_var)
        for values in own:
            assert values is not None
            values.copy_(values[order])

    @torch.no_grad()
    def reorder_read(self, order: Tensor) -> None:
        """The channels that it reads, in another order."""
        self.weight.copy_(self.weight[:, order])


def _centre(weight: Tensor, kernel: int) -> Tensor:  # (out, in, K, K) -> (out, in, kernel, kernel)
    margin = (weight.shape[-1] - kernel) // 2
    centre = slice(margin, margin + kernel)
    return weight[:, :, centre, centre]


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

    @torch.no_grad()
    def reorder(self, order: Tensor) -> None:
        """Its channels in another order."""
        squeeze, _, excite, excite_bias = self.largest.parameters()
        squeeze.copy_(squeeze[:, order])
        excite.copy_(excite[order])
        excite_bias.copy_(excite_bias[order])


def _elastic(layers: Sequence[Layer], kernel_transforms: bool) -> ElasticConv | ElasticExcitation:
    """One module for the layers at one place of the options, which are of one kind."""
    convs = [layer for layer in layers if isinstance(layer, Conv)]
    excitations = [layer for layer in layers if isinstance(layer, SqueezeExcite)]
    return ElasticConv(convs, kernel_transforms) if convs else ElasticExcitation(excitations)


class ElasticBlock(nn.Module):
    """All blocks of a slot that have the same kinds of layers; which one runs is told per call."""

    def __init__(self, blocks: Sequence[Block], kernel_transforms: bool = False) -> None:
        super().__init__()
        places = zip(*(block.layers for block in blocks), strict=True)
        self.layers = nn.ModuleList(_elastic(layers, kernel_transforms) for layers in places)

    def forward(self, x: Tensor, block: Block) -> Tensor:
        y = x
        for module, layer in zip(self.layers, block.layers, strict=True):
            y = module(y, layer)
        return x + y if block.residual else y

    def copy_to(self, target: BlockModule) -> None:
        """Gives a block standing alone its slices."""
        for module, layer, own in zip(self.layers, target.block.layers, target.layers, strict=True):
            module.copy_to(own, layer)  # type: ignore[operator]

    def sort_hidden(self, trained: Sequence[Block]) -> None:
        """Brings the hidden channels that matter most to the front: the largest block computes what it did.

        What matters is the L1 norm of what the following convolution multiplies a channel by (Once-for-All, section
        3.2, "elastic width"). `trained` are the blocks that were trained so far: channels stay within the widths of
        these, so they compute what they did as well.
        """
        for first, last in self._hidden():
            reader = self.layers[last]
            assert isinstance(reader, ElasticConv)
            widths = {layer.out_channels for block in trained if isinstance(layer := block.layers[first], Conv)}
            order = _order(reader.weight.detach().abs().sum((0, 2, 3)), sorted(widths))
            for module in self.layers[first:last]:
                module.reorder(order)  # type: ignore[operator]
            reader.reorder_read(order)

    def _hidden(self) -> Iterator[tuple[int, int]]:
        """Places of two dense convolutions, the second reading what the first wrote, each channel by itself between."""
        first: int | None = None
        for place, module in enumerate(self.layers):
            if isinstance(module, ElasticConv) and module.dense:
                if first is not None:
                    yield first, place
                first = place
            elif not isinstance(module, ElasticExcitation) and not (
                isinstance(module, ElasticConv) and module.depthwise
            ):
                first = None


def _order(importance: Tensor, widths: Sequence[int]) -> Tensor:
    """Most important first, within the channels up to each width and from it to the next. (channels,) -> (channels,)"""
    starts = [0, *widths[:-1]]
    stops = [*starts[1:], len(importance)]
    parts = [
        start + importance[start:stop].argsort(descending=True, stable=True)
        for start, stop in zip(starts, stops, strict=True)
    ]
    return torch.cat(parts)


def shares(blocks: Sequence[Block]) -> bool:
    """Whether the blocks can be slices of one: several, of the same elastic kinds of layers in the same places."""
    kinds = {tuple(map(type, block.layers)) for block in blocks}
    convs = [layer for block in blocks for layer in block.layers if isinstance(layer, Conv)]
    plain = all(layer.norm and layer.dilation == 1 for layer in convs)
    return len(blocks) > 1 and len(kinds) == 1 and set(*kinds) <= {Conv, SqueezeExcite} and plain
