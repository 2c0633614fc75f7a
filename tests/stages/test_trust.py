"""trust: it measures what it says, goes on network by network, and can be asked for more."""

import json
import shutil
from collections import Counter
from itertools import permutations

import pytest
import torch
from quick import QUICK

from hwnas.spaces import SpaceConfig, build_space, macs
from hwnas.stages import ranking
from hwnas.stages.config import RunConfig
from hwnas.stages.trust import against_random, judged, learnt
from hwnas.storage import Journal, read_json, write_json

RANK = ("trust", "--rank-networks", "3", "--rank-epochs", "1", "--out")


@pytest.fixture(scope="module")
def searched(hwnas, tmp_path_factory):
    """A run up to the search, by a method that trains probabilities."""
    run = tmp_path_factory.mktemp("trust") / "run"
    for stage in ("plan", "profile", "fit", "feasible", "search"):
        method = ("--method", "proxyless", "--supernet-epochs", "2", "--resolution", "16")
        options = (*QUICK, *method) if stage == "plan" else ()
        done = hwnas(stage, *options, "--out", run)
        assert done.returncode == 0, done.stderr
    return run


def test_interrupted_between_two_networks_it_goes_on_with_the_next(hwnas, searched, monkeypatch):
    train, trained = ranking.train_from_scratch, []

    def interrupted(run, record, *options):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(record)
        return train(run, record, *options)

    with monkeypatch.context() as patched:
        patched.setattr(ranking, "train_from_scratch", interrupted)
        done = hwnas(*RANK, searched)
    assert done.returncode == 130
    assert "run the same command again" in done.stderr
    first = {path: path.stat().st_mtime_ns for path in (searched / "trust").glob("*.pt")}
    candidates = Journal(searched / "trust/candidates.jsonl").records
    done = hwnas(*RANK, searched)
    assert done.returncode == 0, done.stderr
    assert len(first) == 2
    assert all(path.stat().st_mtime_ns == then for path, then in first.items())
    assert Journal(searched / "trust/candidates.jsonl").records == candidates
    panel = read_json(searched / "trust.json")
    found = panel["ranking"]
    likelihoods = [network["supernet_likelihood"] for network in found["networks"]]
    everywhere = [candidate["supernet_likelihood"] for candidate in candidates]
    assert (likelihoods[0], likelihoods[-1]) == (min(everywhere), max(everywhere))
    assert len(likelihoods) == 3
    assert -1 <= found["low"] <= found["tau"] <= found["high"] <= 1
    gap = panel["gap"]
    sampled = [t["accuracy"] for t in Journal(searched / "trials.jsonl").records if t["strategy"] == "sampled"]
    assert gap["derived"] == sampled[0]
    assert gap["gap"] == pytest.approx(gap["mixture"] - sampled[0])
    assert len(panel["collapse"]["history"]) == 2
    assert panel["trained"] == {"verdict": "not measured"}


@pytest.fixture
def trained_for(monkeypatch):
    """Epochs and architectures of what would have been trained; the accuracies follow from the architectures."""
    asked = []

    def train(run, record, stem, epochs, *others):
        asked.append((epochs, tuple(record["arch"])))
        accuracy = {key: sum(record["arch"]) / 1000 for key in ("search_accuracy", "test_accuracy")}
        return {**accuracy, "test_images": 100, "seconds": 1.0}

    monkeypatch.setattr(ranking, "train_from_scratch", train)
    return asked


def test_without_being_asked_it_trains_a_few_networks_for_as_much_as_the_winner(hwnas, searched, tmp_path, trained_for):
    run, default = tmp_path / "run", RunConfig()
    shutil.copytree(searched, run)
    options = {"rank_networks": default.rank_networks, "rank_epochs": default.rank_epochs, "train_epochs": 40}
    write_json(run / "config.json", read_json(run / "config.json") | options)
    done = hwnas("trust", "--out", run)
    assert done.returncode == 0, done.stderr
    space = build_space(SpaceConfig("proxyless_small", 16, 10, 0.25))
    best = read_json(run / "front.json")["front"][0]["macs"]
    together = sum(macs(space.ops(arch)) for _, arch in trained_for)
    (epochs,) = {epochs for epochs, _ in trained_for}
    assert len(trained_for) == 5
    assert epochs * together <= 40 * best < (epochs + 1) * together
    assert read_json(run / "trust.json")["ranking"]["epochs"] == epochs


