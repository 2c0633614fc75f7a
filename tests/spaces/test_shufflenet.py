"""ShuffleNetV2 units: what they compute, and the channels that are searched."""

import pytest
import torch

from hwnas.nn.ops import BlockModule, halves, shuffled
from hwnas.spaces import SpaceConfig, build_space, op, op_macs
from hwnas.spaces.layers import shape_after
from hwnas.spaces.macs import op_activations, op_peak_activations
from hwnas.spaces.operators import block


def test_a_unit_passes_every_second_channel_on():
    spec = op("shuffle", (8, 4, 4), 8, h=6, k=3)
    x = torch.randn(2, 8, 4, 4)
    y = BlockModule(block(spec)).eval()(x)
    assert y.shape == x.shape
    torch.testing.assert_close(y[:, :4], x[:, ::2])
    first, second = halves(shuffled(x, 4))
    torch.testing.assert_close(first, x[:, ::2])
    torch.testing.assert_close(second, x[:, 1::2])


def test_a_shuffle_is_torchs():
    x = torch.randn(2, 12, 3, 5)
    torch.testing.assert_close(shuffled(x, 3), torch.nn.functional.channel_shuffle(x, 3))


@pytest.mark.parametrize("spec", [op("shuffle", (8, 9, 9), 24, 2, h=6, k=5), op("xception", (8, 9, 9), 24, 1, h=6)])
def test_where_there_become_more_channels_both_branches_see_all(spec):
    assert shape_after(block(spec).layers, spec.in_shape) == spec.out_shape
    assert BlockModule(block(spec)).eval()(torch.randn(1, *spec.in_shape))[0].shape == spec.out_shape


@pytest.mark.parametrize("spec", [op("shuffle", (8, 4, 4), 8, 2, h=4, k=3), op("xception", (9, 4, 4), 9, h=4)])
def test_other_shapes_are_refused(spec):
    with pytest.raises(ValueError, match="keeps an even number of them with stride 1"):
        block(spec)


def test_units_are_counted_as_by_hand():
    same, more = op("shuffle", (8, 4, 4), 8, h=6, k=3), op("shuffle", (8, 4, 4), 24, 2, h=6, k=3)
    assert op_macs(same) == 16 * (4 * 6 + 9 * 6 + 6 * 4)
    assert op_macs(more) == 16 * 8 * 6 + 4 * (9 * 6 + 6 * 16) + 4 * (9 * 8 + 8 * 8)
    # shuffle 8, halves 8, then 6, 6, 4 channels and 8 joined, of 16 pixels
    assert op_activations(same) == 16 * (8 + 8 + 6 + 6 + 4 + 8)
    # 4 channels wait beside 6 that are read and 6 that are written; shuffle, halves and join hold 8 and 8
    assert op_peak_activations(same) == 16 * 16
    # the input waits while the first branch makes 8 channels of 4 pixels of it; then 8 x 4 wait while 6 x 16 are made
    assert op_peak_activations(more) == 8 * 4 + 8 * 16 + 6 * 16


def test_the_channels_inside_are_a_decision():
    space = build_space(SpaceConfig("shufflenet_spos_channels", 224, 1000))
    slot = space.slots[2]
    arch = [0] * len(space.decisions)
    arch[2], arch[3] = 2, 5
    assert [space.decisions[d].name for d in slot.decisions] == ["stage0.layer1.unit", "stage0.layer1.width"]
    assert str(space.ops(tuple(arch))[2]) == "shuffle-64x56x56-64-s1-h38-k7"  # 1.2 x 32, rounded down
