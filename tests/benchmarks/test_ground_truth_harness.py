"""The harness that compares methods with the truth: complete, resumable, and honest about what is not better."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwnas.search import METHODS, STRATEGIES
from hwnas.spaces import SPACES, SpaceConfig, build_space
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


def quick(ground):
    """The ground with two candidates a method."""
    return replace(ground, options={**ground.options, "population": 2, "generations": 1, "recalibration_batches": 1})


def test_a_method_is_run_and_looked_up_once(harness, tmp_path, monkeypatch, capsys):
    ground = quick(harness.toy(4))
    monkeypatch.setattr("grounds.DRAWS", 20)
    for _ in range(2):
        harness.on_ground(ground, tmp_path, ["spos"], 1, Journal(tmp_path / "results.jsonl"))
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
    assert harness.compared([0.92, 0.93, 0.91, 0.92, 0.93], [0.9] * 5)[1] == "yes"
    assert harness.compared([0.92, 0.87, 0.91, 0.88, 0.93], [0.9] * 5)[1] == "no"
    assert harness.compared([0.9] * 5, [0.9] * 5) == ["-", "-"]


def test_methods_that_train_several_networks_a_step_have_so_many_fewer_epochs(harness):
    import grounds

    space = build_space(SpaceConfig(grounds.CHAIN, 32, 10))
    paths = {method: grounds.paths_of(space, method) for method in METHODS}
    assert {paths[m] for m in ("spos", "random", "proxyless", "proxyless-rl", "enas", "gdas")} == {1}
    assert {paths[m] for m in ("fairnas", "darts", "fbnet")} == {3}  # choices of a decision
    assert paths["sandwich"] == METHODS["sandwich"].paths


@pytest.mark.skipif(not DATA.exists(), reason="the published tables and images are not at hand")
def test_super_networks_of_real_images_are_judged_by_published_accuracies(harness, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("grounds.CHAIN_IMAGES", {"images": 200, "held_out": 100})
    ground, journal = quick(harness.chain(DATA, tmp_path, 4)), Journal(tmp_path / "results.jsonl")
    harness.on_ground(ground, tmp_path, ["sandwich", "random"], 1, journal)
    assert {r["accuracy"] for r in journal.records} <= set(ground.accuracy.values())
    assert all(r["cpu_s"] > 0 for r in journal.records)
    harness.print_markdown(journal.records)
    told = capsys.readouterr().out
    assert "| sandwich |" in told
    assert "above `random`" in told


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_searches_the_toy_chain(harness, tmp_path, method):
    journal = Journal(tmp_path / "results.jsonl")
    harness.on_ground(harness.toy(12), tmp_path, [method], 2, journal)
    assert [r["seed"] for r in journal.records] == [0, 1]
    worst = min(float(np.mean(a)) for a in harness.toy_chain.accuracies().values())
    assert all(r["accuracy"] > worst + 0.4 for r in journal.records)
