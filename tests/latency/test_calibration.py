"""Whole networks correct the sum."""

import numpy as np
import pytest

from hwnas.latency import calibrate, kendall_tau


def test_a_scale_is_found_exactly():
    table = np.linspace(1, 2, 10)
    found = calibrate({"table": table}, 1.08 * table)
    assert (found.method, found.weights) == ("table", {"table": pytest.approx(1.08)})
    assert found.mape_pct == pytest.approx(0, abs=1e-9)


def test_a_constant_is_added_where_a_scale_does_not_fit():
    table = np.linspace(1, 5, 12)
    found = calibrate({"table": table}, 0.9 * table + 1)
    assert found.method == "table + constant"
    assert found.weights == {"table": pytest.approx(0.9), "constant": pytest.approx(1)}
    assert found.kendall_tau == pytest.approx(1)


def test_the_term_that_explains_the_rest_is_found():
    rng = np.random.default_rng(0)
    table, operators, macs = rng.uniform(1, 5, 12), rng.integers(5, 20, 12), rng.uniform(10, 300, 12)
    terms = {"table": table, "operators": operators, "million_macs": macs}
    found = calibrate(terms, 1.1 * table + 0.05 * operators)
    assert found.weights == {"table": pytest.approx(1.1), "operators": pytest.approx(0.05)}
    few = calibrate({name: value[:4] for name, value in terms.items()}, (1.1 * table + 0.05 * operators)[:4])
    assert few.method == "table"


def test_a_third_weight_needs_many_networks():
    rng = np.random.default_rng(0)
    table, operators = rng.uniform(1, 5, 40), rng.integers(5, 20, 40)
    measured = 1.1 * table + 0.05 * operators + 2
    methods = [calibrate({"table": table[:n], "operators": operators[:n]}, measured[:n]).method for n in (15, 16, 40)]
    assert [len(method.split(" + ")) for method in methods] == [2, 3, 3]


def test_left_out_errors_are_not_fitted_away():
    rng = np.random.default_rng(0)
    table = rng.uniform(1, 2, 12)
    noise = rng.normal(0, 0.05, 12)
    found = calibrate({"table": table}, table * (1 + noise))
    assert 2 < found.mape_pct < 8
    by_hand = [(1 + noise)[i] * table[i] / p for i, p in enumerate(found.left_out_ms)]
    assert 100 * np.abs(1 / np.array(by_hand) - 1).mean() == pytest.approx(found.mape_pct)


def test_one_network_is_not_enough():
    with pytest.raises(ValueError, match="at least 2"):
        calibrate({"table": [1.0]}, [1.0])


def test_kendall_tau_of_equal_and_opposite_orders():
    a = np.arange(6.0)
    assert kendall_tau(a, a**3) == pytest.approx(1)
    assert kendall_tau(a, -a) == pytest.approx(-1)
    assert kendall_tau(a, np.array([1.0, 3, 2, 2, 5, 4])) == pytest.approx(
        (11 - 3) / np.sqrt(15 * 14)
    )  # tau-b with a tie
    assert kendall_tau(a, np.ones(6)) == 0
