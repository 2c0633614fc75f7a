"""Modules against torchvision's, and the folding of batch norm."""

import torch
import torchvision

from hwnas.nn import Network, layer_weights
from hwnas.nn.ops import BlockModule
from hwnas.spaces import SpaceConfig, build_space, op, published_arch
from hwnas.spaces.layers import block


def test_mobilenet_v2_equals_torchvisions_with_its_weights():
    space = build_space(SpaceConfig("mobilenet_v2", 224, 1000))
    ours = Network(space, published_arch("mobilenet_v2", space)).eval()
    theirs = torchvision.models.mobilenet_v2().eval()
    values = list(theirs.state_dict().values())
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    x = torch.randn(2, 3, 224, 224)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-6)


def test_folded_weights_compute_what_the_module_computes():
    torch.manual_seed(0)
    module = BlockModule(block(op("conv", (3, 9, 9), 5, 2, k=3))).eval()
    bn = module.layers[0].bn
    for tensor in (bn.running_mean, bn.weight.data, bn.bias.data):
        tensor.normal_()
    bn.running_var.uniform_(0.5, 2)
    ((weight, bias),) = layer_weights(module)
    x = torch.randn(2, 3, 9, 9)
    expected = torch.nn.functional.relu6(torch.nn.functional.conv2d(x, weight, bias, 2, 1))
    torch.testing.assert_close(module(x), expected)