def test_where_that_is_no_epoch_of_each_it_says_so_and_0_trains_none(hwnas, searched, tmp_path, trained_for):
    run = tmp_path / "run"
    shutil.copytree(searched, run, ignore=shutil.ignore_patterns("trust", "trust.json"))
    write_json(run / "config.json", read_json(run / "config.json") | {"rank_networks": 5, "rank_epochs": None})
    assert hwnas("trust", "--out", run).returncode == 0
    found = read_json(run / "trust.json")["ranking"]
    assert found["verdict"] == "not measured"
    assert "an epoch of each of 5 networks costs more than the winner's training of 2 epochs" in found["why"]
    assert hwnas("report", "--out", run).returncode == 0
    assert "`hwnas trust --out RUN --rank-epochs 1` trains them all the same" in (run / "report.html").read_text()
    assert hwnas("trust", "--rank-networks", "0", "--out", run).returncode == 0
    assert read_json(run / "trust.json")["ranking"] == {"verdict": "not measured"}
    assert trained_for == []


def test_of_fewer_networks_than_asked_the_title_counts_those_that_are_trained(hwnas, searched, tmp_path, monkeypatch):
    run, titles, draws = tmp_path / "run", [], ranking.draws
    shutil.copytree(searched, run, ignore=shutil.ignore_patterns("trust", "trust.json"))

    def train(run, record, stem, epochs, title, *others):
        titles.append(title)
        return {"search_accuracy": 0.5, "test_accuracy": 0.5, "test_images": 100, "seconds": 1.0}

    monkeypatch.setattr(ranking, "train_from_scratch", train)
    monkeypatch.setattr(ranking, "draws", lambda *run_and_space: draws(*run_and_space)[:3])
    done = hwnas("trust", "--rank-networks", "5", "--rank-epochs", "1", "--out", run)
    assert done.returncode == 0, done.stderr
    assert titles == ["network 1 of 3", "network 2 of 3", "network 3 of 3"]
    assert hwnas("report", "--out", run).returncode == 0
    assert "all 3 networks have a test accuracy of 0.5000 after 1 epochs" in (run / "report.html").read_text()


