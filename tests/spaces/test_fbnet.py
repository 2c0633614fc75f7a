"""FBNet's space counts as its authors do."""

import pytest

from hwnas.spaces import PUBLISHED, SpaceConfig, build_space, macs, op_macs, published_arch
from hwnas.spaces.layers import Conv
from hwnas.spaces.operators import block


def first_convolution_macs(spec):
    """Of a block of expansion 1, which mobile-vision leaves out of its networks."""
    expand = block(spec).layers[0] if dict(spec.args).get("e") == 1 else None
    if not isinstance(expand, Conv):
        return 0
    return expand.in_channels * expand.out_channels // expand.groups * spec.in_shape[1] * spec.in_shape[2]


@pytest.mark.parametrize(("name", "million_macs"), [("fbnet_a", 244.5), ("fbnet_b", 291.1), ("fbnet_c", 378.2)])
def test_multiply_adds_are_those_of_mobile_visions_model_zoo(name, million_macs):
    space = build_space(SpaceConfig(PUBLISHED[name].space, 224, 1000))
    ops = space.ops(published_arch(name, space))
    left_out = sum(map(first_convolution_macs, ops))
    assert round((macs(ops) - left_out) / 1e6, 1) == pytest.approx(million_macs, abs=0.11)  # told to 0.1 M


def test_a_group_costs_its_share():
    space = build_space(SpaceConfig("fbnet", 224, 1000))
    whole, grouped = (space.slots[4].options[space.decisions[2].choices.index(n)] for n in ("k3_e1", "k3_e1_g2"))
    pixels, channels = 56 * 56, 24
    assert op_macs(whole) - op_macs(grouped) == pixels * channels**2
    assert op_macs(grouped) == pixels * (channels**2 + 9 * channels)


@pytest.mark.parametrize(("resolution", "last"), [(224, 7), (96, 6), (32, 4)])
def test_the_last_feature_map_is_left_some_pixels(resolution, last):
    space = build_space(SpaceConfig("fbnet", resolution, 10))
    assert space.slots[-1].options[0].in_shape[1] == last
