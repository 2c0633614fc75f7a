"""The size of images as a decision: the same networks as at each size alone, behind a resize."""

import random

import pytest
import torch

from hwnas.errors import UserError
from hwnas.nn import Gate, Supernet
from hwnas.search.collapse import skip_choices
from hwnas.spaces import SPACES, SpaceConfig, build_space, macs, op, op_macs, op_params, params
from hwnas.spaces.chain import ChainBuilder
from hwnas.spaces.macs import op_peak_activations, peak_activations
from hwnas.spaces.mbconv import mbconv
from hwnas.spaces.operators import is_free
from hwnas.spaces.resolution import with_resolutions

ELASTIC = build_space(SpaceConfig("mobilenet_v3_elastic", 224, 1000))
SMALL = build_space(SpaceConfig("proxyless_small_elastic", 32, 4, width_mult=0.25))


@pytest.mark.parametrize(("choice", "side"), [(0, 224), (1, 192), (2, 160), (3, 128)])
def test_behind_the_resize_is_the_network_of_that_resolution(choice, side):
    alone, rng = build_space(SpaceConfig("mobilenet_v3", side, 1000)), random.Random(0)
    assert ELASTIC.decisions[0].choices[choice] == f"r{side}"
    assert ELASTIC.decisions[1:] == alone.decisions
    for _ in range(5):
        arch = alone.sample(rng)
        found = ELASTIC.ops((choice, *arch))
        assert list(found)[1:] == list(alone.ops(arch))
        assert (macs(found), params(found)) == (macs(alone.ops(arch)), params(alone.ops(arch)))
        assert found.input_shape == (3, 224, 224)


def test_a_resize_costs_no_multiply_adds_and_none_at_the_largest_resolution():
    free, *resizes = ELASTIC.slots[0].options
    assert is_free(free)
    assert not any(map(is_free, resizes))
    assert [op_macs(spec) + op_params(spec) for spec in resizes] == [0, 0, 0]
    assert op("resize", (3, 224, 224), 3, r=160) == resizes[1]
    assert str(resizes[1]) == "resize-3x224x224-3-s1-r160"
    assert op_peak_activations(resizes[1]) == 3 * 224**2 + 3 * 160**2


def test_peak_memory_is_that_of_the_chosen_resolution():
    alone = build_space(SpaceConfig("mobilenet_v3", 128, 1000))
    for arch in (alone.sample(random.Random(seed)) for seed in range(5)):
        peaks = [int(table.at((3, *arch))) for table in peak_activations(ELASTIC)]
        assert peaks == [3 * (224**2 + 128**2), *(int(table.at(arch)) for table in peak_activations(alone))]


@pytest.mark.parametrize("name", SPACES)
def test_only_elastic_spaces_have_a_resolution_to_choose(name):
    space = build_space(SpaceConfig(name, 64, 10))
    assert space.resolution == (0 if name.endswith("_elastic") else None)


def test_weights_are_shared_by_all_resolutions():
    alone = mbconv("proxyless_small", 32, 0.25, 4)
    mine, theirs = (sum(p.numel() for p in Supernet(space).parameters()) for space in (SMALL, alone))
    assert mine == theirs


def test_a_path_is_the_chain_on_resized_images():
    net, arch = Supernet(SMALL).eval(), SMALL.sample(random.Random(1))[1:]
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    small = torch.nn.functional.interpolate(x, (20, 20), mode="bilinear", align_corners=False)
    torch.testing.assert_close(net.resized(x, (3, *arch)), small)
    torch.testing.assert_close(net(x, (3, *arch)), net(small, (0, *arch)))
    assert net.resized(x, (0, *arch)) is x


def test_a_mixture_adds_up_the_logits_of_resolutions():
    net, x = Supernet(SMALL).eval(), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    arch, weight = SMALL.sample(random.Random(2))[1:], torch.tensor([0.5, 0.0, 0.2, 0.3], requires_grad=True)
    rest = [Gate(torch.eye(len(d.choices))[c], (c,)) for d, c in zip(SMALL.decisions[1:], arch, strict=True)]
    found = net.mixed(x, [Gate(weight, (0, 2, 3), silent=(1,)), *rest])
    logits = [net(x, (choice, *arch)) for choice in range(4)]
    torch.testing.assert_close(found, 0.5 * logits[0] + 0.2 * logits[2] + 0.3 * logits[3], rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), weight)
    torch.testing.assert_close(gradient, torch.stack([y.sum() for y in logits]), rtol=1e-4, atol=1e-5)


def test_the_largest_resolution_is_no_skip():
    skips = [{c for c, name in enumerate(d.choices) if name == "skip"} for d in SMALL.decisions]
    assert skips[0] == set()
    assert any(skips)
    assert skip_choices(SMALL) == skips


def test_a_resolution_that_leaves_no_room_is_refused():
    with pytest.raises(UserError, match="resolution 16 gives proxyless_small_elastic images of 16, 16, 12, 8 pixels"):
        build_space(SpaceConfig("proxyless_small_elastic", 16, 10))


def test_an_operator_that_cannot_have_a_size_is_named():
    with pytest.raises(
        UserError, match=r"factorized_reduce-.*sides that are multiples of it; leave out its resolution"
    ):
        with_resolutions(_with_reductions(), "mine", (0.75,))


def _with_reductions():
    chain = ChainBuilder(16)
    for layer in range(3):
        chain.fixed("factorized_reduce", 8, 2)
        chain.chosen(f"layer{layer}", {f"k{k}": op("ir", chain.shape, 8, e=3, k=k) for k in (3, 5)})
    chain.fixed("classifier", 10)
    return chain.space("reducing")
