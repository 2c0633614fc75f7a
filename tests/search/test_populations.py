"""Many architectures at once: legal, as often as told, and within the limits."""

import numpy as np
import pytest

from hwnas.errors import UserError
from hwnas.search import Budget, Limit, constraint
from hwnas.search.populations import crossed, drawn, mutated, sizes_of
from hwnas.spaces import SpaceConfig, build_space

SPACE = build_space(SpaceConfig("proxyless_small", 32, 4))
SIZES = sizes_of(SPACE)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_draws_are_uniform(rng):
    archs = drawn(SPACE, 7000, rng)
    for column, size in zip(archs.T, SIZES, strict=True):
        counts = np.bincount(column, minlength=size)
        assert len(counts) == size
        assert abs(counts * size / len(archs) - 1).max() < 0.2


@pytest.mark.parametrize("probability", [0.0, 0.1, 1.0])
def test_of_each_mutant_at_least_one_decision_changes_and_as_many_as_told(rng, probability):
    archs = drawn(SPACE, 4000, rng)
    mutants = mutated(SPACE, archs, probability, rng)
    assert (mutants < SIZES).all()
    changed = (mutants != archs).sum(axis=1)
    decisions = len(SIZES)
    expected = probability * decisions + (1 - probability) ** decisions
    assert changed.min() >= 1
    assert changed.mean() == pytest.approx(expected, rel=0.1)


def test_children_have_two_different_parents(rng):
    parents = np.arange(5, dtype=np.uint8)[:, None].repeat(len(SIZES), axis=1)
    children = crossed(parents, 2000, rng)
    assert {len(set(child)) for child in children.tolist()} <= {1, 2}
    assert np.mean([len(set(child)) == 2 for child in children.tolist()]) > 0.9


def test_repaired_rows_keep_the_limit_and_those_that_did_are_not_touched(rng):
    budget = Budget(SPACE, (Limit("total", lambda archs: archs.sum(axis=1).astype(float), 3.0),))
    archs = budget.samples(300, rng)  # hardly one of a million draws
    assert archs.shape == (300, len(SIZES))
    assert archs.sum(axis=1).max() <= 3
    kept = tuple(archs[0].tolist())
    assert budget.repair(kept, rng) == kept


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_what_uses_too_little_of_a_limit_is_repaired_as_what_uses_too_much(rng, share):
    """A band that hardly one of 10,000 draws is in: nearly all are above it, or below."""
    cost = np.sort(10 ** np.random.default_rng(1).random((len(SIZES), max(SIZES))), axis=1)

    def costs(archs):
        return cost[np.arange(len(SIZES)), archs].sum(axis=1)

    smallest, largest = costs(np.stack([np.zeros_like(SIZES), SIZES - 1]))
    most = smallest + share * (largest - smallest)
    budget = Budget(SPACE, (Limit("cost", costs, most, 0.998 * most),))
    repaired = np.array([budget.repair(tuple(arch), rng) for arch in drawn(SPACE, 3, rng).tolist()])
    for found in (costs(budget.samples(50, rng)), costs(repaired)):
        assert ((0.998 * most <= found) & (found <= most)).all()


def test_nothing_is_repaired_where_the_last_round_of_draws_is_enough(rng, monkeypatch):
    monkeypatch.setattr(constraint, "ROUNDS", 1)
    monkeypatch.setattr(Budget, "_repaired", None)
    budget = Budget(SPACE, (Limit("total", lambda archs: archs.sum(axis=1).astype(float), 1000.0),))
    assert budget.samples(5, rng).shape == (5, len(SIZES))


def test_a_limit_that_nothing_keeps_ends(rng):
    with pytest.raises(UserError, match="smallest feasible budget"):
        Budget(SPACE, (Limit("total", lambda archs: archs.sum(axis=1) + 1.0, 0.5),)).samples(3, rng)
