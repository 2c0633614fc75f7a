"""Block -> nn.Module."""

import torch
from torch import Tensor, nn

from hwnas.spaces.layers import Block, Conv, GlobalPool, Layer, Linear

CLASSIFIER_DROPOUT = 0.2  # before the last linear layer while training, as in MobileNetV2


class ConvBatchNorm(nn.Module):
    """Convolution, batch norm and the activation of a `Conv`."""

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
        self.relu6 = layer.activation == "relu6"
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W) -> (N, C_out, H / stride, W / stride)
        y: Tensor = self.bn(self.conv(x))
        return nn.functional.relu6(y) if self.relu6 else y


class MeanOverImage(nn.Module):
    """Global average pooling."""

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C)
        return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)  # x.mean() becomes a transpose and a mean in TFLite


class Dense(nn.Linear):
    """Linear layer with dropout before it."""

    def forward(self, input: Tensor) -> Tensor:  # (N, in) -> (N, out)
        return super().forward(nn.functional.dropout(input, CLASSIFIER_DROPOUT, self.training))


def _layer_module(layer: Layer) -> nn.Module:
    match layer:
        case Conv():
            return ConvBatchNorm(layer)
        case GlobalPool():
            return MeanOverImage()
        case Linear():
            dense = Dense(layer.in_features, layer.out_features)
            nn.init.normal_(dense.weight, 0, 0.01)
            nn.init.zeros_(dense.bias)
            return dense


class BlockModule(nn.Module):
    """The layers of a block in order, and its residual."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        self.layers = nn.ModuleList(_layer_module(layer) for layer in block.layers)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            y = layer(y)
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
        elif isinstance(child, nn.Linear):
            folded.append((child.weight, child.bias))
    return [(weight.detach().float().cpu(), bias.detach().float().cpu()) for weight, bias in folded]
