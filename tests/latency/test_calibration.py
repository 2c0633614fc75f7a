"""Whole networks correct the sum."""

import numpy as np
import pytest

from hwnas.latency import calibrate, kendall_tau


def test_a_scale_is_found_exactly():
    sums = np.linspace(1, 2, 10)
    found = calibrate(sums, 1.08 * sums)
    assert (found.method, found.scale, found.offset_ms) == ("scale", pytest.approx(1.08), pytest.approx(0, abs=1e-9))
    assert found.mape_pct == pytest.approx(0, abs=1e-9)


def test_a_line_is_chosen_where_a_scale_does_not_fit():
    sums = np.linspace(1, 5, 12)
    found = calibrate(sums, 0.9 * sums + 1)
    assert (found.method, found.scale, found.offset_ms) == ("line", pytest.approx(0.9), pytest.approx(1))
    assert found.kendall_tau == pytest.approx(1)


def test_left_out_errors_are_not_fitted_away():
    rng = np.random.default_rng(0)
    sums = rng.uniform(1, 2, 12)
    noise = rng.normal(0, 0.05, 12)
    found = calibrate(sums, sums * (1 + noise))
    assert 2 < found.mape_pct < 8


def test_one_network_is_not_enough():
    with pytest.raises(ValueError, match="at least 2"):
        calibrate([1.0], [1.0])


def test_kendall_tau_of_equal_and_opposite_orders():
    a = np.arange(6.0)
    assert kendall_tau(a, a**3) == pytest.approx(1)
    assert kendall_tau(a, -a) == pytest.approx(-1)
    scipy = pytest.importorskip("scipy.stats")
    b = np.array([1.0, 3, 2, 2, 5, 4])
    assert kendall_tau(a, b) == pytest.approx(scipy.kendalltau(a, b).statistic)
