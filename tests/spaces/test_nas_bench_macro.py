"""NAS-Bench-Macro's chains have the published multiply-adds and parameters."""

import csv
from pathlib import Path

import pytest

from hwnas.spaces import SpaceConfig, build_space, macs, params

TABLE = Path(__file__).parents[3] / "shared/data/nas_bench_macro/nas_bench_macro_cifar10.csv"
DIGITS = ("skip", "k3e3", "k5e6")
SPACE = build_space(SpaceConfig("nas_bench_macro", 32, 10))


def figures(digits):
    ops = SPACE.ops(SPACE.from_names(tuple(DIGITS[int(d)] for d in digits)))
    return macs(ops), params(ops)


@pytest.mark.parametrize(
    ("digits", "expected"), [("00000000", (7_713_280, 387_882)), ("00000001", (14_115_328, 791_594))]
)
def test_two_of_them(digits, expected):
    assert figures(digits) == expected


@pytest.mark.skipif(not TABLE.exists(), reason="the published table is not at hand")
def test_all_of_them():
    with TABLE.open() as file:
        for row in list(csv.DictReader(file))[::7]:
            assert figures(row["arch"]) == (int(row["flops"]), int(row["params"])), row["arch"]
