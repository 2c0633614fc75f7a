"""Every method searches on the command line, keeps the budget, and survives a kill in the middle."""

import itertools
import json
import shutil
import signal

import pytest
from quick import QUICK, started

from hwnas.search import METHODS, Probabilities
from hwnas.spaces import SpaceConfig, build_space, macs
from hwnas.storage import Journal, read_json


@pytest.fixture(scope="module")
def feasible(hwnas, few_digits, tmp_path_factory):
    """A run directory up to the budget."""
    run = tmp_path_factory.mktemp("feasible") / "run"
    for stage in ("plan", "profile", "fit", "feasible"):
        done = hwnas(stage, *QUICK, "--data", few_digits, "--out", run)
        assert done.returncode == 0, done.stderr
    return run


# As slow as there are choices; tiny ones run in tests/contracts.
COSTLY = ("darts", "darts-second-order", "fbnet", "fairnas", "sandwich")
EACH = [pytest.param(name, marks=pytest.mark.slow if name in COSTLY else ()) for name in METHODS]


@pytest.mark.parametrize("method", EACH)
def test_it_searches_and_keeps_the_budget(hwnas, feasible, tmp_path, method):
    run = tmp_path / "run"
    shutil.copytree(feasible, run)
    done = hwnas("search", "--method", method, "--out", run)
    assert done.returncode == 0, done.stderr
    budget_ms, trials = read_json(run / "feasible.json")["budget_ms"], Journal(run / "trials.jsonl").records
    own = METHODS[method].candidates
    assert [t["strategy"] for t in trials] == ["random"] * 8 + ([own] * 8 if own != "random" else [])
    assert all(t["latency_upper_ms"] <= budget_ms for t in trials)
    epochs = Journal(run / "supernet.jsonl").records
    assert all(("probabilities" in epoch) == isinstance(METHODS[method].trains, Probabilities) for epoch in epochs)
    if own == "sampled":
        assert trials[8]["latency_upper_ms"] >= 0.97 * budget_ms  # the first candidate uses what it may
        assert f"landed on a network that is predicted at {trials[8]['latency_ms']:.4g} ms" in done.stderr or (
            "the network that the trained probabilities landed on" in done.stderr
        )
    done = hwnas("search", "--method", "spos" if method != "spos" else "random", "--out", run)
    assert done.returncode == 1
    assert "--method is" in done.stderr


def test_a_search_begins_a_run_and_does_what_is_missing(hwnas, few_digits, tmp_path):
    pairs = [pair for pair in zip(QUICK[::2], QUICK[1::2], strict=True) if pair[0] != "--budget-of-median"]
    options = ("--method", "gdas", "--space", "nas_bench_macro", *itertools.chain(*pairs), "--data", few_digits)
    done = hwnas("search", *options, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("==")] == [
        f"== {stage}" for stage in ("plan", "profile", "fit", "feasible")
    ]
    found = read_json(tmp_path / "run/feasible.json")
    assert found["budget_ms"] == found["median_ms"]
    assert "the budget is the median network's" in done.stderr
    assert read_json(tmp_path / "run/front.json")["front"]


@pytest.mark.parametrize("method", ["spos", "proxyless"])
def test_candidates_use_as_much_of_the_budget_as_is_asked(hwnas, feasible, tmp_path, method):
    run = tmp_path / "run"
    shutil.copytree(feasible, run)
    (run / "feasible.json").unlink()
    for stage, options in (("feasible", ("--budget-use", "0.97")), ("search", ("--method", method))):
        done = hwnas(stage, *options, "--out", run)
        assert done.returncode == 0, done.stderr
    found, trials = read_json(run / "feasible.json"), Journal(run / "trials.jsonl").records
    assert found["share_within"] < 0.2
    assert len(trials) == 16
    shares = [t["latency_upper_ms"] / found["budget_ms"] for t in trials]
    assert 0.97 <= min(shares) <= max(shares) <= 1


@pytest.mark.parametrize(("method", "reward"), [("spos", "mnasnet-soft"), ("enas", "tunas-absolute")])
def test_a_reward_decides_within_the_limits(hwnas, feasible, tmp_path, method, reward):
    run = tmp_path / "run"
    shutil.copytree(feasible, run)
    done = hwnas("search", "--method", method, "--reward", reward, "--supernet-epochs", "1", "--out", run)
    assert done.returncode == 0, done.stderr
    budget_ms, trials = read_json(run / "feasible.json")["budget_ms"], Journal(run / "trials.jsonl").records
    assert all(t["latency_upper_ms"] <= budget_ms for t in trials)
    records = Journal(run / "supernet.jsonl").records
    assert all(record.get("latency_weight", 0.0) == 0.0 for record in records)  # the reward's work
    done = hwnas("search", "--reward", "hard", "--out", run)
    assert done.returncode == 1
    assert "--reward is" in done.stderr


