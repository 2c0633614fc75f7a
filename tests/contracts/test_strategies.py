"""What every strategy must do on every space."""

import random
from dataclasses import replace

import pytest

from hwnas.errors import UserError
from hwnas.latency.additive import AdditiveCost
from hwnas.objective import hard_limits
from hwnas.search import STRATEGIES, BatchStrategy, Budget, Limit, one_by_one, search
from hwnas.spaces import SPACES, SpaceConfig, build_space, extremes, op_macs, op_params

TRIALS = 120


@pytest.fixture(params=SPACES)
def space(request):
    return build_space(SpaceConfig(request.param, 64, 10))


def cost_ms(space):
    """(n, decisions) -> (n,)"""
    return AdditiveCost(space, lambda spec: op_macs(spec) / 1e7).of


def at_most(space, budget_ms):
    return Budget(space, (Limit("latency_ms", cost_ms(space), budget_ms),))


def budget_of(space, share=0.4):
    low, high = cost_ms(space)(extremes(space))
    return at_most(space, low + share * (high - low))


def toy(space):
    """Accuracy is the share of choices that agree with a hidden architecture."""
    target = budget_of(space, 0.35).sample(random.Random(9))
    ms = cost_ms(space)
    return one_by_one(
        lambda arch: {
            "accuracy": sum(a == b for a, b in zip(arch, target, strict=True)) / len(arch),
            "latency_ms": float(ms([arch])[0]),
        }
    )


@pytest.mark.parametrize("name", STRATEGIES)
def test_asks_keep_the_budget_and_the_seed_decides(name, space):
    budget = budget_of(space)
    objective = hard_limits(budget.by_metric)
    runs = [search(STRATEGIES[name](budget, seed), toy(space), objective, TRIALS) for seed in (5, 5, 6)]
    for trial in runs[0]:
        space.check(trial.arch)
        assert trial.metrics["latency_ms"] <= budget.by_metric["latency_ms"]
    archs = [[t.arch for t in run] for run in runs]
    assert archs[0] == archs[1] != archs[2]
    assert len(set(archs[0])) == TRIALS  # nothing is evaluated twice


@pytest.mark.parametrize("name", STRATEGIES)
def test_replaying_a_cut_off_search_continues_it_exactly(name, space):
    budget = budget_of(space)
    objective = hard_limits(budget.by_metric)
    whole = search(STRATEGIES[name](budget, 5), toy(space), objective, TRIALS)
    evaluated = []

    def evaluate(archs):
        evaluated.extend(archs)
        return toy(space)(archs)

    again = search(STRATEGIES[name](budget, 5), evaluate, objective, TRIALS, done=whole[:77])
    assert again == whole
    assert evaluated == [t.arch for t in whole[77:]]
    with pytest.raises(ValueError, match="replay differs at trial 0"):
        search(STRATEGIES[name](budget, 6), toy(space), objective, TRIALS, done=whole[:77])


def test_evolution_beats_random_search(space):
    budget = budget_of(space)

    def best(name, seed):
        trials = search(STRATEGIES[name](budget, seed), toy(space), hard_limits(budget.by_metric), 300)
        return max(t.metrics["accuracy"] for t in trials)

    seeds = range(5)
    gain = [best("evolution", s) - best("random", s) for s in seeds]
    assert min(gain) >= 0
    assert sum(gain) / len(gain) > min(0.15, 0.9 / len(space.decisions))  # one decision more, of few


def test_a_budget_few_networks_keep_is_reached_by_repair(space):
    budget = budget_of(space, share=0.02)
    for seed in range(5):
        assert budget.holds(budget.sample(random.Random(seed)))


def test_an_impossible_budget_ends(space):
    with pytest.raises(UserError, match="smallest feasible budget"):
        at_most(space, 1e-9).sample(random.Random(0))


def test_every_limit_is_kept_also_where_they_pull_apart(space):
    """Few parameters and few multiply-adds are not the same networks."""
    millions = [
        Limit("million_macs", AdditiveCost(space, lambda spec: op_macs(spec) / 1e6).of, 0.0),
        Limit("million_params", AdditiveCost(space, lambda spec: op_params(spec) / 1e6).of, 0.0),
    ]
    ends = [x.of(extremes(space)) for x in millions]
    limits = (replace(x, most=low + 0.15 * (high - low)) for x, (low, high) in zip(millions, ends, strict=True))
    budget = Budget(space, tuple(limits))
    for seed in range(5):
        arch = budget.sample(random.Random(seed))
        assert budget.holds(arch)
        assert all(budget.metrics(arch)[metric] <= most for metric, most in budget.by_metric.items())


@pytest.mark.parametrize("name", STRATEGIES)
def test_many_at_once_are_the_same_as_one_after_the_other(name, space):
    budget = budget_of(space)
    objective, metrics = hard_limits(budget.by_metric), toy(space)

    class OneByOne:
        """The strategy without what it can do with many."""

        def __init__(self):
            strategy = STRATEGIES[name](budget, 5)
            self.ask, self.tell = strategy.ask, strategy.tell

    assert isinstance(STRATEGIES[name](budget, 5), BatchStrategy)
    assert not isinstance(OneByOne(), BatchStrategy)
    many = search(STRATEGIES[name](budget, 5), metrics, objective, TRIALS)
    assert search(OneByOne(), metrics, objective, TRIALS) == many


def test_what_is_known_is_not_evaluated_again_and_trials_come_as_they_are_ready(space):
    budget = budget_of(space)
    objective, metrics = hard_limits(budget.by_metric), toy(space)
    whole = search(STRATEGIES["random"](budget, 5), metrics, objective, 60)
    log = []

    def evaluate(archs):
        for arch, found in zip(archs, metrics(archs), strict=True):
            log.append(arch)
            yield found

    known = {t.arch: t.metrics for t in whole[::2]}
    search(STRATEGIES["random"](budget, 5), evaluate, objective, 60, on_trial=lambda t: log.append("done"), known=known)
    fresh = [t.arch for t in whole[1::2]]
    assert log == [entry for arch in fresh for entry in ("done", arch, "done")]
