"""One weight for several options: the options of a slot are slices of the largest one.

A smaller kernel is the centre of the larger, fewer channels are the first ones (Once-for-All,
https://arxiv.org/abs/1908.09791, section 3; Single-Path NAS, https://arxiv.org/abs/1904.02877). Every step then trains
weights of every option, where separate weights of seven options would each be trained in one step of seven: with the
few thousand steps of a laptop's schedule the latter hardly learn at all.

With kernel transforms, which Once-for-All's progressive shrinking trains, the centre of a kernel is multiplied by a
matrix before it is the smaller kernel.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.nn.depthwise import conv2d
from hwnas.nn.ops import (
    ACTIVATIONS,
    BesideEachOther,
    BlockModule,
    ConvBatchNorm,
    Excitation,
    excited,
    halves,
    shuffled,
)
from hwnas.nn.parts import Region, Shared, index
from hwnas.spaces.layers import Block, Branches, Conv, Layer, Shuffle, SqueezeExcite


class ElasticConv(Shared):
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
        self.depthwise = all(layer.depthwise for layer in layers)

    def sliced(self, layer: Conv) -> Tensor:
        """The weight of one option: first channels, centre of the kernel."""
        weight = self.weight[index(self._region(layer))]
        for kernel, matrix in zip(self.smaller, self.transforms, strict=True):
            if kernel < layer.kernel:
                break
            weight = _centre(weight, kernel)
            weight = (weight.flatten(2) @ matrix).view(weight.shape)
        return _centre(weight, layer.kernel)

    def parts(self, layer: Layer) -> Iterator[tuple[nn.Parameter, Region]]:
        """Of weight and batch norm."""
        assert isinstance(layer, Conv)
        region = self._region(layer)
        yield self.weight, region
        yield self.bn.weight, region[:1]
        yield self.bn.bias, region[:1]

    def _region(self, layer: Conv) -> Region:
        """First channels, centre of the kernel; with transforms all that the first of them reads."""
        largest = self.weight.shape[-1]
        kernel = self.smaller[0] if self.smaller and layer.kernel < largest else layer.kernel
        margin = (largest - kernel) // 2
        centre = (margin, margin + kernel)
        return ((0, layer.out_channels), (0, layer.in_channels // layer.groups), centre, centre)

    def forward(self, x: Tensor, layer: Conv) -> Tensor:  # (N, C_in, H, W) -> (N, C_out, H / stride, W / stride)
        self.note_use(layer)
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


class ElasticExcitation(Shared):
    """Squeeze-and-excitation for any of several `SqueezeExcite`, with the weights of the largest."""

    def __init__(self, layers: Sequence[SqueezeExcite]) -> None:
        super().__init__()
        self.largest = Excitation(SqueezeExcite(max(x.channels for x in layers), max(x.squeezed for x in layers)))

    def sliced(self, layer: SqueezeExcite) -> list[Tensor]:
        """The parameters of one option, its first channels, in their own order."""
        return [whole[index(region)] for whole, region in self.parts(layer)]

    def parts(self, layer: Layer) -> Iterator[tuple[nn.Parameter, Region]]:
        """First channels of either side."""
        assert isinstance(layer, SqueezeExcite)
        channels, squeezed = (0, layer.channels), (0, layer.squeezed)
        squeeze, squeeze_bias, excite, excite_bias = self.largest.parameters()
        yield squeeze, (squeezed, channels, *((0, size) for size in squeeze.shape[2:]))
        yield squeeze_bias, (squeezed,)
        yield excite, (channels, squeezed, *((0, size) for size in excite.shape[2:]))
        yield excite_bias, (channels,)

    def forward(self, x: Tensor, layer: SqueezeExcite) -> Tensor:  # (N, C, H, W) -> the same
        self.note_use(layer)
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


class ElasticShuffle(nn.Module):
    """Any of several `Shuffle`; there are no weights."""

    def forward(self, x: Tensor, layer: Shuffle) -> Tensor:  # (N, C, H, W) -> the same
        return shuffled(x, layer.groups)

    def copy_to(self, target: nn.Module, layer: Shuffle) -> None:
        """Nothing to give."""


class ElasticBranches(nn.Module):
    """Any of several `Branches`, each branch with the weights of the largest."""

    def __init__(self, layers: Sequence[Branches], kernel_transforms: bool = False) -> None:
        super().__init__()
        self.first = _elastic_places([layer.first for layer in layers], kernel_transforms)
        self.second = _elastic_places([layer.second for layer in layers], kernel_transforms)

    def forward(self, x: Tensor, layer: Branches) -> Tensor:  # (N, C, H, W) -> (N, C_out, H / stride, W / stride)
        first, second = halves(x) if layer.halved else (x, x)
        return torch.cat((_through(self.first, first, layer.first), _through(self.second, second, layer.second)), 1)

    def copy_to(self, target: BesideEachOther, layer: Branches) -> None:
        """Gives a module standing alone its slices."""
        _copy_all(self.first, layer.first, target.first)
        _copy_all(self.second, layer.second, target.second)

    def sort_hidden(self, trained: Sequence[Branches]) -> None:
        """As `ElasticBlock.sort_hidden`, in each branch."""
        _sort_hidden(self.first, [layer.first for layer in trained])
        _sort_hidden(self.second, [layer.second for layer in trained])


ELASTIC: dict[type[Layer], Callable[[Any, bool], nn.Module]] = {  # of layers of the kind, and kernel_transforms
    Conv: ElasticConv,
    SqueezeExcite: lambda layers, _: ElasticExcitation(layers),
    Shuffle: lambda *_: ElasticShuffle(),
    Branches: ElasticBranches,
}


def _elastic_places(options: Iterable[Sequence[Layer]], kernel_transforms: bool) -> nn.ModuleList:
    """One module for each place, for the layers that the options have there, which are of one kind."""
    places = zip(*options, strict=True)
    return nn.ModuleList(ELASTIC[type(layers[0])](layers, kernel_transforms) for layers in places)


def _through(modules: Iterable[nn.Module], x: Tensor, layers: Iterable[Layer]) -> Tensor:
    for module, layer in zip(modules, layers, strict=True):
        x = module(x, layer)
    return x


def _copy_all(modules: Iterable[nn.Module], layers: Iterable[Layer], targets: Iterable[nn.Module]) -> None:
    for module, layer, own in zip(modules, layers, targets, strict=True):
        module.copy_to(own, layer)  # type: ignore[operator]


def _sort_hidden(modules: nn.ModuleList, trained: Sequence[Sequence[Layer]]) -> None:
    """As `ElasticBlock.sort_hidden`, in layers one after another; `trained` are those of each option."""
    for first, last in _hidden(modules):
        reader = modules[last]
        assert isinstance(reader, ElasticConv)
        widths = {layer.out_channels for layers in trained if isinstance(layer := layers[first], Conv)}
        order = _order(reader.weight.detach().abs().sum((0, 2, 3)), widths)
        for module in modules[first:last]:
            module.reorder(order)  # type: ignore[operator]
        reader.reorder_read(order)
    for place, module in enumerate(modules):
        if isinstance(module, ElasticBranches):
            module.sort_hidden([layer for layers in trained if isinstance(layer := layers[place], Branches)])


def _hidden(modules: Iterable[nn.Module]) -> Iterator[tuple[int, int]]:
    """Places of two dense convolutions, the second reading what the first wrote, each channel by itself between."""
    first: int | None = None
    for place, module in enumerate(modules):
        if isinstance(module, ElasticConv) and module.dense:
            if first is not None:
                yield first, place
            first = place
        elif not isinstance(module, ElasticExcitation) and not (isinstance(module, ElasticConv) and module.depthwise):
            first = None


def _order(importance: Tensor, widths: Iterable[int]) -> Tensor:
    """Most important first, within the channels up to each width and from it to the next. (channels,) -> (channels,)"""
    bounds = sorted({0, *widths, len(importance)})
    parts = [
        start + importance[start:stop].argsort(descending=True, stable=True)
        for start, stop in itertools.pairwise(bounds)
    ]
    return torch.cat(parts)


class ElasticBlock(nn.Module):
    """All blocks of a slot that are alike; which one runs is told per call."""

    def __init__(self, blocks: Sequence[Block], kernel_transforms: bool = False) -> None:
        super().__init__()
        self.layers = _elastic_places([block.layers for block in blocks], kernel_transforms)

    def forward(self, x: Tensor, block: Block) -> Tensor:
        y = _through(self.layers, x, block.layers)
        return x + y if block.residual else y

    def copy_to(self, target: BlockModule) -> None:
        """Gives a block standing alone its slices."""
        _copy_all(self.layers, target.block.layers, target.layers)

    def sort_hidden(self, trained: Sequence[Block]) -> None:
        """Brings the hidden channels that matter most to the front: the largest block computes what it did.

        What matters is the L1 norm of what the following convolution multiplies a channel by (Once-for-All, section
        3.2, "elastic width"). `trained` are the blocks that were trained so far: channels stay within the widths of
        these, so they compute what they did as well.
        """
        _sort_hidden(self.layers, [block.layers for block in trained])


def alike(blocks: Sequence[Block]) -> list[list[Block]]:
    """The blocks in groups that can be slices of one: the same elastic kinds of layers in the same places."""
    groups: dict[Hashable, list[Block]] = {}
    for block in dict.fromkeys(blocks):
        groups.setdefault(_likeness(block.layers) or block, []).append(block)
    return list(groups.values())


def _likeness(layers: Sequence[Layer]) -> tuple[Hashable, ...] | None:
    """Equal for layers that can be slices of the same; None where they cannot be sliced."""
    kinds: list[Hashable] = []
    for layer in layers:
        match layer:
            case Conv() if layer.dilation > 1 or not layer.norm:
                return None
            case Conv() if layer.groups > 1 and not layer.depthwise:  # a group's channels stand elsewhere at each width
                kinds.append((Conv, layer.groups, layer.in_channels, layer.out_channels))
            case Conv():
                kinds.append((Conv, layer.depthwise))
            case SqueezeExcite():
                kinds.append((SqueezeExcite,))
            case Shuffle():
                kinds.append((Shuffle,))
            case Branches():
                first, second = _likeness(layer.first), _likeness(layer.second)
                if first is None or second is None:
                    return None
                kinds.append((Branches, first, second))
            case _:
                return None
    return tuple(kinds)