@pytest.mark.parametrize(("method", "reward"), [("spos", "mnasnet-soft"), ("proxyless-rl", "tunas-absolute")])
def test_what_an_objective_finds_worth_most_is_delivered(hwnas, feasible, tmp_path, method, reward):
    run = tmp_path / "run"
    shutil.copytree(feasible, run)
    most = sorted(_millions(run))[-2]
    chosen = ("--objective", "million-macs", "--max-million-macs", most, "--reward", reward, "--method", method)
    (run / "feasible.json").unlink()
    done = hwnas("feasible", *chosen, "--supernet-epochs", "1", "--out", run)
    assert done.returncode == 0, done.stderr
    done = hwnas("search", "--out", run)
    assert done.returncode == 0, done.stderr
    trials, front = Journal(run / "trials.jsonl").records, read_json(run / "front.json")["front"]
    for t in trials:
        share = t["million_macs"] / most
        asked = t["likelihood"] * share**-0.07 if reward == "mnasnet-soft" else t["likelihood"] - 0.1 * abs(share - 1)
        assert t["worth"] == pytest.approx(asked)
        assert share <= 1
    assert front[0]["worth"] == max(t["worth"] for t in trials)
    assert f"at million_macs {front[0]['million_macs']:.4g}" in done.stderr
    assert hwnas("select", "--out", run).returncode == 0
    attempts = read_json(run / "selection.json")["attempts"]
    assert read_json(run / "selection.json")["winner"]["arch"] == front[len(attempts)]["arch"]
    assert hwnas("report", "--out", run).returncode == 0
    page = (run / "report.html").read_text()
    assert 'id="goal-million_macs"' in page
    assert f"The objective is worth ({reward} of million_macs)" in page


