"""What a measurement says of its times."""

import math
from pathlib import Path

import pytest

from hwnas.devices import Measurement, RunConfig, measure_in_turn, pooled


@pytest.mark.parametrize(("share", "rank"), [(0.0, 1), (0.1, 1), (0.11, 2), (0.5, 5), (0.9, 9), (1.0, 10)])
def test_quantiles_are_the_nearest_rank(share, rank):
    assert Measurement(tuple(float(t) for t in range(10, 0, -1))).quantile_ms(share) == rank


def test_a_failed_measurement_has_no_numbers():
    failed = Measurement(error="no kernel")
    assert math.isnan(failed.median_ms)
    assert math.isnan(failed.quantile_ms(0.5))


def test_rounds_are_pooled_without_the_failed_ones():
    assert pooled([Measurement((1.0,)), Measurement(error="no"), Measurement((3.0,))]).median_ms == 2.0
    assert pooled([Measurement(error="first"), Measurement(error="last")]).error == "last"


class Recorder:
    """A session that notes what it is asked; the times tell in which of its processes."""

    def __init__(self):
        self.asked, self.process = [], 0

    def measure(self, model, config):
        self.asked.append(model.name)
        return Measurement((float(self.process),) * config.runs)

    def renew(self):
        self.process += 1


def test_files_take_turns_and_every_round_is_another_process():
    session = Recorder()
    found = measure_in_turn(session, {"a": Path("x/a.onnx"), "b": Path("x/b.onnx")}, 3, RunConfig(runs=2))
    assert session.asked == ["a.onnx", "b.onnx"] * 3
    assert found == dict.fromkeys("ab", Measurement((0.0, 0.0, 1.0, 1.0, 2.0, 2.0)))
