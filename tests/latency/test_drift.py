"""The machine's own speed is taken out of what it measured."""

import numpy as np
import pytest

from hwnas.latency.drift import levels

ROWS = [f"row{i}" for i in range(30)]


def sweep(rounds, noise, seed=0):
    """(rows, times, true latencies, true levels) of interleaved rounds on a machine whose speed swings by 8 %."""
    rng = np.random.default_rng(seed)
    latency = dict(zip(ROWS, rng.uniform(1, 20, len(ROWS)), strict=True))
    rows = [row for _ in range(rounds) for row in rng.permutation(ROWS)]
    level = np.exp(0.08 * np.sin(np.arange(len(rows)) / 17))
    times = level * [latency[row] for row in rows] * np.exp(noise * rng.standard_normal(len(rows)))
    return rows, times, latency, level


def spread_pct(rows, times, latency):
    """Of what rows take by the median of their times, around what they should; one factor for all does not count."""
    logs = [np.log(np.median(times[[r == row for r in rows]]) / ms) for row, ms in latency.items()]
    return 100 * np.std(logs)


def test_a_drift_is_found_and_taken_out():
    rows, times, latency, level = sweep(rounds=5, noise=0.01)
    found = levels(rows, times)
    assert np.corrcoef(np.log(found), np.log(level))[0, 1] > 0.98
    assert spread_pct(rows, times / found, latency) < 0.4 * spread_pct(rows, times, latency)


def test_noise_alone_is_not_taken_for_a_drift():
    rows, times, latency, level = sweep(rounds=5, noise=0.02)
    steady = times / level
    found = levels(rows, steady)
    assert np.log(found).std() < 0.012  # a running median over 12 of noise of 2 %
    assert spread_pct(rows, steady / found, latency) < 1.2 * spread_pct(rows, steady, latency)


def test_a_row_alone_is_not_corrected_by_itself():
    assert levels(["a"] * 20, np.linspace(1, 2, 20)).tolist() == [1.0] * 20


def test_one_outlier_moves_no_level():
    rows, times, _, _ = sweep(rounds=4, noise=0.0)
    before = levels(rows, times)
    times[50] *= 10
    assert np.abs(levels(rows, times) / before - 1).max() < 0.05


@pytest.mark.parametrize("times", [[], [0.0, -1.0, 2.0], [5.0]])
def test_what_cannot_tell_is_left_as_it_is(times):
    assert levels([f"row{i}" for i in range(len(times))], times).tolist() == [1.0] * len(times)


def test_rows_measured_once_are_left_as_they_are():
    assert levels(ROWS, np.linspace(1, 9, len(ROWS))).tolist() == [1.0] * len(ROWS)
