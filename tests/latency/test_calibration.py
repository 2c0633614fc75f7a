"""Whole networks correct the sum."""

import numpy as np
import pytest

from hwnas.latency import calibrate, kendall_tau
from hwnas.latency.calibration import LEAST_SHARE, calibrated_weights


def calibrated(terms, measured):
    """As if every network were one operator."""
    return calibrate(terms, measured, terms)


def mape_pct(found, measured):
    return 100 * np.abs(np.array(found.left_out_ms) / measured - 1).mean()


def test_a_scale_is_found_exactly():
    table = np.linspace(1, 2, 10)
    measured = 1.08 * table
    found = calibrated({"table": table}, measured)
    assert (found.method, found.weights) == ("table", {"table": pytest.approx(1.08)})
    assert mape_pct(found, measured) == pytest.approx(0, abs=1e-9)


def test_a_constant_is_added_where_a_scale_does_not_fit():
    table = np.linspace(1, 5, 12)
    measured = 0.9 * table + 1
    found = calibrated({"table": table}, measured)
    assert found.method == "table + constant"
    assert found.weights == {"table": pytest.approx(0.9), "constant": pytest.approx(1)}
    assert found.left_out_ms == pytest.approx(measured)


def test_the_term_that_explains_the_rest_is_found():
    rng = np.random.default_rng(0)
    table, operators, macs = rng.uniform(1, 5, 12), rng.integers(5, 20, 12), rng.uniform(10, 300, 12)
    terms = {"table": table, "operators": operators, "million_macs": macs}
    found = calibrated(terms, 1.1 * table + 0.05 * operators)
    assert found.weights == {"table": pytest.approx(1.1), "operators": pytest.approx(0.05)}
    few = calibrated({name: value[:4] for name, value in terms.items()}, (1.1 * table + 0.05 * operators)[:4])
    assert few.method == "table"


def test_a_third_weight_needs_many_networks():
    rng = np.random.default_rng(0)
    table, operators = rng.uniform(1, 5, 40), rng.integers(5, 20, 40)
    measured = 1.1 * table + 0.05 * operators + 2
    methods = [calibrated({"table": table[:n], "operators": operators[:n]}, measured[:n]).method for n in (15, 16, 40)]
    assert [len(method.split(" + ")) for method in methods] == [2, 3, 3]


def test_a_row_holds_the_start_of_a_model_which_a_network_pays_once():
    rng = np.random.default_rng(0)
    table, operators = rng.uniform(1, 5, 12), rng.integers(5, 20, 12)
    terms, rows = {"table": table, "operators": operators}, {"table": [0.05, 0.4], "operators": [1, 1]}
    found = calibrate(terms, 1.1 * table - 0.04 * operators, rows)
    assert found.weights == {"table": pytest.approx(1.1), "operators": pytest.approx(-0.04)}


@pytest.mark.parametrize("share", [-0.2, 0.5 * LEAST_SHARE, 2 * LEAST_SHARE])
def test_no_operator_gives_time_back_however_well_that_fits(share):
    """share: of the smallest row, what it would add by the weights that fit without any error."""
    rng = np.random.default_rng(0)
    table, operators = rng.uniform(1, 5, 12), rng.integers(5, 20, 12)
    rows = {"table": np.array([0.05, 0.4]), "operators": np.ones(2)}
    measured = table - (1 - share) * 0.05 * operators
    found = calibrate({"table": table, "operators": operators}, measured, rows)
    added = sum(weight * rows[name] for name, weight in found.weights.items() if name != "constant")
    assert (added >= LEAST_SHARE * 0.8 * rows["table"]).all()
    assert (found.method == "table + operators") == (share > LEAST_SHARE)


def test_no_network_gives_time_back_before_it_has_begun():
    table = np.linspace(1, 5, 12)
    found = calibrated({"table": table}, 1.2 * table - 0.5)
    assert found.method == "table"
    assert min(found.left_out_ms) > 0


def test_weights_alone_are_the_same():
    rng = np.random.default_rng(0)
    table, operators = rng.uniform(1, 5, 20), rng.integers(5, 20, 20)
    terms = {"table": table, "operators": operators}
    measured = 1.1 * table + 0.05 * operators + 0.1 * rng.standard_normal(20)
    assert calibrated_weights(terms, measured, terms) == calibrated(terms, measured).weights


def test_left_out_errors_are_not_fitted_away():
    rng = np.random.default_rng(0)
    table = rng.uniform(1, 2, 12)
    noise = rng.normal(0, 0.05, 12)
    measured = table * (1 + noise)
    found = calibrated({"table": table}, measured)
    assert 2 < mape_pct(found, measured) < 8
    for i, left_out_ms in enumerate(found.left_out_ms):
        kept = np.arange(12) != i
        without = calibrated({"table": table[kept]}, measured[kept]).weights
        assert left_out_ms == pytest.approx(without["table"] * table[i] + without.get("constant", 0))


def test_one_network_is_not_enough():
    with pytest.raises(ValueError, match="at least 2"):
        calibrated({"table": [1.0]}, [1.0])


def test_kendall_tau_of_equal_and_opposite_orders():
    a = np.arange(6.0)
    assert kendall_tau(a, a**3) == pytest.approx(1)
    assert kendall_tau(a, -a) == pytest.approx(-1)
    assert kendall_tau(a, np.array([1.0, 3, 2, 2, 5, 4])) == pytest.approx(
        (11 - 3) / np.sqrt(15 * 14)
    )  # tau-b with a tie
    assert kendall_tau(a, np.ones(6)) == 0


def test_a_network_is_left_out_of_the_choice_of_the_method_too():
    """Of many terms that mean nothing one fits by chance; on a new network it does not help."""
    rng, inner, outer = np.random.default_rng(0), [], []
    for _ in range(20):
        table = rng.uniform(1, 5, 60)
        terms = {"table": table} | {f"chance{i}": rng.uniform(1, 5, 60) for i in range(8)}
        measured = table * np.exp(0.05 * rng.standard_normal(60))
        found = calibrated({name: value[:18] for name, value in terms.items()}, measured[:18])
        predicted = sum(weight * ({**terms, "constant": np.ones(60)})[name] for name, weight in found.weights.items())
        inner.append(mape_pct(found, measured[:18]))
        outer.append(100 * np.abs(predicted / measured - 1)[18:].mean())
    assert np.mean(inner) == pytest.approx(np.mean(outer), rel=0.12)


def test_terms_that_are_multiples_of_each_other_do_no_harm():
    table = np.linspace(1, 5, 12)
    found = calibrated({"table": table, "again": 3 * table, "nothing": np.zeros(12)}, 1.1 * table)
    assert found.method == "table"
