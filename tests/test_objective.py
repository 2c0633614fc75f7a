"""Rewards and fronts."""

import pytest

from hwnas.objective import accuracy_and_latency, hard_limits, pareto_front, soft_budget


def test_hard_limits_put_every_violation_below_every_accuracy():
    scores = hard_limits({"latency_ms": 10.0})
    assert scores({"accuracy": 0.0, "latency_ms": 10.0}) > scores({"accuracy": 1.0, "latency_ms": 10.001})
    assert scores({"accuracy": 1.0, "latency_ms": 11.0}) > scores({"accuracy": 1.0, "latency_ms": 12.0})


def test_the_worst_violation_counts():
    scores = hard_limits({"latency_ms": 10.0, "file_mb": 4.0})
    assert scores({"accuracy": 0.5, "latency_ms": 10.0, "file_mb": 4.0}) == (0.5,)
    assert scores({"accuracy": 0.5, "latency_ms": 11.0, "file_mb": 6.0}) == (-0.5,)


def test_soft_budget_pays_five_percent_for_a_doubling():
    reward = soft_budget(80.0)
    slow, fast = reward({"accuracy": 0.75 * 1.05, "latency_ms": 160.0}), reward({"accuracy": 0.75, "latency_ms": 80.0})
    assert slow[0] == pytest.approx(fast[0], rel=0.001)


def test_the_front_keeps_what_nothing_dominates():
    points = [(0.9, 5.0), (0.8, 4.0), (0.85, 6.0), (0.7, 4.0), (0.6, 1.0), (0.9, 5.0)]
    candidates = [{"accuracy": a, "latency_ms": ms} for a, ms in points]
    front = pareto_front(candidates, accuracy_and_latency)
    assert [(c["accuracy"], c["latency_ms"]) for c in front] == [(0.9, 5.0), (0.8, 4.0), (0.6, 1.0)]
