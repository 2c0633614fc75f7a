"""Block -> nn.Module."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from hwnas.nn.depthwise import conv2d
from hwnas.spaces.layers import (
    Activation,
    BatchNorm,
    Block,
    Branches,
    Conv,
    FactorizedReduce,
    GlobalPool,
    Layer,
    Linear,
    Pool,
    Relu,
    Resize,
    Shuffle,
    SqueezeExcite,
)

CLASSIFIER_DROPOUT = 0.2  # before the last linear layer while training, as in MobileNetV2 and MobileNetV3
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": nn.functional.relu,
    "relu6": nn.functional.relu6,
    "hswish": nn.functional.hardswish,
}


class ConvBatchNorm(nn.Module):
    """Convolution, batch norm and the activation of a `Conv`.

    Epsilon and momentum are torch's in every space, also where torchvision has 1e-3 and 0.01: in MobileNetV3.
    """

    def __init__(self, layer: Conv) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(layer.out_channels) if layer.norm else nn.Identity()
        self.layer = layer
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W) -> (N, C_out, H / stride, W / stride)
        layer = self.layer
        y = conv2d(x, self.conv.weight, layer.stride, layer.groups, layer.dilation) if self.training else self.conv(x)
        return ACTIVATIONS[layer.activation](self.bn(y))


def scale_and_shift(bn: nn.Module) -> tuple[Tensor, Tensor]:
    """What a batch norm does to each channel at inference: (channels,), (channels,)."""
    assert isinstance(bn, nn.BatchNorm2d)
    assert bn.running_var is not None
    assert bn.running_mean is not None
    scale = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
    return scale, bn.bias - bn.running_mean * scale


class ScaleAndShift(nn.BatchNorm2d):
    """Batch norm that no convolution can take in: at inference one itself, depthwise, as every runtime has it fast."""

    def forward(self, input: Tensor) -> Tensor:  # (N, C, H, W) -> the same
        if self.training:
            return super().forward(input)
        scale, shift = scale_and_shift(self)
        return nn.functional.conv2d(input, scale[:, None, None, None], shift, groups=len(scale))


class Pooling(nn.Module):
    """Of a `Pool`. A padded mean of stride 2 is every second pixel of that of stride 1: TFLite has no such operator."""

    def __init__(self, layer: Pool) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H / stride, W / stride)
        kernel, stride, padding = self.layer.kernel, self.layer.stride, (self.layer.kernel - 1) // 2
        if self.layer.kind == "max":
            return nn.functional.max_pool2d(x, kernel, stride, padding)
        if not padding:
            return nn.functional.avg_pool2d(x, kernel, stride)
        y = nn.functional.avg_pool2d(x, kernel, 1, padding, count_include_pad=False)
        return y[:, :, ::stride, ::stride] if stride > 1 else y


class Resizing(nn.Module):
    """Of a `Resize`."""

    def __init__(self, layer: Resize) -> None:
        super().__init__()
        self.side = layer.side

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, side, side)
        return nn.functional.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False)


class Reduction(nn.Module):
    """The two convolutions of a `FactorizedReduce`."""

    def __init__(self, layer: FactorizedReduce) -> None:
        super().__init__()
        first = layer.out_channels // 2
        self.halves = nn.ModuleList(
            ConvBatchNorm(Conv(layer.in_channels, half, 1, 2, activation="none"))
            for half in (first, layer.out_channels - first)
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W) -> (N, C_out, H / 2, W / 2)
        return torch.cat([self.halves[0](x), self.halves[1](x[:, :, 1:, 1:])], 1)


class MeanOverImage(nn.Module):
    """Global average pooling."""

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C)
        return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)  # x.mean() becomes a transpose and a mean in TFLite


class Dense(nn.Linear):
    """Linear layer and its activation; dropout before the last one, which has none."""

    def __init__(self, layer: Linear) -> None:
        super().__init__(layer.in_features, layer.out_features)
        self.activation = layer.activation
        self.dropout = CLASSIFIER_DROPOUT if layer.activation == "none" else 0.0
        nn.init.normal_(self.weight, 0, 0.01)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:  # (N, in) -> (N, out)
        y = super().forward(nn.functional.dropout(input, self.dropout, self.training))
        return ACTIVATIONS[self.activation](y)


class Excitation(nn.Module):
    """The two convolutions of a `SqueezeExcite`."""

    def __init__(self, layer: SqueezeExcite) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(layer.channels, layer.squeezed, 1)
        self.excite = nn.Conv2d(layer.squeezed, layer.channels, 1)
        for conv in (self.squeeze, self.excite):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out")
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> the same
        return excited(x, *self.parameters())


def excited(x: Tensor, squeeze: Tensor, squeeze_bias: Tensor, excite: Tensor, excite_bias: Tensor) -> Tensor:
    """Every channel of x times its factor: (N, C, H, W), (S, C, 1, 1), (S,), (C, S, 1, 1), (C,) -> (N, C, H, W)."""
    y = nn.functional.conv2d(nn.functional.adaptive_avg_pool2d(x, 1), squeeze, squeeze_bias)
    y = nn.functional.conv2d(nn.functional.relu(y), excite, excite_bias)
    return x * nn.functional.hardsigmoid(y)


class ChannelShuffle(nn.Module):
    """The channels of a `Shuffle` in their new order."""

    def __init__(self, layer: Shuffle) -> None:
        super().__init__()
        self.groups = layer.groups

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> the same
        return shuffled(x, self.groups)


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channels in rows, one a group, read by columns: (N, C, H, W) -> the same.

    The fastest way for LiteRT and ONNX Runtime together. Three units of 64 channels at 56 pixels take 0.70 and 0.71 ms
    so; with the channels last 0.75 and 0.98 ms, by a list of indices 0.73 and 0.63 ms, but of a dozen TFLite operators
    whose number depends on what is around them. Strided slices are not XNNPACK's: over three times as long.
    """
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h * w).transpose(1, 2).reshape(n, c, h, w)