def _millions(run):
    """Of the calibration networks, millions of multiply-adds."""
    space = build_space(SpaceConfig("proxyless_small", 32, 10, 0.25))
    networks = read_json(run / "predictor.json")["networks"]
    return [macs(space.ops(tuple(network["arch"]))) / 1e6 for network in networks]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--objective", "speed"), "--objective names 'speed'; allowed are latency, file-mb, peak-memory-mb, million-"),
        (("--objective", ","), "--objective is ','; allowed are latency"),
        (("--objective", "file-mb", "--reward", "mnasnet-soft"), "names file-mb, and no --max-file-mb says what of it"),
        (("--objective", "cost", "--reward", "mnasnet-soft"), "names cost, and no --max-cost says what of it is too"),
        (
            ("--objective", "latency"),
            "--reward hard weighs nothing beside accuracy with --method spos; give",
        ),
        (
            ("--objective", "latency", "--reward", "mnasnet-hard"),
            "--reward mnasnet-hard weighs nothing beside",
        ),
        (("--objective", "latency", "--reward", "mnasnet-soft", "--method", "fbnet"), "nothing in --method fbnet asks"),
    ],
)
def test_an_objective_that_means_nothing_is_refused(hwnas, tmp_path, options, told):
    done = hwnas("plan", *QUICK, *options, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert told in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_reward_that_nothing_asks_for_is_refused(hwnas, tmp_path):
    for method in ("darts", "random"):
        done = hwnas("plan", *QUICK, "--method", method, "--reward", "tunas-absolute", "--out", tmp_path / "run")
        assert done.returncode == 1
        assert f"nothing in --method {method} asks what a network is worth" in done.stderr
    done = hwnas("plan", *QUICK, "--reward", "praise", "--out", tmp_path / "run")
    assert "--reward is 'praise'; allowed are hard, mnasnet-soft" in done.stderr


def test_a_latency_loss_is_searched_with_and_kept(hwnas, feasible, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(feasible, run)
    chosen = ("--method", "gdas", "--latency-loss", "log-product", "--latency-exponent", "0.3")
    done = hwnas("search", *chosen, "--supernet-epochs", "1", "--out", run)
    assert done.returncode == 0, done.stderr
    config, epochs = read_json(run / "config.json"), Journal(run / "supernet.jsonl").records
    assert (config["latency_loss"], config["latency_exponent"]) == ("log-product", 0.3)
    assert all(epoch["latency_weight"] == 0.0 for epoch in epochs)  # that of the adaptive one
    for option, value in (("--latency-loss", "adaptive"), ("--latency-exponent", "0.6")):
        done = hwnas("search", option, value, "--out", run)
        assert done.returncode == 1
        assert f"{option} is" in done.stderr
        assert "supernet.pt came of it" in done.stderr


def test_another_latency_loss_has_its_own_number(hwnas, feasible, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(feasible, run)
    chosen = ("--method", "darts", "--latency-loss", "linear", "--latency-weight", "0.2")
    assert hwnas("plan", *chosen, "--out", run).returncode == 0
    assert hwnas("plan", "--latency-loss", "log-product", "--out", run).returncode == 0
    config = read_json(run / "config.json")
    assert (config["latency_loss"], config["latency_weight"], config["latency_exponent"]) == ("log-product", None, None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--latency-loss", "cubic"), "--latency-loss is 'cubic'; allowed are adaptive, linear, absolute, log-product"),
        (("--method", "spos", "--latency-loss", "linear"), "--method spos trains nothing on a latency"),
        (("--method", "enas", "--latency-loss", "log-product"), "multiplies a cross-entropy, and --method enas has no"),
        (
            ("--method", "enas", "--latency-loss", "linear", "--reward", "tunas-absolute"),
            "with a reward the latency is in no loss; give --latency-loss adaptive or --reward hard",
        ),
        (("--method", "darts", "--latency-weight", "1"), "--latency-weight is of --latency-loss linear or absolute"),
        (
            ("--method", "darts", "--latency-loss", "linear", "--latency-exponent", "1"),
            "--latency-exponent is of --latency-loss log-product, and that is linear; leave it out",
        ),
        (
            ("--method", "darts", "--latency-loss", "linear", "--latency-weight", "0"),
            "--latency-weight is 0.0; allowed",
        ),
    ],
)
def test_a_latency_loss_that_means_nothing_is_refused(hwnas, tmp_path, options, told):
    done = hwnas("plan", *QUICK, *options, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert told in done.stderr
    assert not (tmp_path / "run").exists()


def test_killed_in_the_middle_probabilities_go_on_as_they_would_have(hwnas, feasible, tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    for run in (whole, part):
        shutil.copytree(feasible, run)
    arguments = ("search", "--method", "proxyless", "--supernet-epochs", "3", "--out")
    assert hwnas(*arguments, whole).returncode == 0
    with started(*arguments, part) as (process, stderr):
        assert any("training the super-network: 2 of" in line for line in stderr)
        process.kill()
    assert process.exitcode == -signal.SIGKILL
    assert hwnas(*arguments, part).returncode == 0
    assert Journal(part / "trials.jsonl").records == Journal(whole / "trials.jsonl").records
    mine, theirs = ([{**r, "seconds": 0} for r in Journal(run / "supernet.jsonl").records] for run in (part, whole))
    assert mine == theirs


def test_an_unknown_method_is_named_with_what_is_allowed(hwnas, tmp_path):
    done = hwnas("plan", *QUICK, "--method", "magic", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "--method is 'magic'; allowed are spos, " in done.stderr


def test_the_methods_are_listed_with_paper_and_cost(hwnas):
    done = hwnas("methods")
    assert done.returncode == 0
    for name, method in METHODS.items():
        assert f"{name}: {method.paper}" in done.stdout


@pytest.fixture(scope="module")
def tying(hwnas, feasible, tmp_path_factory):
    """A search so near to chance that a width of five deviations takes all of its candidates for equal."""
    run = tmp_path_factory.mktemp("tying") / "run"
    shutil.copytree(feasible, run)
    done = hwnas("search", "--tie-share", "5", "--out", run)
    assert done.returncode == 0, done.stderr
    return run, done.stderr


def test_of_what_the_super_network_cannot_tell_apart_the_largest_is_delivered(hwnas, tying, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tying[0], run)
    trials, front = Journal(run / "trials.jsonl").records, read_json(run / "front.json")
    different = {tuple(t["arch"]) for t in trials}
    assert f"{len(different)} candidates, of likelihoods from" in tying[1]
    assert front["ties"]["least"] == min(t["likelihood"] for t in trials)
    for kind, among in (("all", trials), ("random", [t for t in trials if t["strategy"] == "random"])):
        ties = front["ties"][kind]
        assert ties[0]["macs"] == max(t["macs"] for t in among)
        assert all(a["macs"] > b["macs"] and a["latency_ms"] > b["latency_ms"] for a, b in itertools.pairwise(ties))
    done = hwnas("select", "--baselines", "none", "--out", run)
    assert done.returncode == 0, done.stderr
    selection = read_json(run / "selection.json")
    ordered = [*front["ties"]["all"], *front["front"]]
    assert selection["winner"]["arch"] == ordered[len(selection["attempts"])]["arch"]
    assert hwnas("report", "--out", run).returncode == 0
    told = f"From {front['ties']['least']:.4f} on the super-network cannot tell them apart"
    assert told in (run / "report.html").read_text()


def test_without_ties_the_likeliest_is_delivered(hwnas, tying, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tying[0], run)
    done = hwnas("select", "--tie-share", "0", "--out", run)
    assert f"--tie-share is 0.0, and {run / 'front.json'} was written with 5.0; run `hwnas search" in done.stderr
    done = hwnas("search", "--out", run)
    assert done.returncode == 0, done.stderr
    assert "too close for the super-network" not in done.stderr
    front = read_json(run / "front.json")
    assert front["ties"]["all"] == front["front"][:1]
    (run / "front.json").write_text(json.dumps({"front": front["front"], "random_front": front["random_front"]}))
    done = hwnas("select", "--baselines", "none", "--out", run)  # as an earlier version wrote it
    assert done.returncode == 0, done.stderr
    selection = read_json(run / "selection.json")
    assert selection["winner"]["arch"] == front["front"][len(selection["attempts"])]["arch"]
    assert "--tie-share" in hwnas("search", "--tie-share", "1", "--out", run).stderr  # selection.json came of 0


@pytest.mark.parametrize("share", ["-0.1", "nan", "inf"])
def test_a_share_that_means_nothing_is_refused(hwnas, tmp_path, share):
    done = hwnas("plan", *QUICK, "--tie-share", share, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "--tie-share is" in done.stderr
    assert "allowed is 0" in done.stderr
