"""Sweeps: complete, interleaved, resumable; failures are written down."""

from contextlib import contextmanager

import numpy as np
import pytest

from hwnas.devices import FakeDevice, Measurement, load_profile
from hwnas.latency import profiler
from hwnas.latency.profiler import estimated_s, identity, profile_space, rows_to_measure
from hwnas.latency.table import LatencyTable
from hwnas.runtimes import RUNTIMES
from hwnas.spaces import SpaceConfig, build_space, extremes

SPACE = build_space(SpaceConfig("proxyless_small", 32, 10))
PROFILE = load_profile("fake")


def table_at(path):
    return LatencyTable(path, identity(PROFILE, FakeDevice(PROFILE), SPACE))


def test_every_operator_in_every_round_in_a_new_order(tmp_path):
    table = table_at(tmp_path / "t.jsonl")
    profile_space(SPACE, PROFILE, table)
    rows = rows_to_measure(SPACE)
    order = [record["op"] for record in table.journal.records[1:] if "op" in record]
    first, second = order[: len(rows)], order[len(rows) :]
    assert sorted(first) == sorted(second) == sorted(rows)
    assert first != second
    assert table.missing(rows, PROFILE.timing.rounds) == []
    assert estimated_s(SPACE, PROFILE, table) == 0


def test_an_interrupted_sweep_continues_to_the_same_rows(tmp_path):
    whole, part = table_at(tmp_path / "whole.jsonl"), table_at(tmp_path / "part.jsonl")
    profile_space(SPACE, PROFILE, whole)

    def interrupt(done, total, what):
        if done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profile_space(SPACE, PROFILE, part, progress=interrupt)
    resumed = table_at(tmp_path / "part.jsonl")
    assert estimated_s(SPACE, PROFILE, resumed) > 0
    profile_space(SPACE, PROFILE, resumed)
    assert resumed.journal.records[1:] == whole.journal.records[1:]


def test_a_failing_operator_is_written_once_and_does_not_stop_the_sweep(tmp_path, monkeypatch):
    bad = next(iter(rows_to_measure(SPACE)))  # the first file that is built

    class Picky(FakeDevice):
        @contextmanager
        def session(self):
            yield self

        def measure(self, model, config):
            return (
                Measurement(error="no kernel") if model.name.startswith("model0.") else super().measure(model, config)
            )

    monkeypatch.setattr(profiler, "open_device", Picky)
    table = table_at(tmp_path / "t.jsonl")
    profile_space(SPACE, PROFILE, table)
    assert table.errors == {bad: "no kernel"}
    assert len(table) == len(rows_to_measure(SPACE)) - 1
    assert sum(r.get("op") == bad for r in table.journal.records[1:]) == 1


@pytest.mark.parametrize("name", ["mobilenet_v3", "mobilenet_v4", "fbnet", "shufflenet_spos"])
def test_activations_of_random_weights_stay_near_one_in_deep_networks(name, tmp_path):
    """Some of XNNPACK's int8 operators do not add what is a thousand times larger to what is not."""
    space = build_space(SpaceConfig(name, 64, 10, 0.5))
    image = np.random.default_rng(0).standard_normal((1, *space.input_shape), dtype=np.float32)
    for arch in extremes(space):
        path = profiler.build_model(space.ops(arch), load_profile("host_cpu1_litert_fp32"), tmp_path, "deep")
        assert 0.1 < np.abs(RUNTIMES["litert"].load(path, 1).run(image)).max() < 10
