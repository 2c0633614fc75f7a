"""Which whole networks a predictor is fitted on, and others in place of those that cannot be measured."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from hwnas.devices import Measurement
from hwnas.devices.fake import FakeDevice
from hwnas.latency import TablePredictor, fastest_and_slowest
from hwnas.latency.profiler import rows_to_measure
from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.macs import op_macs
from hwnas.spaces.space import sees_image
from hwnas.stages.calibrating import calibration_archs, spread_over_latency
from hwnas.storage import Journal, read_json

TINY = Path(__file__).with_name("tiny_space.yaml")
COUNT = 12  # of which three may be replaced


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


def test_networks_set_aside_are_replaced_and_the_others_stay():
    predictor = plain("proxyless_small")
    spread, drawn = calibration_archs(predictor, 20, 0)
    aside = {spread[0], spread[4], drawn[3], drawn[4]}
    spread_now, drawn_now = calibration_archs(predictor, 20, 0, aside)
    assert (len(spread_now), len(set(spread_now) | set(drawn_now))) == (10, 20)
    assert not aside & {*spread_now, *drawn_now}
    assert set(spread) - aside < set(spread_now)
    assert drawn_now[:8] == [arch for arch in drawn if arch not in aside]
    steps = np.diff(np.log(predictor.latency_ms(spread)))
    moved = np.log(predictor.latency_ms(spread_now) / predictor.latency_ms(spread))
    assert abs(moved[4]) < 0.5 * steps.mean()  # of the same latency
    assert calibration_archs(predictor, 20, 0, {*aside, spread_now[4]})[0][4] not in {spread[4], spread_now[4]}


@pytest.fixture
def profiled(hwnas, few_digits, tmp_path):
    """A run whose table is there, with the options of its next stage."""
    run = tmp_path / "run"
    options = ("--data", few_digits, "--space", TINY, "--on", "fake", "--calibration-networks", COUNT)
    for stage in ("plan", "profile"):
        assert hwnas(stage, *options, "--width-mult", "0.25", "--out", run).returncode == 0
    return run


@pytest.fixture
def networks_ms(hwnas, profiled, tmp_path):
    """What the calibration networks take where all can be measured."""
    shutil.copytree(profiled, tmp_path / "sound")
    assert hwnas("fit", "--out", tmp_path / "sound").returncode == 0
    record = read_json(tmp_path / "sound" / "predictor.json")
    assert record["set_aside"] == []
    return [network["measured_ms"] for network in record["networks"]]


class Killed(BaseException):
    """Ends a process wherever it is."""


@pytest.fixture
def failing(monkeypatch):
    """Makes networks of these latencies fail, and the process end at one of its measurements."""
    measure = FakeDevice.measure

    def patch(bad_ms, killed_at=None):
        """The list that it returns grows by one with every measurement."""
        calls = list[str]()

        def patched(device, model, config):
            calls.append(model.name)
            if len(calls) == killed_at:
                raise Killed
            found = measure(device, model, config)
            is_bad = min(abs(found.median_ms / ms - 1) for ms in bad_ms) < 1e-6
            return Measurement(error="no kernel") if is_bad else found

        monkeypatch.setattr(FakeDevice, "measure", patched)
        return calls

    return patch


def test_a_network_that_fails_is_set_aside_and_another_one_measured(hwnas, profiled, networks_ms, failing):
    failing([networks_ms[2], networks_ms[-1]])
    done = hwnas("fit", "--out", profiled)
    assert done.returncode == 0, done.stderr
    record = read_json(profiled / "predictor.json")
    assert len(record["networks"]) == COUNT
    assert record["drawn"] == COUNT // 2
    assert [told["reason"] for told in record["set_aside"]] == ["no kernel"] * 2
    for told in record["set_aside"]:
        assert done.stderr.count(f"{told['network']} is set aside, as it could not be measured: no kernel") == 1
        assert told["arch"] not in [network["arch"] for network in record["networks"]]
        assert told["network"] not in record["made_from"]["networks"]
    assert hwnas("report", "--out", profiled).returncode == 0
    assert "2 more could not be measured" in (profiled / "report.html").read_text()


def test_killed_at_any_moment_the_same_networks_take_their_place(hwnas, profiled, networks_ms, failing, tmp_path):
    bad_ms = [networks_ms[1], networks_ms[-2]]
    whole = tmp_path / "whole"
    shutil.copytree(profiled, whole)
    calls = failing(bad_ms)
    assert hwnas("fit", "--out", whole).returncode == 0
    for killed_at in (2, len(calls) // 3, len(calls) - 5, len(calls)):
        part = tmp_path / f"part{killed_at}"
        shutil.copytree(profiled, part)
        failing(bad_ms, killed_at)
        with pytest.raises(Killed):
            hwnas("fit", "--out", part)
        failing(bad_ms)
        assert hwnas("fit", "--out", part).returncode == 0
        networks = [read_json(run / "predictor.json")["networks"] for run in (whole, part)]
        assert [n["arch"] for n in networks[0]] == [n["arch"] for n in networks[1]]
        assert [n["measured_ms"] for n in networks[0]] == pytest.approx([n["measured_ms"] for n in networks[1]])


def test_where_more_than_a_quarter_fails_the_run_ends_with_a_line(hwnas, profiled, networks_ms, failing):
    failing(networks_ms[:4])
    done = hwnas("fit", "--out", profiled)
    assert done.returncode == 1
    assert "hwnas: 4 whole networks could not be measured on fake, first " in done.stderr
    assert not Journal(profiled / "set_aside.jsonl").records
    assert not (profiled / "predictor.json").exists()
    failing([1e9])
    assert hwnas("fit", "--out", profiled).returncode == 0
    assert read_json(profiled / "predictor.json")["set_aside"] == []
