"""What every device must do, with real models where there is a real runtime."""

import pytest

from hwnas.devices import DEVICES, RunConfig, load_profile, open_device
from hwnas.latency.profiler import build_model
from hwnas.runtimes import RUNTIMES
from hwnas.spaces import SpaceConfig, build_space
from hwnas.stages.export import SHIPPED

PROFILES = ["fake", *(f"host_cpu1_{name}_{dtype}" for name in SHIPPED for dtype in ("fp32", "fp16", "int8"))]
QUICK = RunConfig(warmup_runs=1, runs=5, min_sample_ms=0.05)


ATTACHED = ["android_cpu1_litert_fp32", "android_cpu1_litert_int8", "android_cpu1_ort_fp32"]
REMOTE = [(device, runtime) for device in ("ssh", "adb") for runtime in ("litert", "ort")]


def test_every_device_is_covered():
    assert {load_profile(name).device for name in PROFILES} | {device for device, _ in REMOTE} == set(DEVICES)


@pytest.fixture(
    params=[*PROFILES, *REMOTE, *(pytest.param(name, marks=pytest.mark.device) for name in ATTACHED)],
    ids=lambda p: p if isinstance(p, str) else "-".join(p),
)
def profile(request):
    if isinstance(request.param, str):
        return load_profile(request.param)
    return load_profile(request.getfixturevalue("elsewhere").profile(*request.param))


@pytest.fixture
def ops():
    space = build_space(SpaceConfig("proxyless_small", 32, 10))
    return space.ops((0,) * len(space.decisions))


def test_it_says_what_it_is(profile):
    described = open_device(profile).describe()
    assert {"device", "soc", "architecture", "os", "governor"} <= set(described)
    assert all(isinstance(value, str) for value in described.values())


def test_it_says_what_runs_models_and_on_how_many_cores(profile):
    device = open_device(profile)
    assert device.runtime_version() == RUNTIMES[profile.runtime].version()
    assert device.most_threads() >= profile.threads


def test_its_memory_is_told_or_why_not(profile, ops, tmp_path):
    found = open_device(profile).peak_memory(build_model(ops, profile, tmp_path, "net"), timeout_s=60)
    assert found.error == ""
    assert found.peak_mb > 0


def test_a_model_gives_one_positive_time_per_run(profile, ops, tmp_path):
    model = build_model(ops, profile, tmp_path, "net")
    with open_device(profile).session() as session:
        measurement = session.measure(model, QUICK)
    assert measurement.error == ""
    assert len(measurement.times_ms) == QUICK.runs
    assert min(measurement.times_ms) > 0


def test_more_work_takes_longer(profile, ops, tmp_path):
    small, large = build_model(ops[:1], profile, tmp_path, "small"), build_model(ops, profile, tmp_path, "large")
    with open_device(profile).session() as session:
        assert session.measure(small, QUICK).median_ms < session.measure(large, QUICK).median_ms


def test_a_bad_model_is_a_value_and_the_session_goes_on(profile, ops, tmp_path):
    bad = tmp_path / f"bad{RUNTIMES[profile.runtime].suffix}"
    bad.write_bytes(b"this is no model")
    good = build_model(ops, profile, tmp_path, "good")
    with open_device(profile).session() as session:
        assert session.measure(bad, QUICK).error
        assert session.measure(tmp_path / f"absent{RUNTIMES[profile.runtime].suffix}", QUICK).error
        assert not session.measure(good, QUICK).error
