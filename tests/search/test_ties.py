"""Candidates too close for a super-network: multiply-adds decide among them, and among no others."""

import math

import pytest

from hwnas.search import TIE_SHARE, by_preference, largest_first, tie_width, tied


def trial(number, likelihood, macs, latency_ms=1.0, **more):
    return {"arch": [number], "likelihood": likelihood, "macs": macs, "latency_ms": latency_ms, **more}


def of(trials):
    return [found["arch"][0] for found in trials]


def test_the_width_is_a_share_of_the_deviation_of_different_networks_log_likelihoods():
    drawn = [trial(0, math.exp(-1.0), 1), trial(1, math.exp(-1.2), 1)]
    assert tie_width(drawn, 0.5) == pytest.approx(0.05)
    assert tie_width([*drawn, drawn[0], drawn[0]], 0.5) == pytest.approx(0.05)  # drawn again
    assert tie_width(drawn, 0) == tie_width(drawn[:1], 0.5) == 0
    assert tie_width([trial(0, 0.0, 1), drawn[1]], 0.5) > 1  # one that gives the labels no chance at all


def test_within_the_width_of_the_likeliest_they_tie():
    trials = [trial(n, 0.5 * math.exp(-0.01 * n), 1) for n in range(5)]
    assert of(tied(trials, 0.025)) == [0, 1, 2]
    assert of(tied(trials, 0.0)) == [0]


def test_the_most_multiply_adds_go_first_and_no_slower_one_follows():
    trials = [trial(0, 0.5, 10, 1.0), trial(1, 0.49, 30, 2.0), trial(2, 0.48, 20, 2.5), trial(3, 0.47, 20, 1.5)]
    assert of(largest_first(trials)) == [1, 3, 0]
    assert of(largest_first([trials[0], trial(4, 0.51, 10, 1.0)])) == [4]  # the likelier one of two alike


def test_what_ties_is_preferred_by_size_and_the_rest_by_worth():
    trials = [trial(0, 0.2, 99), trial(1, 0.50, 10), trial(2, 0.49, 20), trial(3, 0.3, 50)]
    assert of(by_preference(trials, 0.1)) == [2, 1, 3, 0]
    assert of(by_preference(trials, 0.0)) == [1, 2, 3, 0]
    assert by_preference([], 0.1) == []


def test_where_an_objective_decides_nothing_ties():
    trials = [trial(0, 0.5, 99, worth=0.1), trial(1, 0.5, 10, worth=0.2)]
    assert of(by_preference(trials)) == [1, 0]


def test_the_share_is_less_than_the_spread_itself():
    assert 0 < TIE_SHARE < 1
