"""Rewards and fronts."""

import pytest

from hwnas.objective import REWARDS, goals, hard_limits, metric_of, named, pareto_front, quality, worth


def test_hard_limits_put_every_violation_below_every_accuracy():
    scores = hard_limits({"latency_ms": 10.0})
    assert scores({"accuracy": 0.0, "latency_ms": 10.0}) > scores({"accuracy": 1.0, "latency_ms": 10.001})
    assert scores({"accuracy": 1.0, "latency_ms": 11.0}) > scores({"accuracy": 1.0, "latency_ms": 12.0})


def test_the_worst_violation_counts():
    scores = hard_limits({"latency_ms": 10.0, "file_mb": 4.0})
    assert scores({"accuracy": 0.5, "latency_ms": 10.0, "file_mb": 4.0}) == (0.5,)
    assert scores({"accuracy": 0.5, "latency_ms": 11.0, "file_mb": 6.0}) == (-0.5,)


def test_what_is_likelier_ranks_higher_also_where_fewer_images_are_right():
    sure, unsure = {"accuracy": 0.5, "likelihood": 0.4}, {"accuracy": 0.6, "likelihood": 0.3}
    assert quality(sure) > quality(unsure)
    assert quality({"accuracy": 0.6}) == 0.6  # of a table, which tells no more
    for reward in REWARDS.values():
        scores = reward({"latency_ms": 1.0}, ())
        assert scores({**sure, "latency_ms": 1.0}) > scores({**unsure, "latency_ms": 1.0})
    front = pareto_front([{**sure, "latency_ms": 2.0}, {**unsure, "latency_ms": 3.0}], goals())
    assert front == [{**sure, "latency_ms": 2.0}]


def worth_of(name, accuracy, latency_ms, file_mb=1.0, aims=()):
    reward = REWARDS[name]({"latency_ms": 80.0, "file_mb": 4.0}, aims)
    return reward({"accuracy": accuracy, "latency_ms": latency_ms, "file_mb": file_mb})[0]


def test_mnasnets_soft_reward_pays_five_percent_for_a_doubling_on_both_sides():
    for fast_ms in (40.0, 80.0, 160.0):
        slow, fast = worth_of("mnasnet-soft", 0.75 * 1.05, 2 * fast_ms), worth_of("mnasnet-soft", 0.75, fast_ms)
        assert slow == pytest.approx(fast, rel=0.001)


def test_mnasnets_hard_reward_pays_nothing_below_and_in_proportion_above():
    assert worth_of("mnasnet-hard", 0.75, 20.0) == worth_of("mnasnet-hard", 0.75, 80.0) == 0.75
    assert worth_of("mnasnet-hard", 0.75, 160.0) == pytest.approx(0.375)


def test_tunas_reward_is_two_sided_around_the_budget():
    assert worth_of("tunas-absolute", 0.75, 80.0) == 0.75
    assert worth_of("tunas-absolute", 0.75, 40.0) == worth_of("tunas-absolute", 0.75, 120.0) == pytest.approx(0.70)


@pytest.mark.parametrize("name", REWARDS)
def test_a_further_limit_has_to_be_kept_but_not_used_up(name):
    assert worth_of(name, 0.75, 80.0, file_mb=1.0) == worth_of(name, 0.75, 80.0, file_mb=4.0)
    assert (
        worth_of(name, 0.75, 80.0, file_mb=4.0)
        > worth_of(name, 0.75, 80.0, file_mb=5.0)
        > worth_of(name, 0.75, 80.0, file_mb=6.0)
    )


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_is_the_same_in_any_unit(name):
    metrics = {"accuracy": 0.6, "latency_ms": 0.3}
    in_us = {"accuracy": 0.6, "latency_ms": 300.0}
    assert REWARDS[name]({"latency_ms": 0.2}, ())(metrics) == pytest.approx(
        REWARDS[name]({"latency_ms": 200.0}, ())(in_us)
    )


def test_the_front_keeps_what_nothing_dominates():
    points = [(0.9, 5.0), (0.8, 4.0), (0.85, 6.0), (0.7, 4.0), (0.6, 1.0), (0.9, 5.0)]
    candidates = [{"accuracy": a, "latency_ms": ms} for a, ms in points]
    front = pareto_front(candidates, goals())
    assert [(c["accuracy"], c["latency_ms"]) for c in front] == [(0.9, 5.0), (0.8, 4.0), (0.6, 1.0)]


def test_an_objective_moves_what_a_reward_is_of_and_the_latency_has_only_to_be_kept():
    for name in ("mnasnet-soft", "tunas-absolute"):
        fast, slow = (worth_of(name, 0.75, ms, file_mb=4.0, aims=["file_mb"]) for ms in (40.0, 80.0))
        assert fast == slow
        assert worth_of(name, 0.75, 90.0, file_mb=4.0, aims=["file_mb"]) < slow
    small, large = (worth_of("mnasnet-soft", 0.75, 80.0, file_mb=mb, aims=["file_mb"]) for mb in (1.0, 2.0))
    assert small / large == pytest.approx(1.05, rel=0.001)
    off, on = (worth_of("tunas-absolute", 0.75, 80.0, file_mb=mb, aims=["file_mb"]) for mb in (2.0, 4.0))
    assert (off, on) == (pytest.approx(0.70), 0.75)


def test_of_several_objectives_each_counts():
    aims = ["latency_ms", "file_mb"]
    assert worth_of("mnasnet-soft", 0.75, 40.0, 2.0, aims) == pytest.approx(0.75 * 1.05**2, rel=0.001)
    assert worth_of("tunas-absolute", 0.75, 40.0, 2.0, aims) == pytest.approx(0.75 - 0.05 - 0.05)


def test_objectives_are_metrics_of_trials():
    names = ("latency", "peak-memory-mb", "million-macs", "cost")
    assert [metric_of(name, "energy_mj") for name in names] == [
        *("latency_ms", "peak_memory_mb", "million_macs", "energy_mj"),
    ]


def test_what_an_objective_finds_worth_most_is_first_on_the_front():
    likely = {"likelihood": 0.9, "worth": 0.5, "latency_ms": 1.0, "file_mb": 4.0}
    small = {"likelihood": 0.7, "worth": 0.6, "latency_ms": 1.0, "file_mb": 1.0}
    dominated = {"likelihood": 0.6, "worth": 0.4, "latency_ms": 1.0, "file_mb": 2.0}
    assert (worth(small), worth({"likelihood": 0.3})) == (0.6, 0.3)
    assert pareto_front([likely, dominated, small], goals(["file_mb"])) == [small, likely]


def test_what_costs_nothing_has_a_worth():
    assert worth_of("mnasnet-soft", 0.75, 80.0, 0.0, ["file_mb"]) == pytest.approx(0.75 * 1000**0.07)
    assert worth_of("mnasnet-hard", 0.75, 80.0, 0.0, ["file_mb"]) == 0.75


def test_an_aim_without_a_limit_is_an_error():
    with pytest.raises(AssertionError, match="energy_mj"):
        worth_of("mnasnet-soft", 0.75, 80.0, 1.0, ["energy_mj"])


def test_what_is_named_twice_counts_once():
    assert named("file-mb, latency,file-mb,") == ("file-mb", "latency")
    assert named(None) == named("none") == named(" ,") == ()
