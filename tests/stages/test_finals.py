"""Finalists: trained for a while, and the best of them by that is measured, trained and delivered first."""

import shutil
import signal
from dataclasses import replace

import pytest
from quick import QUICK, started

from hwnas.nn import Compute
from hwnas.stages import finals
from hwnas.stages.config import RunConfig
from hwnas.stages.run import Run, open_run
from hwnas.storage import Journal, read_json
from hwnas.train import corrupted, shared_judged

RUN = ("--method", "spos", "--finalists", "2", "--train-epochs", "8")


@pytest.fixture(scope="module")
def searched(hwnas, few_digits, tmp_path_factory):
    """A run with two finalists a side, up to the search, and what it said."""
    run = tmp_path_factory.mktemp("finals") / "run"
    done = hwnas("search", *QUICK, *RUN, "--data", few_digits, "--out", run)
    assert done.returncode == 0, done.stderr
    return run, done.stderr


def likelihood_alone(finalist):
    return finalist["alone"]["likelihood"]


def test_the_best_of_both_strategies_are_trained_and_ordered_by_that(searched):
    run, told = searched
    found = read_json(run / "front.json")["finalists"]
    networks, trials = found["networks"], Journal(run / "trials.jsonl").records
    assert found["asked"] == 2
    assert [likelihood_alone(n) for n in networks] == sorted(map(likelihood_alone, networks), reverse=True)
    for strategies in (("evolution",), ("random",)):
        own = sorted((t for t in trials if t["strategy"] in strategies), key=lambda t: -t["likelihood"])
        assert all(best["arch"] in [n["arch"] for n in networks] for best in own[:2])
    assert len(list((run / "finals").glob("*.pt"))) == len(networks)
    assert f"{len(networks)} finalists, each trained for" in told
    assert "of them by the super-network" in told


def test_together_they_cost_no_more_than_the_winners_training(searched):
    networks = read_json(searched[0] / "front.json")["finalists"]["networks"]
    (epochs,) = {n["alone"]["epochs"] for n in networks}
    first = max(networks, key=lambda n: n["likelihood"])
    together = sum(n["macs"] for n in networks)
    assert epochs * together <= 8 * first["macs"] < (epochs + 1) * together
    assert all(len(Journal(p).records) == epochs for p in (searched[0] / "finals").glob("*.jsonl"))


