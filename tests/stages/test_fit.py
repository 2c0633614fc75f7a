"""Which whole networks a predictor is fitted on, and when it is fitted anew."""

import random

import numpy as np
import pytest

from hwnas.latency import TablePredictor, fastest_and_slowest
from hwnas.latency.profiler import rows_to_measure
from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.macs import op_macs
from hwnas.spaces.space import sees_image
from hwnas.stages.fit import calibration_archs, spread_over_latency


def plain(space_name):
    space = build_space(SpaceConfig(space_name, 64, 10))
    return TablePredictor(space, {key: 0.01 + op_macs(spec) / 1e7 for key, spec in rows_to_measure(space).items()})


@pytest.mark.parametrize("space_name", ["proxyless_small", "proxyless_small_elastic"])
def test_the_ends_of_the_space_are_measured_and_even_steps_between_them(space_name):
    predictor = plain(space_name)
    archs = spread_over_latency(predictor, 10, random.Random(0))
    fast, slow = fastest_and_slowest(predictor)
    assert (archs[0], archs[-1]) == (fast, slow)
    steps = np.diff(np.log(predictor.latency_ms(archs)))
    even = np.log(predictor.arch_ms(slow) / predictor.arch_ms(fast)) / 9
    assert steps.max() < 2 * even
    assert (steps[3:] > 0.5 * even).all()  # the few fastest of a chain have nothing between them


def test_a_constant_is_no_end_of_a_space():
    predictor = plain("nas_bench_201")
    archs = spread_over_latency(predictor, 10, random.Random(0))
    assert not sees_image(predictor.space.steps(fastest_and_slowest(predictor)[0]))
    assert all(sees_image(predictor.space.steps(arch)) for arch in archs)


@pytest.mark.parametrize("count", [2, 5, 20])
def test_as_many_networks_are_measured_as_were_asked_for(count):
    spread, drawn = calibration_archs(plain("proxyless_small"), count, 0)
    assert len({*spread, *drawn}) == len(spread) + len(drawn) == count
    assert len(drawn) == count // 2
