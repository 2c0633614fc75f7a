"""Published networks are points of the spaces, with the published figures and with torchvision's own."""

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from hwnas.spaces import PUBLISHED, SpaceConfig, build_space, macs, params, published_arch


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_multiply_adds_and_parameters(name):
    network = PUBLISHED[name]
    space = build_space(SpaceConfig(network.space, 224, 1000))
    ops = space.ops(published_arch(name, space))
    assert macs(ops) == pytest.approx(network.macs, rel=network.macs_within, abs=0)
    assert params(ops) == pytest.approx(network.params, rel=network.params_within, abs=0)


@pytest.mark.parametrize("width_mult", [1.0, 0.75])
@pytest.mark.parametrize("name", [n for n, network in PUBLISHED.items() if "torchvision" in network.source])
def test_torchvision_counts_the_same_at_any_width(name, width_mult):
    space = build_space(SpaceConfig(PUBLISHED[name].space, 224, 1000, width_mult))
    theirs = torchvision.models.get_model(name, width_mult=width_mult).eval()
    ops = space.ops(published_arch(name, space))
    assert params(ops) == sum(p.numel() for p in theirs.parameters())
    with FlopCounterMode(display=False) as counter:
        theirs(torch.zeros(1, *space.input_shape))
    assert 2 * macs(ops) == counter.get_total_flops()
