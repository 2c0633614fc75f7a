"""Candidates of trained probabilities keep the limits, and use them."""

import math
import random

import pytest

from hwnas.latency.additive import AdditiveCost
from hwnas.search import Budget, FromProbabilities, Limit
from hwnas.spaces import SPACES, SpaceConfig, build_space, extremes, op_macs


@pytest.fixture(params=SPACES)
def space(request):
    return build_space(SpaceConfig(request.param, 64, 10))


def budget_of(space, share):
    cost_ms = AdditiveCost(space, lambda spec: op_macs(spec) / 1e7).of
    low, high = cost_ms(extremes(space))
    return Budget(space, (Limit("latency_ms", cost_ms, low + share * (high - low)),))


def near(space):
    """How much of a budget the first candidate may leave: a space of few networks has none so near."""
    return 0.03 if space.size > 100_000 else 0.45


def random_probabilities(space, seed, sharpness):
    rng = random.Random(seed)
    weights = [[math.exp(sharpness * rng.random()) for _ in d.choices] for d in space.decisions]
    return [[w / sum(choices) for w in choices] for choices in weights]


@pytest.mark.parametrize("share", [0.15, 0.4, 0.8])
@pytest.mark.parametrize("sharpness", [0.1, 3.0])
def test_the_first_lands_on_the_budget_and_all_keep_it(space, share, sharpness):
    budget = budget_of(space, share)
    strategy = FromProbabilities(budget, 0, random_probabilities(space, 1, sharpness))
    archs = [strategy.ask() for _ in range(20)]
    assert -near(space) <= budget.excess(archs)[0] <= 0
    assert all(budget.holds(arch) for arch in archs)
    assert len(set(archs)) >= 17  # few networks keep the tightest of these budgets


def test_what_is_certain_and_fits_is_taken(space):
    arch = space.sample(random.Random(0))
    cost_ms = AdditiveCost(space, lambda spec: op_macs(spec) / 1e7).of
    budget = Budget(space, (Limit("latency_ms", cost_ms, 1.01 * float(cost_ms([arch])[0])),))
    certain = [
        [float(c == chosen) for c in range(len(d.choices))] for d, chosen in zip(space.decisions, arch, strict=True)
    ]
    assert FromProbabilities(budget, 0, certain).ask() == arch


def test_no_single_change_is_likelier_and_as_near(space):
    budget, probabilities = budget_of(space, 0.4), random_probabilities(space, 2, 2.0)
    strategy = FromProbabilities(budget, 0, probabilities)
    first = strategy.most_likely()

    def likelihood(arch):
        return sum(math.log(p[c]) for p, c in zip(probabilities, arch, strict=True))

    for d, decision in enumerate(space.decisions):
        for choice in range(len(decision.choices)):
            other = (*first[:d], choice, *first[d + 1 :])
            assert likelihood(other) <= likelihood(first) + 1e-9 or not -0.03 <= budget.excess(other)[0] <= 0


def test_the_seed_decides(space):
    budget, probabilities = budget_of(space, 0.4), random_probabilities(space, 3, 1.0)
    runs = [
        [s.ask() for _ in range(10)] for s in (FromProbabilities(budget, seed, probabilities) for seed in (1, 1, 2))
    ]
    assert runs[0] == runs[1] != runs[2]


def test_samples_come_from_the_drawing_where_one_is_given(space):
    budget, drawn = budget_of(space, 0.8), []
    probabilities = random_probabilities(space, 4, 1.0)
    common = FromProbabilities(budget, 0, probabilities).most_likely()

    def draw(number):
        drawn.append(space.mutate(common, random.Random(number), 0.0))
        return drawn[-1]

    strategy = FromProbabilities(budget, 0, probabilities, draw)
    assert strategy.ask() == common
    asked = [strategy.ask() for _ in range(5)]
    kept = [arch for arch in dict.fromkeys(drawn) if budget.holds(arch)]
    assert set(kept) <= set(asked)
    assert drawn