def test_again_it_trains_nothing_and_finds_the_same(hwnas, searched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(searched[0], run)
    done = hwnas("search", "--out", run)
    assert done.returncode == 0, done.stderr
    assert (run / "front.json").read_bytes() == (searched[0] / "front.json").read_bytes()
    assert "training finalist" in searched[1]
    assert "training finalist" not in done.stderr


@pytest.mark.slow
def test_killed_among_finalists_it_ends_with_the_same(hwnas, searched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(searched[0], run)
    (run / "front.json").unlink()
    shutil.rmtree(run / "finals")
    for number in (1, 2):
        with started("search", "--out", run) as (process, stderr):
            assert any(f"training finalist {number} of" in line for line in stderr)
            process.kill()
        assert process.exitcode == -signal.SIGKILL
    done = hwnas("search", "--out", run)
    assert done.returncode == 0, done.stderr
    mine, theirs = (read_json(folder / "front.json") for folder in (run, searched[0]))
    for front in (mine, theirs):
        for finalist in front["finalists"]["networks"]:
            finalist["alone"]["seconds"] = 0
    assert mine == theirs


def test_another_learning_rate_trains_them_anew(hwnas, searched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(searched[0], run)
    done = hwnas("search", "--lr", "0.01", "--out", run)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (run / "finals").glob("*.pt")}
    before = {path.name for path in (searched[0] / "finals").glob("*.pt")}
    assert {name.replace("-lr0.01.", "-lr0.2.") for name in names - before} == before


def test_where_an_epoch_of_each_costs_more_than_the_winner_that_is_told(hwnas, searched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(searched[0], run)
    networks = read_json(run / "front.json")["finalists"]["networks"]
    done = hwnas("search", "--train-epochs", "1", "--out", run)
    assert done.returncode == 0, done.stderr
    cost = sum(n["macs"] for n in networks) / max(networks, key=lambda n: n["likelihood"])["macs"]
    assert cost > 1
    assert f"each trained for 1 of 1 epochs: {cost:.2g} times the training" in done.stderr
    assert "their order is chance" in done.stderr


def test_robust_finalists_are_judged_by_corrupted_images_too(searched):
    run = open_run(searched[0], {})
    splits, module = run.splits(), lambda x: x.flatten(1)[:, : len(run.splits().classes)]
    compute = Compute("cpu")
    plain = finals._judged(run, module, splits, compute)
    both = finals._judged(Run(run.path, replace(run.config, robust=True)), module, splits, compute)
    assert plain == pytest.approx(shared_judged(module, splits.search, run.config.resolution, compute))
    noisy = shared_judged(module, splits.search, run.config.resolution, compute, corrupted)
    assert both.likelihood == pytest.approx((plain.likelihood * noisy.likelihood) ** 0.5)
    assert both.accuracy == pytest.approx((plain.accuracy + noisy.accuracy) / 2)


def test_the_first_of_them_is_delivered_and_the_best_random_one_compared(hwnas, searched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(searched[0], run)
    done = hwnas("select", "--baselines", "none", "--out", run)
    assert done.returncode == 0, done.stderr
    selection, front = read_json(run / "selection.json"), read_json(run / "front.json")
    passed = [attempt["arch"] for attempt in selection["attempts"]]
    left = [n for n in front["finalists"]["networks"] if n["arch"] not in passed]
    assert selection["winner"]["arch"] == left[0]["arch"]
    assert selection["winner"]["supernet_likelihood"] == left[0]["likelihood"]
    assert selection["random"]["arch"] in [n["arch"] for n in left if "random" in n["strategies"]]


def test_other_finalists_than_were_trained_are_an_error_that_says_what_to_do(hwnas, searched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(searched[0], run)
    done = hwnas("select", "--finalists", "3", "--out", run)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        f"hwnas: --finalists is 3, and {run / 'front.json'} was written with 2; run `hwnas search --out {run}` first"
    )
    assert hwnas("search", "--finalists", "1", "--out", run).returncode == 0
    assert read_json(run / "front.json")["finalists"] == {"asked": 1, "networks": []}
    assert hwnas("select", "--baselines", "none", "--out", run).returncode == 0
    assert "--finalists" in hwnas("search", "--finalists", "2", "--out", run).stderr  # selection.json came of the other


def trial(strategy, number, likelihood):
    return {"strategy": strategy, "arch": [number], "likelihood": likelihood, "latency_ms": 1.0}


def test_a_network_that_both_found_is_trained_once(hwnas):
    trials = [
        *(trial("random", 0, 0.5), trial("random", 1, 0.4), trial("random", 2, 0.6)),
        *(trial("evolution", 2, 0.6), trial("evolution", 3, 0.7), trial("evolution", 4, 0.65)),
    ]
    found = finals.finalists(trials, 2)
    assert [(f["arch"], f["strategies"]) for f in found] == [
        *(([3], ["evolution"]), ([4], ["evolution"]), ([2], ["random", "evolution"]), ([0], ["random"])),
    ]


def test_among_those_that_tie_the_largest_are_finalists():
    macs = {0: 30, 1: 20, 2: 10, 3: 40}
    trials = [{**trial("random", n, 0.5 - n / 100), "macs": macs[n]} for n in (0, 1)]
    trials += [{**trial("evolution", n, 0.6 - n / 100), "macs": macs[n]} for n in (2, 3)]
    assert [f["arch"] for f in finals.finalists(trials, 1, 0.0)] == [[2], [0]]
    assert [f["arch"] for f in finals.finalists(trials, 1, 0.1)] == [[3], [0]]


@pytest.mark.parametrize("options", [{"max_million_macs": 1.0}, {"objective": "file-mb", "max_file_mb": 1.0}])
def test_where_multiply_adds_are_limited_or_an_objective_decides_nothing_ties(tmp_path, options):
    trials = [{**trial("random", n, 0.5 - n / 10), "macs": 1} for n in range(3)]
    assert finals.width_of_ties(Run(tmp_path, RunConfig()), trials) > 0
    assert finals.width_of_ties(Run(tmp_path, RunConfig(**options)), trials) is None


def test_what_an_objective_values_decides_among_them(searched, monkeypatch):
    run = searched[0]
    trials = Journal(run / "trials.jsonl").records
    alone = {"accuracy": 0.5, "likelihood": 0.4, "epochs": 1, "seconds": 1.0}
    monkeypatch.setattr(finals, "_trained", lambda *of: alone)
    opened = open_run(run, {})
    found = finals.finals(opened, trials, lambda metrics: (-metrics["macs"],), opened.splits(), Compute("cpu"))
    assert [n["macs"] for n in found] == sorted(n["macs"] for n in found)
    assert all(n["alone"]["worth"] == -n["macs"] for n in found)
