"""Whole networks of a run are measured until they settle, a few times at most."""

import pytest

from hwnas.devices import Measurement
from hwnas.errors import UserError
from hwnas.stages import networks
from hwnas.stages.networks import CANDIDATES, SWEEPS, measured_ms, own_network
from hwnas.stages.run import open_run

SMALL = {"on": "fake", "width_mult": 0.25, "budget_of_median": 0.9}


@pytest.fixture
def run(tmp_path):
    return open_run(tmp_path / "run", SMALL)


@pytest.fixture
def network(run):
    return own_network(run, run.space_at(2), (0,) * 12)


def sweeps(monkeypatch, after):
    """A list of the sweeps that were made, after each of which `after` gets their number, the row and the table."""
    made, measure = [], networks.measure_rows

    def measured(rows, profile, table, *options):
        measure(rows, profile, table, *options)
        made.append(list(rows))
        after(len(made), *rows, table)

    monkeypatch.setattr(networks, "measure_rows", measured)
    return made


def unsettled_until(sweep):
    """As it is left where other work on the machine lasts until then."""
    return lambda number, key, table: number < sweep and table.quarantine(key, "did not settle: +-16 % after 16 rounds")


def test_a_network_that_did_not_settle_is_measured_again(run, network, monkeypatch):
    made = sweeps(monkeypatch, unsettled_until(SWEEPS))
    (ms,) = measured_ms(run, [network], lambda *_: None, CANDIDATES)
    assert ms > 0
    assert len(made) == SWEEPS


def test_one_that_never_settles_is_named(run, network, monkeypatch):
    made = sweeps(monkeypatch, unsettled_until(SWEEPS + 1))
    with pytest.raises(UserError, match=rf"first {network.key}: did not settle: \+-16 %"):
        measured_ms(run, [network], lambda *_: None, CANDIDATES)
    assert len(made) == SWEEPS


def test_one_that_failed_is_not_tried_again(run, network, monkeypatch):
    made = sweeps(monkeypatch, lambda number, key, table: table.add(key, 0, Measurement(error="out of memory")))
    with pytest.raises(UserError, match=f"first {network.key}: out of memory"):
        measured_ms(run, [network], lambda *_: None, CANDIDATES)
    assert len(made) == 1
