"""The targets' executors run every operator of a space's networks, so that nothing falls back to plain CPU code."""

import random
from collections import Counter

import pytest

from hwnas.devices import load_profile
from hwnas.export import load_target, target_names
from hwnas.latency.profiler import build_model
from hwnas.runtimes import RUNTIMES
from hwnas.spaces import DEFAULT_RESOLUTION, SPACES, SpaceConfig, build_space, extremes

RESOLUTION = 64  # where a space says nothing of its own


def archs_of(name):
    """The space, both its extremes, and one in between."""
    space = build_space(SpaceConfig(name, DEFAULT_RESOLUTION.get(name, RESOLUTION), 10, 0.25))
    return space, [*extremes(space), space.sample(random.Random(0))]


def check(path, runtime, precision):
    operators = Counter(RUNTIMES[runtime].operators(path))
    own = [target for target in map(load_target, target_names()) if target.runtime == runtime]
    assert own
    assert operators
    for target in own:
        assert target.outside(operators, precision) == {}


@pytest.mark.parametrize("name", SPACES)
def test_the_targets_run_all_operators_of_a_space(name, tmp_path, parts_in_xnnpack):
    space, archs = archs_of(name)
    for number, arch in enumerate(archs):
        for runtime in ("litert", "ort"):
            profile = load_profile(f"host_cpu1_{runtime}_fp32")
            path = build_model(space.ops(arch), profile, tmp_path, f"{runtime}{number}")
            check(path, runtime, "fp32")
            assert runtime != "litert" or parts_in_xnnpack(path) == 1


@pytest.mark.parametrize("runtime", ["litert", pytest.param("ort", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SPACES)
def test_the_targets_run_all_operators_of_a_space_in_int8(name, runtime, tmp_path, parts_in_xnnpack):
    space, (*_, arch) = archs_of(name)
    path = build_model(space.ops(arch), load_profile(f"host_cpu1_{runtime}_int8"), tmp_path, runtime)
    check(path, runtime, "int8")
    assert runtime != "litert" or parts_in_xnnpack(path) == 1
