"""Search strategies where the truth is known: NAS-Bench-Macro and NAS-Bench-201, as their authors trained them."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hwnas.latency.additive import AdditiveCost
from hwnas.objective import hard_limits
from hwnas.search import Budget, Evolution, EvolutionConfig, Limit, RandomSearch, one_by_one, search
from hwnas.spaces import SpaceConfig, build_space, op_macs
from hwnas.spaces.nas_bench_201 import from_string

DATA = Path(__file__).parents[3] / "shared/data"
MACRO = DATA / "nas_bench_macro/nas_bench_macro_cifar10.csv"
CELLS, STRINGS = DATA / "nasbench201/nb201_accuracy.npz", DATA / "nasbench201/nb201_archs.csv"
DIGITS = ("skip", "k3e3", "k5e6")
SEEDS = 10
pytestmark = pytest.mark.skipif(not (MACRO.exists() and CELLS.exists()), reason="the published tables are not at hand")


def truth_of_macro(space):
    with MACRO.open() as file:
        rows = list(csv.DictReader(file))
    archs = [space.from_names(tuple(DIGITS[int(d)] for d in row["arch"])) for row in rows]
    return {arch: (float(r["mean_acc"]), int(r["flops"]) / 1e6) for arch, r in zip(archs, rows, strict=True)}


def truth_of_cells(space):
    """Test accuracy on CIFAR-10 after 200 epochs."""
    with STRINGS.open() as file:
        archs = [from_string(space, row["arch_str"]) for row in csv.DictReader(file)]
    with np.load(CELLS) as tables:
        accuracies = tables["test_acc_200ep"][:, 0].tolist()
    millions = (AdditiveCost(space, op_macs).of(archs) / 1e6).tolist()
    return dict(zip(archs, zip(accuracies, millions, strict=True), strict=True))


@pytest.fixture(scope="module")
def macro():
    return truth_of_macro(build_space(SpaceConfig("nas_bench_macro", 32, 10)))


@pytest.fixture(scope="module")
def cells():
    return truth_of_cells(build_space(SpaceConfig("nas_bench_201", 32, 10)))


def budget_of(name, truth, share):
    """That so many of the networks keep."""
    most = float(np.quantile([millions for _, millions in truth.values()], share))
    limit = Limit("million_macs", lambda archs: millions_of(archs, truth), most)
    return Budget(build_space(SpaceConfig(name, 32, 10)), (limit,))


def millions_of(archs, truth):
    return np.array([truth[tuple(arch)][1] for arch in archs.tolist()])


def best_of(strategy, budget, truth, evaluations):
    def evaluate(arch):
        return {"accuracy": truth[arch][0], "million_macs": truth[arch][1]}

    trials = search(strategy, one_by_one(evaluate), hard_limits(budget.by_metric), evaluations)
    return max(trial.metrics["accuracy"] for trial in trials)


def evolved(budget, truth, evaluations):
    """(best accuracies by seed, the shares of the networks within the budget that are better)."""
    within = np.sort([accuracy for arch, (accuracy, _) in truth.items() if budget.holds(arch)])
    config = EvolutionConfig(population=20, parents=5)
    found = [best_of(Evolution(budget, seed, config), budget, truth, evaluations) for seed in range(SEEDS)]
    return np.array(found), [float((within > accuracy).mean()) for accuracy in found]


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_evolution_finds_the_top_and_beats_random_search(macro, share):
    budget = budget_of("nas_bench_macro", macro, share)
    found, ranks = evolved(budget, macro, 100)
    drawn = np.array([best_of(RandomSearch(budget, 100 + seed), budget, macro, 100) for seed in range(SEEDS)])
    assert max(ranks) <= 0.05
    assert np.median(ranks) <= 0.005
    gain = found - drawn
    assert gain.mean() - 1.83 * gain.std(ddof=1) / np.sqrt(SEEDS) > 0  # one-sided 95 % by Student's t, 9 degrees


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_evolution_finds_the_top_of_the_cells(cells, share):
    """With 300 evaluations: with 100 it is no better than random search, six decisions being few."""
    _, ranks = evolved(budget_of("nas_bench_201", cells, share), cells, 300)
    assert max(ranks) <= 0.05
    assert np.median(ranks) <= 0.005
