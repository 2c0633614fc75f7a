"""Weights shared by the options of a slot."""

import torch

from hwnas.nn import Supernet
from hwnas.nn.elastic import ElasticConv, ElasticExcitation, shares
from hwnas.nn.ops import Excitation
from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.layers import Block, Conv, Linear, SqueezeExcite

SMALL, LARGE = Conv(4, 6, 3, groups=1), Conv(8, 12, 7, groups=1)


def test_an_option_is_the_first_channels_and_the_centre_of_the_kernel():
    elastic = ElasticConv((SMALL, LARGE))
    assert elastic.sliced(LARGE).shape == (12, 8, 7, 7)
    torch.testing.assert_close(elastic.sliced(SMALL), elastic.weight[:6, :4, 2:5, 2:5])


def test_batch_norm_of_an_option_equals_torchs_own():
    elastic, own = ElasticConv((SMALL, LARGE)), torch.nn.BatchNorm2d(6)
    x = torch.randn(5, 4, 8, 8)
    y = torch.nn.functional.conv2d(x, elastic.sliced(SMALL), padding=1)
    torch.testing.assert_close(elastic(x, SMALL), torch.nn.functional.relu6(own(y)))
    torch.testing.assert_close(elastic.bn.running_mean[:6], own.running_mean)
    assert elastic.bn.running_mean[6:].eq(0).all()
    elastic.eval(), own.eval()
    torch.testing.assert_close(elastic(x, SMALL), torch.nn.functional.relu6(own(y)))


def test_squeeze_and_excitation_of_an_option_is_the_first_channels():
    small, large = SqueezeExcite(6, 2), SqueezeExcite(12, 4)
    elastic, own = ElasticExcitation((small, large)), Excitation(small)
    elastic.copy_to(own, small)
    torch.testing.assert_close(own.squeeze.weight, elastic.largest.squeeze.weight[:2, :6])
    torch.testing.assert_close(own.excite.weight, elastic.largest.excite.weight[:6, :2])
    x = torch.randn(2, 6, 5, 5)
    y = elastic(x, small)
    torch.testing.assert_close(y, own(x))
    y.sum().backward()
    assert elastic.largest.excite.weight.grad[6:].eq(0).all()
    assert elastic.largest.excite.weight.grad[:6, :2].abs().sum() > 0


def test_every_searched_layer_of_mobilenet_v3_shares_its_weights():
    net = Supernet(build_space(SpaceConfig("mobilenet_v3", 32, 4, width_mult=0.25)))
    assert all(slot.elastic is not None for slot in net.slots if len(slot.options) > 1)


def test_only_what_ran_gets_a_gradient():
    space = build_space(SpaceConfig("proxyless_small", 32, 10))
    net = Supernet(space)
    skip = space.decisions[1].choices.index("skip")
    smallest = space.decisions[0].choices.index("k3e3")
    arch = (smallest, skip, *[0] * 10)
    net(torch.randn(2, *space.input_shape), arch).sum().backward()
    assert all(p.grad is None for p in net.slots[3].parameters())  # stem, first block, layer 0, then layer 1: skipped
    depthwise = net.slots[2].elastic.layers[1].weight.grad
    assert depthwise[:48, :, 2:5, 2:5].abs().sum() > 0
    assert depthwise[48:].abs().sum() == 0
    assert depthwise[..., 0].abs().sum() == 0


def test_only_alike_blocks_share():
    pair = Block((SMALL,)), Block((LARGE,))
    assert shares(pair)
    assert not shares(pair[:1])
    assert not shares((pair[0], Block((SMALL, LARGE))))
    assert not shares((Block((Linear(2, 2),)), Block((Linear(2, 3),))))
    excited = Block((LARGE, SqueezeExcite(12, 4)))
    assert shares((excited, excited))
    assert not shares((excited, Block((LARGE, SMALL))))
