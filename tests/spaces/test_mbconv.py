"""The chain of inverted residuals."""

import pytest

from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.chain import strides
from hwnas.spaces.space import make_divisible


def test_the_imagenet_space_has_21_searchable_layers():
    space = build_space(SpaceConfig("proxyless", 224, 1000))
    assert len(space.decisions) == 21
    assert [len(d.choices) for d in space.decisions].count(6) == 6  # where a stage begins there is no skip
    assert space.stride == 32


@pytest.mark.parametrize(
    ("resolution", "stride", "last"), [(28, 8, 4), (32, 8, 4), (64, 16, 4), (96, 16, 6), (224, 32, 7)]
)
def test_small_inputs_are_not_shrunk_to_nothing(resolution, stride, last):
    space = build_space(SpaceConfig("proxyless_small", resolution, 10))
    assert space.stride == stride
    assert space.slots[-1].options[0].in_shape[1:] == (last, last)


def test_strides_below_128_and_64():
    assert strides((2, 2, 2, 1, 2, 1), 224) == (2, 2, 2, 1, 2, 1)
    assert strides((2, 2, 2, 1, 2, 1), 96) == (2, 2, 2, 1, 1, 1)
    assert strides((2, 2, 2, 1, 2, 1), 32) == (1, 2, 2, 1, 1, 1)


@pytest.mark.parametrize(("channels", "expected"), [(24 * 0.75, 24), (3.0, 8), (32 * 0.35, 16), (16 * 1.4, 24)])
def test_make_divisible_as_torchvision_rounds(channels, expected):
    from torchvision.models._utils import _make_divisible

    assert make_divisible(channels) == expected == _make_divisible(channels, 8)