class BesideEachOther(nn.Module):
    """The two branches of a `Branches`."""

    def __init__(self, layer: Branches) -> None:
        super().__init__()
        self.halved = layer.halved
        self.first, self.second = (nn.ModuleList(map(_layer_module, branch)) for branch in (layer.first, layer.second))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C_out, H / stride, W / stride)
        first, second = halves(x) if self.halved else (x, x)
        return torch.cat((_through(self.first, first), _through(self.second, second)), 1)


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) -> two of (N, C / 2, H, W)."""
    first, second = x.chunk(2, 1)
    return first, second


def _through(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _layer_module(layer: Layer) -> nn.Module:
    match layer:
        case Conv():
            return ConvBatchNorm(layer)
        case GlobalPool():
            return MeanOverImage()
        case Linear():
            return Dense(layer)
        case SqueezeExcite():
            return Excitation(layer)
        case Relu():
            return nn.ReLU()
        case BatchNorm():
            return ScaleAndShift(layer.channels)
        case Pool():
            return Pooling(layer)
        case Resize():
            return Resizing(layer)
        case FactorizedReduce():
            return Reduction(layer)
        case Shuffle():
            return ChannelShuffle(layer)
        case Branches():
            return BesideEachOther(layer)


class BlockModule(nn.Module):
    """The layers of a block in order, and its residual."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        self.layers = nn.ModuleList(_layer_module(layer) for layer in block.layers)

    def forward(self, x: Tensor) -> Tensor:
        y = _through(self.layers, x)
        return x + y if self.block.residual else y


def layer_weights(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of every convolution and linear layer in order, batch norm folded in as at inference.

    This is what an exporter ships, so files built from these weights compute the same function.
    """
    folded = []
    for child in module.modules():
        if isinstance(child, ScaleAndShift):
            scale, shift = scale_and_shift(child)
            folded.append((scale[:, None, None, None], shift))
        elif isinstance(child, ConvBatchNorm) and not isinstance(child.bn, nn.BatchNorm2d):
            folded.append((child.conv.weight, torch.zeros(child.conv.out_channels)))
        elif isinstance(child, ConvBatchNorm):
            scale, shift = scale_and_shift(child.bn)
            folded.append((child.conv.weight * scale[:, None, None, None], shift))
        elif isinstance(child, nn.Linear | nn.Conv2d) and child.bias is not None:
            folded.append((child.weight, child.bias))
    return [(weight.detach().float().cpu(), bias.detach().float().cpu()) for weight, bias in folded]
