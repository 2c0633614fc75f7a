"""Block -> nn.Module."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from hwnas.spaces.layers import Activation, Block, Branches, Conv, GlobalPool, Layer, Linear, Shuffle, SqueezeExcite

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
            layer.kernel // 2,
            groups=layer.groups,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(layer.out_channels)
        self.activation = layer.activation
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W) -> (N, C_out, H / stride, W / stride)
        return ACTIVATIONS[self.activation](self.bn(self.conv(x)))


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
        if isinstance(child, ConvBatchNorm):
            bn = child.bn
            assert bn.running_var is not None
            assert bn.running_mean is not None
            scale = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
            shift = bn.bias - bn.running_mean * scale
            folded.append((child.conv.weight * scale[:, None, None, None], shift))
        elif isinstance(child, nn.Linear | nn.Conv2d) and child.bias is not None:
            folded.append((child.weight, child.bias))
    return [(weight.detach().float().cpu(), bias.detach().float().cpu()) for weight, bias in folded]
