"""When a predictor is fitted anew."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
from quick import QUICK

from hwnas.devices.fake import FakeDevice
from hwnas.latency.learned import MIN_NETWORKS
from hwnas.latency.table import LatencyTable
from hwnas.stages.config import FEWEST_ALONE
from hwnas.storage import Journal, read_json

TINY = Path(__file__).with_name("tiny_space.yaml")
KEPT_FILES = ("predictor.json", "networks.jsonl", "footprints.jsonl", "feasible.json")


@pytest.fixture
def drifting(monkeypatch):
    """A machine that gets slower and faster again while it measures: rows tell that of each other."""
    calls, measure = itertools.count(), FakeDevice.measure

    def drifted(device, model, config):
        factor = 1 + 0.04 * math.sin(next(calls) / 15)
        found = measure(device, model, config)
        return replace(found, times_ms=tuple(t * factor for t in found.times_ms))

    monkeypatch.setattr(FakeDevice, "measure", drifted)


def shares(table, data, run, width):
    """Options of a run that measures into a shared table."""
    options = ("--data", data, "--space", TINY, "--on", "fake", "--calibration-networks", "6")
    return (*options, "--budget-of-median", "0.8", "--table", table, "--width-mult", width, "--out", run)


@pytest.fixture
def shared(hwnas, few_digits, tmp_path, drifting):
    """(a table that a run is fitted on and another one measured into since, that run, its options)."""
    table, run = tmp_path / "shared.jsonl", tmp_path / "mine"
    mine = shares(table, few_digits, run, "0.25")
    for stage in ("plan", "profile", "fit", "feasible"):
        assert hwnas(stage, *mine).returncode == 0
    before = LatencyTable.read(table)
    assert hwnas("profile", *shares(table, few_digits, tmp_path / "other", "1.5")).returncode == 0
    after = LatencyTable.read(table)
    assert len(after) > len(before)
    assert any(after[key].median_ms != before[key].median_ms for key in before)  # by what new rows tell of the machine
    return table, run, mine


def test_rows_that_another_run_adds_to_a_shared_table_change_nothing(hwnas, shared):
    table, run, mine = shared
    before = {path: path.read_bytes() for path in (table, *(run / name for name in KEPT_FILES))}
    told = [hwnas(stage, *mine) for stage in ("plan", "profile", "fit", "feasible")]
    assert not any(done.returncode for done in told)
    assert "the other 0 will take about 0 s" in told[0].stderr
    assert "nothing that it was fitted on has changed: it stays as it is" in told[2].stderr
    assert {path: path.read_bytes() for path in before} == before


def slow_down(table, row, name):
    """Another round of a row, or network, in which it was a little slower."""
    journal = Journal(table)
    record = next(record for record in journal.records if record.get(name) == row)
    journal.append({**record, "round": 99, "times_ms": [1.02 * ms for ms in record["times_ms"]]})


@pytest.mark.parametrize("which", ["a row", "a network"])
def test_a_measurement_that_changed_is_told_and_the_predictor_fitted_anew(hwnas, shared, which):
    table, run, mine = shared
    record = read_json(run / "predictor.json")
    row, file, name = next(iter(record["op_ms"])), table, "op"
    if which == "a network":
        row, file, name = next(iter(record["made_from"]["networks"])), run / "networks.jsonl", "network"
    slow_down(file, row, name)
    done = hwnas("fit", *mine)
    assert done.returncode == 0, done.stderr
    told = f"1 of the measurements that {run / 'predictor.json'} was fitted on changed, first {row}: "
    assert told in done.stderr
    assert "it is fitted anew" in done.stderr
    assert read_json(run / "predictor.json")["made_from"] != record["made_from"]


@pytest.mark.parametrize("came", ["supernet.pt", "trials.jsonl"])
def test_a_predictor_that_a_search_came_of_stays(hwnas, shared, came):
    table, run, mine = shared
    before = (run / "predictor.json").read_bytes()
    (run / came).touch()
    slow_down(table, next(iter(read_json(run / "predictor.json")["op_ms"])), "op")
    told = hwnas("fit", *mine)
    assert told.returncode == 0
    assert f"it stays as it is, as {came} came of it: delete all of these to fit and search anew" in told.stderr
    assert (run / "predictor.json").read_bytes() == before
    (run / came).unlink()
    (run / "predictor.json").unlink()
    assert "calibrated on 6 networks" in hwnas("fit", *mine).stderr


def test_what_a_predictor_was_fitted_for_may_not_change_where_the_table_is_another_file(hwnas, shared):
    told = hwnas("plan", "--width-mult", "0.5", "--out", shared[1]).stderr
    assert "--width-mult is 0.5 now but 0.25 in" in told
    assert "predictor.json came of it" in told


def without_table(data, run):
    """Options of a run whose latencies come from whole networks alone."""
    return (
        *QUICK[2:],
        "--data",
        data,
        "--calibration-networks",
        "12",
        "--table",
        "none",
        "--space",
        TINY,
        "--out",
        run,
    )


def test_without_a_table_everything_works_on_whole_networks_alone(hwnas, few_digits, tmp_path):
    run = tmp_path / "run"
    done = hwnas("generate", *without_table(few_digits, run))
    assert done.returncode == 0, done.stderr
    assert "its latency is learned from whole networks, by `hwnas fit`" in done.stderr
    assert "calibrated on 12 networks by whole networks, without a table" in done.stderr
    assert not (run / "table.jsonl").exists()
    record, measured = read_json(run / "predictor.json"), read_json(run / "measure.json")
    assert record["regression"]["weights_ms"]
    assert (record["op_ms"], record["made_from"]["rows"]) == ({}, {})
    assert "95 % intervals of the rows: +-" in record["steadiness"]
    assert measured["predicted_ms"] == pytest.approx(measured["median_ms"], rel=0.3)
    page = (run / "report.html").read_text()
    assert "Predicted from whole networks, without a table: no operator" in page
    assert "No table: no operator was measured alone." in page
    before = (run / "predictor.json").read_bytes()
    assert "nothing that it was fitted on has changed" in hwnas("fit", "--out", run).stderr
    assert (run / "predictor.json").read_bytes() == before


def test_without_a_table_ten_networks_are_the_fewest(hwnas, tmp_path):
    assert FEWEST_ALONE == MIN_NETWORKS
    done = hwnas("plan", *QUICK, "--table", "none", "--out", tmp_path / "run")
    assert "hwnas: --table is none and --calibration-networks 5; without a table allowed is 10 or more" in done.stderr


def test_a_gradient_goes_through_a_predictor_without_a_table(hwnas, few_digits, tmp_path):
    run = tmp_path / "run"
    done = hwnas("search", *without_table(few_digits, run), "--method", "proxyless")
    assert done.returncode == 0, done.stderr
    assert read_json(run / "front.json")["front"]
