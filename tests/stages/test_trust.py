"""trust: it measures what it says, goes on network by network, and can be asked for more."""

import shutil

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
        options = (*QUICK, "--resolution", "16", "--method", "proxyless") if stage == "plan" else ()
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
    shutil.copytree(searched, run)
    write_json(run / "config.json", read_json(run / "config.json") | {"rank_networks": 5, "rank_epochs": None})
    assert hwnas("trust", "--out", run).returncode == 0
    found = read_json(run / "trust.json")["ranking"]
    assert found["verdict"] == "not measured"
    assert "an epoch of each of 5 networks costs more than the winner's training of 2 epochs" in found["why"]
    assert hwnas("report", "--out", run).returncode == 0
    assert "`hwnas trust --out RUN --rank-epochs 1` trains them all the same" in (run / "report.html").read_text()
    (run / "supernet.pt").unlink()
    assert hwnas("trust", "--out", run).returncode == 0
    assert "supernet.pt is gone" in read_json(run / "trust.json")["gap"]["why"]
    assert hwnas("trust", "--rank-networks", "0", "--out", run).returncode == 0
    assert trained_for == []


def test_what_several_processes_trained_is_judged_by_one(hwnas, searched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(searched, run)
    torch.save(torch.load(run / "supernet.pt", weights_only=True) | {"processes": 2}, run / "supernet.pt")
    assert "is of 2 processes" in hwnas("search", "--out", run).stderr
    done = hwnas("trust", "--rank-networks", "0", "--out", run)
    assert done.returncode == 0, done.stderr
    assert read_json(run / "trust.json")["gap"]["verdict"] != "not measured"


@pytest.mark.parametrize(
    ("tau", "low", "networks", "verdict"),
    [
        *((0.8, 0.2, 5, "good"), (0.4, 0.1, 5, "unclear"), (0.8, -0.1, 5, "unclear"), (0.8, -0.1, 12, "bad")),
        *((0.0, -0.9, 5, "bad"), (-0.3, -0.9, 5, "bad"), (0.3, -0.1, 30, "bad")),
    ],
)
def test_few_networks_in_about_the_right_order_speak_neither_for_nor_against(tau, low, networks, verdict):
    assert judged({"tau": tau, "low": low, "networks": [{}] * networks})["verdict"] == verdict


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
