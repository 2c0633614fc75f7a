"""Intervals against published figures and against what can be counted out."""

import itertools

import numpy as np
import pytest

from hwnas.search.evidence import (
    best_of_draws_interval,
    difference_interval,
    expected_best,
    kendall_interval,
    mean_interval,
    wilson_interval,
)


def test_expected_best_is_the_mean_over_all_draws():
    values = [0.3, 0.1, 0.7, 0.4]
    counted = np.mean([max(drawn) for drawn in itertools.product(values, repeat=3)])
    assert expected_best(values, 3) == pytest.approx(counted)
    assert expected_best(values, 1) == pytest.approx(np.mean(values))


def test_the_interval_of_the_best_holds_the_truth_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    truth = 10 / 11  # of the best of ten numbers from 0 to 1
    for _ in range(40):
        low, high = best_of_draws_interval(rng.random(50).tolist(), 10)
        hits += low <= truth <= high
    assert hits >= 33


def test_difference_of_two_accuracies():  # Newcombe 1998, method 10
    low, high = difference_interval(0.6, 0.4, 100)
    (a_low, a_high), (b_low, b_high) = wilson_interval(0.6, 100), wilson_interval(0.4, 100)
    assert low == pytest.approx(0.2 - ((0.6 - a_low) ** 2 + (b_high - 0.4) ** 2) ** 0.5)
    assert high == pytest.approx(0.2 + ((a_high - 0.6) ** 2 + (0.4 - b_low) ** 2) ** 0.5)
    assert 0 < low < 0.2 < high


def test_an_order_is_as_sure_as_there_are_networks():
    order = np.arange(30.0)
    noisy = order + 3 * np.random.default_rng(0).normal(size=30)
    low, high = kendall_interval(order, noisy)
    few_low, few_high = kendall_interval(order[:5], noisy[:5])
    assert 0 < low < high <= 1
    assert few_high - few_low > high - low


def test_differences_above_zero_are_told_from_chance():
    assert mean_interval([0.2, 0.3, 0.25, 0.4, 0.3])[0] > 0
    low, high = mean_interval([0.2, -0.3, 0.25, -0.4, 0.3])
    assert low < 0 < high
