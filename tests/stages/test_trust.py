"""trust: it measures what it says, goes on network by network, and can be asked for more."""

import pytest
from quick import QUICK

from hwnas.stages import ranking
from hwnas.stages.trust import against_random, learnt
from hwnas.storage import Journal, read_json

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
