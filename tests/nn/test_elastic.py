"""Weights shared by the options of a slot."""

import random

import pytest
import torch

from hwnas.nn import Supernet
from hwnas.nn.elastic import ElasticBlock, ElasticConv, ElasticExcitation, alike
from hwnas.nn.ops import BlockModule, ConvBatchNorm, Excitation
from hwnas.spaces import SpaceConfig, build_space, extremes
from hwnas.spaces.layers import Block, Branches, Conv, Linear, Shuffle, SqueezeExcite

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
    assert all(isinstance(*slot.blocks, ElasticBlock) for slot in net.slots if len(slot.options) > 1)


def test_only_what_ran_gets_a_gradient():
    space = build_space(SpaceConfig("proxyless_small", 32, 10))
    net = Supernet(space)
    skip = space.decisions[1].choices.index("skip")
    smallest = space.decisions[0].choices.index("k3e3")
    arch = (smallest, skip, *[0] * 10)
    net(torch.randn(2, *space.input_shape), arch).sum().backward()
    assert all(p.grad is None for p in net.slots[3].parameters())  # stem, first block, layer 0, then layer 1: skipped
    depthwise = net.slots[2].blocks[0].layers[1].weight.grad
    assert depthwise[:48, :, 2:5, 2:5].abs().sum() > 0
    assert depthwise[48:].abs().sum() == 0
    assert depthwise[..., 0].abs().sum() == 0


def depthwise(channels):
    return Conv(channels, channels, 3, groups=channels)


def test_only_alike_blocks_share():
    pair = [Block((SMALL,)), Block((LARGE,))]
    assert alike(pair) == [pair]
    assert alike([*pair, pair[0]]) == [pair]
    longer = Block((SMALL, LARGE))
    assert alike([pair[0], longer, pair[1]]) == [pair, [longer]]
    for other in (
        Block((Linear(2, 2),)),
        Block((LARGE, SqueezeExcite(12, 4))),
        Block((depthwise(4),)),
        Block((Conv(4, 6, groups=2),)),
        Block((Branches((), (SMALL,), halved=True),)),
    ):
        assert alike([*pair, other]) == [pair, [other]]
    linear = [Block((Linear(2, 2),)), Block((Linear(2, 3),))]
    assert alike(linear) == [[block] for block in linear]  # never slices
    grouped = [Block((Conv(4, 6, groups=2),)), Block((Conv(4, 8, groups=2),))]
    assert alike(grouped) == [[block] for block in grouped]  # the second group begins elsewhere


def test_branches_share_within_each_branch():
    narrow, wide = (Branches((), (Conv(4, h), depthwise(h), Conv(h, 4)), halved=True) for h in (3, 6))
    blocks = [Block((Shuffle(8, 4), branches)) for branches in (narrow, wide)]
    assert alike(blocks) == [blocks]
    elastic, x = ElasticBlock(blocks), torch.randn(2, 8, 5, 5)
    elastic(x, blocks[0]).sum().backward()
    weight = elastic.layers[1].second[0].weight
    assert weight.shape == (6, 4, 1, 1)
    assert weight.grad[:3].abs().sum() > 0
    assert weight.grad[3:].eq(0).all()
    alone = BlockModule(blocks[0])
    elastic.copy_to(alone)
    torch.testing.assert_close(alone.eval()(x), elastic.eval()(x, blocks[0]))


@pytest.mark.parametrize(
    ("name", "groups"),
    [("fbnet", {2}), ("mobilenet_v4", {3, 4}), ("shufflenet_spos", {2}), ("shufflenet_spos_channels", {2})],
)
def test_options_of_one_kind_share_their_weights(name, groups):
    net = Supernet(build_space(SpaceConfig(name, 32, 4, width_mult=0.25)))
    assert {len(slot.blocks) for slot in net.slots if len(slot.options) > 1} == groups


V3 = build_space(SpaceConfig("mobilenet_v3", 32, 4, width_mult=0.25))


def warmed_up(net):
    """With statistics and channels that differ, as after a training."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith("running_var") or "bn.weight" in name:
                value.uniform_(0.5, 2.0)
            elif name.endswith(("running_mean", "bias")):
                value.normal_()
    return net.eval()


def logits(net, archs):
    x = torch.randn(2, *V3.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return torch.stack([net(x, arch) for arch in archs])


def test_kernel_transforms_begin_as_the_centre_crop():
    transformed, plain = warmed_up(Supernet(V3, kernel_transforms=True)), warmed_up(Supernet(V3))
    plain.load_state_dict({k: v for k, v in transformed.state_dict().items() if "transforms" not in k})
    archs = [V3.sample(random.Random(seed)) for seed in range(5)]
    torch.testing.assert_close(logits(transformed, archs), logits(plain, archs), rtol=0, atol=0)


def test_a_kernel_is_transformed_step_by_step_and_stands_alone_the_same():
    small, middle, large = (Conv(4, 4, kernel, groups=4) for kernel in (3, 5, 7))
    elastic = ElasticConv((small, middle, large), kernel_transforms=True)
    assert [tuple(matrix.shape) for matrix in elastic.transforms] == [(25, 25), (9, 9)]
    with torch.no_grad():
        for matrix in elastic.transforms:
            matrix.normal_()
    five = (elastic.weight[:, :, 1:6, 1:6].flatten(2) @ elastic.transforms[0]).view(4, 1, 5, 5)
    three = (five[:, :, 1:4, 1:4].flatten(2) @ elastic.transforms[1]).view(4, 1, 3, 3)
    torch.testing.assert_close(elastic.sliced(large), elastic.weight)
    torch.testing.assert_close(elastic.sliced(middle), five)
    torch.testing.assert_close(elastic.sliced(small), three)
    own = ConvBatchNorm(small)
    elastic.copy_to(own, small)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(elastic.eval()(x, small), own.eval()(x))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("name", "wide", "narrow"),
    [
        ("mobilenet_v3", "k7e6", "k7e3"),
        ("mobilenet_v4", "e6", "e2"),
        ("fbnet", "k5_e6", "k5_e3"),
        ("shufflenet_spos_channels", "w2", "w0.2"),  # hidden channels of a branch
    ],
)
def test_sorting_leaves_what_the_largest_network_computes(name, wide, narrow, training):
    space = build_space(SpaceConfig(name, 32, 4, width_mult=0.25))
    net = warmed_up(Supernet(space, kernel_transforms=True)).train(training)
    largest = extremes(space)[1]
    narrower = space.from_names(tuple(narrow if choice == wide else choice for choice in space.to_names(largest)))
    net.slots[-1].eval()  # its dropout
    before = logits(net, [largest, narrower])
    net.sort_hidden([(choice,) for choice in largest])
    after = logits(net, [largest, narrower])
    torch.testing.assert_close(after[0], before[0], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(after[1], before[1], rtol=1e-2)  # smaller ones are of other channels now


def test_sorted_channels_fall_in_importance_within_the_widths_that_were_trained():
    net = warmed_up(Supernet(V3))
    _, largest = extremes(V3)
    middle = tuple(of.choices.index("k7e4") for of in V3.decisions)
    trained = [sorted(pair) for pair in zip(largest, middle, strict=True)]
    before = logits(net, [largest, middle])
    net.sort_hidden(trained)
    torch.testing.assert_close(logits(net, [largest, middle]), before, rtol=1e-3, atol=1e-3)
    slot = net.slots[2]
    inner = slot.options[middle[0]].layers[0].out_channels
    importance = slot.blocks[0].layers[-1].weight.detach().abs().sum((0, 2, 3))
    for part in (importance[:inner], importance[inner:]):
        assert part.diff().le(0).all()