def test_without_the_super_network_what_is_left_out_has_its_own_reason_and_what_was_measured_stays(
    hwnas, searched, tmp_path, trained_for
):
    run = tmp_path / "run"
    shutil.copytree(searched, run, ignore=shutil.ignore_patterns("trust", "trust.json"))
    assert hwnas(*RANK, run).returncode == 0
    measured, gone = read_json(run / "trust.json")["ranking"], f"{run / 'supernet.pt'} is gone"
    assert "tau" in measured
    (run / "supernet.pt").unlink()
    for networks in ("3", "0"):
        assert hwnas("trust", "--rank-networks", networks, "--out", run).returncode == 0
        panel = read_json(run / "trust.json")
        assert (panel["ranking"], panel["gap"]["why"]) == (measured, gone)
    epochs = Journal(run / "supernet.jsonl").records
    lines = [{k: v for k, v in epoch.items() if k != "probabilities"} for epoch in epochs]
    lines[-1]["loss"] += 1  # of a method without probabilities, and of another super-network than was ranked
    (run / "supernet.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert hwnas("trust", "--rank-networks", "3", "--out", run).returncode == 0
    panel = read_json(run / "trust.json")
    assert panel["ranking"] == {"verdict": "not measured", "why": gone}
    assert panel["gap"] == {"verdict": "not measured"}


def test_what_several_processes_trained_is_judged_by_one(hwnas, searched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(searched, run)
    torch.save(torch.load(run / "supernet.pt", weights_only=True) | {"processes": 2}, run / "supernet.pt")
    assert "is of 2 processes" in hwnas("search", "--out", run).stderr
    done = hwnas("trust", "--rank-networks", "0", "--out", run)
    assert done.returncode == 0, done.stderr
    assert read_json(run / "trust.json")["gap"]["verdict"] != "not measured"


@pytest.mark.parametrize(
    ("tau", "low", "high", "networks", "verdict"),
    [
        *((0.8, 0.2, 1.0, 5, "good"), (0.4, 0.1, 0.9, 5, "unclear"), (0.8, -0.1, 1.0, 5, "unclear")),
        *((0.0, -0.9, 0.9, 5, "unclear"), (-0.3, -0.9, 0.5, 5, "unclear"), (-0.8, -1.0, 0.0, 5, "bad")),
        *((0.8, -0.1, 0.9, 12, "bad"), (0.3, -0.1, 0.6, 30, "bad")),
    ],
)
def test_few_networks_speak_against_only_with_the_whole_interval(tau, low, high, networks, verdict):
    assert judged({"tau": tau, "low": low, "high": high, "networks": [{}] * networks})["verdict"] == verdict


@pytest.mark.parametrize(("agreement", "verdict"), [(0.2, "unclear"), (0.8, "bad")])
def test_many_networks_speak_against_it_only_where_their_trainings_agree(agreement, verdict):
    found = {"tau": 0.1, "low": -0.2, "high": 0.4, "agreement": agreement, "networks": [{}] * 12}
    assert judged(found)["verdict"] == verdict


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [((0, 1, 2, 3, 4), "good"), ((0, 1, 2, 4, 3), "unclear"), ((3, 4, 0, 2, 1), "unclear"), ((4, 3, 2, 1, 0), "bad")],
)
def test_five_networks_say_little(accuracies, verdict):
    assert _verdict_of(accuracies) == verdict


@pytest.mark.slow
def test_five_networks_say_what_the_documentation_says_they_do():
    """Of all orders of five; each is as likely where the super-network ranks by chance."""
    assert Counter(map(_verdict_of, permutations(range(5)))) == {"good": 1, "unclear": 111, "bad": 8}  # of 120


def _verdict_of(accuracies):
    return judged(ranking.order(_networks(accuracies), 1) | {"networks": [{}] * 5})["verdict"]


def test_where_training_tells_no_network_from_another_there_is_no_order():
    found = judged(ranking.order(_networks([0.1] * 5), 3))
    assert found["verdict"] == "not measured"
    assert found["why"].startswith("all 5 networks have a test accuracy of 0.1000 after 3 epochs, which is no order")


def _networks(accuracies):
    """Networks that the super-network ranks as they stand, with these accuracies by themselves."""
    known = [{"supernet_likelihood": i / 10, "test_accuracy": a} for i, a in enumerate(accuracies)]
    return [{**network, "test_accuracies": [network["test_accuracy"]]} for network in known]


def test_how_far_two_trainings_agree_is_told_beside_the_order_of_their_means(hwnas, searched, tmp_path, monkeypatch):
    run, seeds = tmp_path / "run", []
    shutil.copytree(searched, run, ignore=shutil.ignore_patterns("trust", "trust.json"))

    def train(run, record, stem, epochs, title, *others):
        seeds.append((run.config.seed, stem[-3:], title))
        luck = len(seeds) // 2 * (2 if run.config.seed else -1)  # two trainings in opposite orders
        return {"search_accuracy": 0.5, "test_accuracy": (50 + luck) / 100, "test_images": 100, "seconds": 1.0}

    monkeypatch.setattr(ranking, "train_from_scratch", train)
    options = ("--rank-networks", "4", "--rank-epochs", "1", "--rank-trainings", "2")
    done = hwnas("trust", *options, "--out", run)
    assert done.returncode == 0, done.stderr
    assert seeds[:2] == [(0, "-e1", "network 1 of 4, training 1 of 2"), (1, "-t2", "network 1 of 4, training 2 of 2")]
    found = read_json(run / "trust.json")["ranking"]
    assert found["agreement"] < 0
    for network in found["networks"]:
        assert network["test_accuracy"] == pytest.approx(sum(network["test_accuracies"]) / 2)
        assert network["seconds"] == 2.0
    assert hwnas("report", "--out", run).returncode == 0
    told = f"Each was trained 2 times, and two trainings agree with a tau of {found['agreement']:.2f}"
    assert told in (run / "report.html").read_text()


def test_too_few_networks_for_an_order_are_refused(hwnas, searched):
    done = hwnas("trust", "--rank-networks", "2", "--out", searched)
    assert done.returncode == 1
    assert "--rank-networks is 2; allowed are 0, which measures no order, and 3 or more" in done.stderr


@pytest.mark.parametrize(("best", "verdict"), [(0.9, "good"), (0.6, "unclear"), (0.3, "bad")])
def test_the_best_is_judged_by_what_as_many_random_draws_are_expected_to_have(best, verdict):
    drawn = [{"strategy": "random", "accuracy": 1 - a, "likelihood": a} for a in (0.4, 0.45, 0.5, 0.55, 0.6, 0.62)]
    own = [{"strategy": "evolution", "accuracy": 0.5, "likelihood": a} for a in (0.2, best, 0.1, 0.1, 0.1, 0.1)]
    found = against_random(drawn + own)
    assert found["verdict"] == verdict
    assert found["method"]["best"] == best
    assert 0.4 < found["random"]["mean"] < found["expected_best"]["mean"] < 0.62


def test_random_search_is_compared_with_nothing():
    assert against_random([{"strategy": "random", "accuracy": 0.4}])["verdict"] == "not measured"


@pytest.mark.parametrize(
    ("classes", "best", "verdict", "share"),
    [
        *((10, 0.08, "bad", 0), (10, 0.106, "bad", 0.025), (10, 0.149, "unclear", 0.173), (10, 0.181, "good", 0.258)),
        *((2, 0.52, "bad", 0.057), (2, 0.6, "good", 0.263)),
        *((1000, 0.0011, "bad", 0.014), (1000, 0.01, "good", 0.333)),
    ],
)
def test_a_super_network_that_guesses_is_told_apart(classes, best, verdict, share):
    trials = [{"accuracy": 0.3, "likelihood": likelihood} for likelihood in (best / 2, best)]
    found = learnt(trials, classes)
    assert (found["verdict"], found["best"], found["guessing"]) == (verdict, best, 1 / classes)
    assert found["share"] == pytest.approx(share, abs=0.001)
