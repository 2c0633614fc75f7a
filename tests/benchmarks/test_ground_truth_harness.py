"""The harness that compares methods with the truth: complete, resumable, and honest about what is not better."""

from pathlib import Path

import numpy as np
import pytest

from hwnas.search import METHODS, STRATEGIES
from hwnas.spaces import SPACES
from hwnas.storage import Journal

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.fixture
def harness(monkeypatch):
    """benchmarks/ground_truth.py as a module; the toy chain is a space for as long as the test runs."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import ground_truth
    import toy_chain

    monkeypatch.setitem(SPACES, toy_chain.NAME, toy_chain.toy_chain)
    return ground_truth


def test_every_network_of_the_toy_chain_was_trained(harness):
    found, space = harness.toy_chain.accuracies(), harness.toy_chain.toy_chain()
    assert set(found) == set(space)
    assert {len(accuracies) for accuracies in found.values()} == {harness.toy_chain.SEEDS}


def test_a_method_is_run_and_looked_up_once(harness, tmp_path, monkeypatch, capsys):
    quick = {"population": 2, "generations": 1, "recalibration_batches": 1}
    monkeypatch.setattr(harness, "TOY", quick)
    monkeypatch.setattr(harness, "DRAWS", 20)
    for _ in range(2):
        harness.in_toy_chain(tmp_path, ["spos"], 1, 4, Journal(tmp_path / "results.jsonl"))
    (found,) = Journal(tmp_path / "results.jsonl").records
    assert (found["method"], found["seed"], found["evaluations"]) == ("spos", 0, 2)
    truth = [float(np.mean(a)) for a in harness.toy_chain.accuracies().values()]
    assert {found["accuracy"], found["random_accuracy"]} <= set(truth)
    assert min(truth) < found["scratch_accuracy"] < max(truth)
    harness.print_markdown([found])
    assert "| spos |" in capsys.readouterr().out


def test_other_warm_ups_are_methods_of_their_own(harness, monkeypatch):
    monkeypatch.setattr(harness, "METHODS", dict(METHODS))
    names = harness.warmed_up(["proxyless", "spos"], [0.0, 0.5])
    assert names == ["proxyless, 0 % warm-up", "proxyless, 50 % warm-up"]
    assert [harness.METHODS[name].trains.warmup_share for name in names] == [0.0, 0.5]
    assert METHODS["proxyless"].trains.warmup_share == 0.25


@pytest.mark.skipif(not DATA.exists(), reason="the published tables are not at hand")
def test_in_a_table_every_search_has_as_many_look_ups_and_ends_at_the_top(harness, tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "SCORED", 200)
    truth = harness.TABLES["nas_bench_macro"](DATA)
    journal = Journal(tmp_path / "results.jsonl")
    harness.in_table("nas_bench_macro", truth, 1, journal)
    assert {r["evaluations"] for r in journal.records} == {harness.EVALUATIONS}
    assert {r["method"] for r in journal.records} >= {*STRATEGIES, "proxyless-rl"}
    assert all(r["better_share"] <= harness.TOP for r in journal.records)


def test_only_what_is_surely_better_counts_as_better(harness):
    assert harness.compared("spos", [0.02, 0.03, 0.01, 0.02, 0.03])[1] == "yes"
    assert harness.compared("spos", [0.02, -0.03, 0.01, -0.02, 0.03])[1] == "no"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_searches_the_toy_chain(harness, tmp_path, method):
    journal = Journal(tmp_path / "results.jsonl")
    harness.in_toy_chain(tmp_path, [method], 2, 12, journal)
    assert [r["seed"] for r in journal.records] == [0, 1]
    worst = min(float(np.mean(a)) for a in harness.toy_chain.accuracies().values())
    assert all(r["accuracy"] > worst + 0.4 for r in journal.records)
