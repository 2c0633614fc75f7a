"""NAS-Bench-201's cells have the published multiply-adds and parameters, and are wired as published."""

import csv
import random
from pathlib import Path

import pytest
import torch

from hwnas.errors import UserError
from hwnas.nn import Network
from hwnas.spaces import SpaceConfig, build_space, macs, params
from hwnas.spaces.nas_bench_201 import from_string, nas_bench_201
from hwnas.spaces.space import sees_image

STRINGS = Path(__file__).parents[3] / "shared/data/nasbench201/nb201_archs.csv"
SPACE = build_space(SpaceConfig("nas_bench_201", 32, 10))
SMALL = nas_bench_201(8, 0.5, 4, cells=1)


@pytest.mark.parametrize(
    ("operation", "expected"),  # those of the benchmark's own files: in millions 220.12, 1.531546; 7.78, 0.073306
    [("nor_conv_3x3", (220_119_680, 1_531_546)), ("skip_connect", (7_783_040, 73_306))],
)
def test_published_multiply_adds_and_parameters(operation, expected):
    ops = SPACE.ops(SPACE.from_names((operation,) * 6))
    assert (macs(ops), params(ops)) == expected


def test_there_are_as_many_as_published():
    assert SPACE.size == 15_625


@pytest.mark.skipif(not STRINGS.exists(), reason="the published strings are not at hand")
def test_every_published_string_is_one_of_them():
    with STRINGS.open() as file:
        archs = [from_string(SPACE, row["arch_str"]) for row in csv.DictReader(file)]
    assert len(set(archs)) == SPACE.size


def by_hand(network, text, x):
    """A network of one cell a stage, as the string says."""
    blocks = iter(network.blocks)
    for stage in range(3):
        x = next(blocks)(x) if stage == 0 else next(blocks)(x) + next(blocks)(x)
        nodes = [x]
        for node in text.split("+"):
            edges = [edge.split("~") for edge in node.strip("|").split("|")]
            inputs = [nodes[int(source)] for name, source in edges if name != "none"]
            outputs = [next(blocks)(y) for y in inputs]
            nodes.append(sum(outputs[1:], outputs[0]))
        x = nodes[-1]
    return next(blocks)(x)


@pytest.mark.parametrize(
    "text",
    [
        "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|avg_pool_3x3~2|",
        "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|nor_conv_3x3~0|none~1|nor_conv_3x3~2|",
    ],
)
def test_a_string_says_how_a_cell_is_wired(text):
    network = Network(SMALL, from_string(SMALL, text)).eval()
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(network(x), by_hand(network, text, x))


def kinds(*names):
    return [spec.kind for spec in SMALL.ops(SMALL.from_names(names))]


def test_what_nothing_reaches_and_what_nobody_needs_does_not_run():
    conv, none, skip = "nor_conv_3x3", "none", "skip_connect"
    assert kinds(conv, conv, none, skip, none, none).count("relu_conv") == 0  # nodes 1 and 2 lead nowhere
    assert kinds(none, none, conv, skip, conv, conv).count("relu_conv") == 0  # nothing comes to them
    assert kinds(conv, none, conv, skip, none, conv).count("relu_conv") == 3 * 3


def test_a_cell_without_a_path_leaves_the_classifier_alone():
    arch = SMALL.from_names(("nor_conv_3x3",) * 3 + ("none",) * 3)
    assert not sees_image(SMALL.steps(arch))
    assert kinds(*SMALL.to_names(arch)) == ["normed_classifier"]
    logits = Network(SMALL, arch).eval()(torch.randn(2, 3, 8, 8))
    torch.testing.assert_close(logits[0], logits[1])
    drawn = [SPACE.sample(random.Random(i)) for i in range(300)]
    assert sum(not sees_image(SPACE.steps(arch)) for arch in drawn) < 30  # 341 of 15,625


@pytest.mark.parametrize("resolution", [9, 30])
def test_sides_that_cannot_be_halved_twice_are_refused(resolution):
    with pytest.raises(UserError, match=r"allowed are multiples of 4, (12|32) say"):
        nas_bench_201(resolution)
