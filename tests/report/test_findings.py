"""What a run says, and how its numbers are written."""

import json
from pathlib import Path

import pytest

from hwnas.report import read_findings, wilson_interval
from hwnas.report.findings import LABELS, in_millions, in_ms, in_percent, in_time
from hwnas.spaces import PUBLISHED
from hwnas.stages.run import Run, RunConfig


def test_wilson_interval():
    low, high = wilson_interval(0.9, 100)  # Newcombe 1998's method 3
    assert (low, high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))


def test_numbers_are_written_with_their_unit():
    assert (in_ms(0.350828), in_ms(12345.6)) == ("0.3508 ms", "12346 ms")
    assert (in_percent(0.98607), in_millions(15456896, 1)) == ("98.6 %", "15.5 M")
    assert (in_time(0.42), in_time(724), in_time(59.99), in_time(11100)) == (
        "0.4 s",
        "12 min 4 s",
        "60.0 s",
        "3 h 5 min",
    )


def test_every_network_that_a_run_selects_has_a_name():
    run = Run(Path(), RunConfig(baselines=",".join(PUBLISHED)))
    assert tuple(LABELS) == run.labels
    assert Run(Path(), RunConfig(baselines="none")).labels == ("winner", "random")


def test_latencies_are_those_measured_beside_the_exported_file(run):
    found = read_findings(run)
    assert [found.latency_ms(label) for label, _, _ in found.networks] == [1.7654, 1.2345, 1.7321]
    (run / "measure.json").unlink()
    assert [read_findings(run).latency_ms(label) for label, _, _ in found.networks] == [1.6, 1.6, 1.6]


def test_what_was_found_of_a_rejected_winner_is_not_told_of_the_next(run, edit):
    rejected = json.loads((run / "measure.json").read_text())["attempts"]
    edit("measure.json", within_budget=False)
    found = read_findings(run)
    assert (found.measured, found.exported, found.too_slow) == ({}, {}, rejected)
    assert set(found.trained) == {"random", "mobilenet_v2"}
