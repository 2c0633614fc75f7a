"""Whole networks of a run are measured until they settle, a few times at most."""

import pytest

from hwnas.stages import networks
from hwnas.stages.networks import CANDIDATES, SWEEPS, measured_ms, own_network
from hwnas.stages.run import open_run

SMALL = {"on": "fake", "width_mult": 0.25, "budget_of_median": 0.9}


@pytest.fixture
def sweeps(monkeypatch):
    """How many were made; the first two leave the network unsettled."""
    made, measure, settled = [], networks.measure_rows, networks.unfinished
    monkeypatch.setattr(networks, "measure_rows", lambda *options: made.append(measure(*options)))
    monkeypatch.setattr(
        networks, "unfinished", lambda rows, *rest: list(rows) if len(made) < 3 else settled(rows, *rest)
    )
    return made


def test_a_network_that_did_not_settle_is_measured_again(tmp_path, sweeps):
    run = open_run(tmp_path / "run", SMALL)
    network = own_network(run, run.space_at(2), (0,) * 12)
    (ms,) = measured_ms(run, [network], lambda *_: None, CANDIDATES)
    assert ms > 0
    assert len(sweeps) == 3 == SWEEPS


def test_one_that_lacks_a_round_because_it_failed_is_not(tmp_path, sweeps, monkeypatch):
    monkeypatch.setattr("hwnas.latency.table.LatencyTable.missing", lambda *_: ["network"])
    run = open_run(tmp_path / "run", SMALL)
    network = own_network(run, run.space_at(2), (0,) * 12)
    measured_ms(run, [network], lambda *_: None, CANDIDATES)
    assert len(sweeps) == 1
