"""Search strategies where the truth is known: all networks of NAS-Bench-Macro, as its authors trained them."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hwnas.objective import hard_limits
from hwnas.search import Budget, Evolution, EvolutionConfig, Limit, RandomSearch, one_by_one, search
from hwnas.spaces import SpaceConfig, build_space

TABLE = Path(__file__).parents[3] / "shared/data/nas_bench_macro/nas_bench_macro_cifar10.csv"
DIGITS = ("skip", "k3e3", "k5e6")
SPACE = build_space(SpaceConfig("nas_bench_macro", 32, 10))
EVALUATIONS, SEEDS = 100, 10
pytestmark = pytest.mark.skipif(not TABLE.exists(), reason="the published table is not at hand")


@pytest.fixture(scope="module")
def truth():
    """(accuracy, million multiply-adds) by architecture."""
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    archs = [SPACE.from_names(tuple(DIGITS[int(d)] for d in row["arch"])) for row in rows]
    return {arch: (float(r["mean_acc"]), int(r["flops"]) / 1e6) for arch, r in zip(archs, rows, strict=True)}


@pytest.fixture(scope="module", params=[0.3, 0.6])
def budget(request, truth):
    """That so many of the networks keep."""
    most = float(np.quantile([millions for _, millions in truth.values()], request.param))
    return Budget(SPACE, (Limit("million_macs", lambda archs: millions(archs, truth), most),))


def millions(archs, truth):
    return np.array([truth[tuple(arch)][1] for arch in archs.tolist()])


def best_of(strategy, budget, truth):
    def evaluate(arch):
        return {"accuracy": truth[arch][0], "million_macs": truth[arch][1]}

    trials = search(strategy, one_by_one(evaluate), hard_limits(budget.by_metric), EVALUATIONS)
    return max(trial.metrics["accuracy"] for trial in trials)


def test_evolution_finds_the_top_and_beats_random_search(budget, truth):
    within = np.sort([accuracy for arch, (accuracy, _) in truth.items() if budget.holds(arch)])
    config = EvolutionConfig(population=20, parents=5)
    evolved = np.array([best_of(Evolution(budget, seed, config), budget, truth) for seed in range(SEEDS)])
    drawn = np.array([best_of(RandomSearch(budget, 100 + seed), budget, truth) for seed in range(SEEDS)])
    ranks = [float((within > accuracy).mean()) for accuracy in evolved]
    assert max(ranks) <= 0.05
    assert np.median(ranks) <= 0.005
    gain = evolved - drawn
    assert gain.mean() - 1.83 * gain.std(ddof=1) / np.sqrt(SEEDS) > 0  # one-sided 95 % by Student's t, 9 degrees
