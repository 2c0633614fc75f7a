"""Modules against torchvision's, and the folding of batch norm."""

import pytest
import torch
import torchvision

from hwnas.nn import Network, layer_weights
from hwnas.nn.ops import BlockModule, ConvBatchNorm, Dense, Excitation, MeanOverImage
from hwnas.spaces import SpaceConfig, build_space, extremes, op, published_arch
from hwnas.spaces.layers import weight_shapes
from hwnas.spaces.macs import op_activations
from hwnas.spaces.operators import block


def unlike_new(module):
    """Statistics, scales and biases as after training: without them MobileNetV3's outputs are of the order 1e-10."""
    for child in module.modules():
        if isinstance(child, torch.nn.BatchNorm2d):
            child.running_mean.normal_(0, 0.2)
            child.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(child.weight, 0.5, 1.5)
            torch.nn.init.normal_(child.bias, 0, 0.2)
        elif getattr(child, "bias", None) is not None:
            torch.nn.init.normal_(child.bias)
    return module


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large"])
def test_published_networks_equal_torchvisions_with_their_weights(name):
    torch.manual_seed(0)
    space = build_space(SpaceConfig(name, 224, 1000))
    ours = Network(space, published_arch(name, space)).eval()
    theirs = unlike_new(torchvision.models.get_model(name)).eval()
    for child in theirs.modules():
        if isinstance(child, torch.nn.BatchNorm2d):
            child.eps = torch.nn.BatchNorm2d(1).eps  # torchvision's MobileNetV3 has another one, hwnas one for all
    values = list(theirs.state_dict().values())
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    x = torch.randn(2, 3, 224, 224)
    expected = theirs(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)


def test_dropout_is_before_the_last_linear_layer_only():
    module = BlockModule(block(op("classifier", (8, 2, 2), 3, h=64))).train()
    _, hidden, last = module.layers
    x = torch.rand(2, 8)
    torch.testing.assert_close(hidden(x), torch.nn.functional.hardswish(torch.nn.functional.linear(x, hidden.weight)))
    assert not torch.equal(last(torch.ones(1, 64)), last(torch.ones(1, 64)))


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


@pytest.mark.parametrize(
    "spec", [op("ir3", (8, 9, 9), 8, h=24, k=5, hs=1, se=1), op("classifier", (8, 9, 9), 5, h=32)], ids=str
)
def test_weights_come_in_the_order_and_shapes_that_the_layers_declare(spec):
    chosen = block(spec)
    shapes = [shape for layer in chosen.layers for shape in weight_shapes(layer)]
    found = layer_weights(BlockModule(chosen))
    assert [tuple(weight.shape) for weight, _ in found] == shapes
    assert [tuple(bias.shape) for _, bias in found] == [shape[:1] for shape in shapes]


def test_activations_are_what_the_modules_write():
    space = build_space(SpaceConfig("mobilenet_v3_large", 64, 10))
    arch = extremes(space)[0]
    network, written = Network(space, arch).eval(), []
    for module in network.modules():
        if isinstance(module, ConvBatchNorm | Dense | Excitation | MeanOverImage):
            module.register_forward_hook(lambda module, inputs, output: written.append(output[0].numel()))
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))
    inside = [m.squeeze.out_channels + m.excite.out_channels for m in network.modules() if isinstance(m, Excitation)]
    assert sum(op_activations(spec) for spec in space.ops(arch)) == sum(written) + sum(inside)
