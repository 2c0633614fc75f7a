"""What of a space's networks is outside what the targets' executors run in fp32, and so falls back: one operator."""

import random

import pytest

from hwnas.devices import load_profile
from hwnas.export import load_target, target_names
from hwnas.latency.profiler import build_model
from hwnas.runtimes import RUNTIMES
from hwnas.spaces import DEFAULT_RESOLUTION, SPACES, SpaceConfig, build_space, extremes

PROFILES = {"litert": "host_cpu1_litert_fp32", "ort": "host_cpu1_ort_fp32"}
RESOLUTION = 64  # where a space says nothing of its own
FALLING_BACK = {("darts", "litert"): {"PADV2"}}  # max pooling at the border of an image: padded with minus infinity


@pytest.mark.parametrize("name", SPACES)
def test_the_targets_run_all_operators_of_a_space(name, tmp_path):
    space = build_space(SpaceConfig(name, DEFAULT_RESOLUTION.get(name, RESOLUTION), 10, 0.25))
    archs = [*extremes(space), space.sample(random.Random(0))]
    targets = [load_target(target) for target in target_names()]
    for number, arch in enumerate(archs):
        for runtime, profile in PROFILES.items():
            path = build_model(space.ops(arch), load_profile(profile), tmp_path, f"{runtime}{number}")
            operators = RUNTIMES[runtime].operators(path)
            own = [target for target in targets if target.runtime == runtime]
            assert own
            assert operators
            counted = {operator: operators.count(operator) for operator in operators}
            outside = {operator for target in own for operator in target.outside(counted, "fp32")}
            assert outside <= FALLING_BACK.get((name, runtime), set())
