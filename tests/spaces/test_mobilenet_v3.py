"""The chains of MobileNetV3's blocks."""

import pytest

from hwnas.spaces import SpaceConfig, build_space, op
from hwnas.spaces.layers import Conv, Linear, SqueezeExcite
from hwnas.spaces.operators import block


def test_the_space_has_the_shape_of_once_for_alls():
    space = build_space(SpaceConfig("mobilenet_v3", 224, 1000))
    assert [len(d.choices) for d in space.decisions] == [9, 10, 10, 10] * 5  # no skip where a stage begins
    last = [slot.options[0] for slot in space.slots[5:-1:4]]
    assert [spec.out_shape for spec in last] == [
        (24, 56, 56),
        (40, 28, 28),
        (80, 14, 14),
        (112, 14, 14),
        (160, 7, 7),
    ]


def test_a_row_names_what_makes_its_latency():
    space = build_space(SpaceConfig("mobilenet_v3", 224, 1000))
    keys = [str(spec) for spec in space.all_ops()]
    assert keys[0] == "conv-3x224x224-16-s2-hs1-k3"
    assert keys[2] == "ir3-16x112x112-24-s2-h48-hs0-k3-se0"
    assert keys[-1] == "classifier-960x7x7-1000-s1-h1280"


@pytest.mark.parametrize(
    ("hidden", "squeezed"),
    [(72, 24), (120, 32), (480, 120), (672, 168), (960, 240)],  # those of MobileNetV3-Large
)
def test_channels_are_squeezed_as_published(hidden, squeezed):
    layers = block(op("ir3", (40, 9, 9), 40, h=hidden, k=5, hs=0, se=1)).layers
    assert layers[2] == SqueezeExcite(hidden, squeezed)


def test_activations_follow_the_arguments():
    relu, hard_swish = (block(op("ir3", (8, 9, 9), 8, h=16, k=3, hs=hs, se=0)).layers for hs in (0, 1))
    assert [layer.activation for layer in relu] == ["relu", "relu", "none"]
    assert [layer.activation for layer in hard_swish] == ["hswish", "hswish", "none"]
    assert block(op("ir3", (8, 9, 9), 8, h=8, k=3, hs=0, se=0)).layers[0] == Conv(8, 8, 3, groups=8, activation="relu")
    assert block(op("classifier", (8, 9, 9), 5, h=32)).layers[1:] == (Linear(8, 32, "hswish"), Linear(32, 5))
