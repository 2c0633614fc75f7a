"""Intervals cover what they promise, on networks that the calibration never saw."""

import numpy as np
import pytest

from hwnas.latency import RelativeErrors


def errors_of(rng, count, spread=0.03):
    return RelativeErrors.of(np.exp(spread * rng.standard_t(3, count)), np.ones(count))


@pytest.mark.parametrize("count", [12, 20, 40])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_coverage_holds_whatever_the_distribution(count, coverage):
    rng, inside = np.random.default_rng(0), []
    for _ in range(400):
        low, high = errors_of(rng, count).factors(coverage)
        new = np.exp(0.03 * rng.standard_t(3, 50))
        inside.append(((low <= new) & (new <= high)).mean())
    assert coverage - 0.01 <= np.mean(inside) <= coverage + 1 / (count + 1) + 0.01


def test_an_upper_bound_is_one_sided():
    rng, inside = np.random.default_rng(1), []
    for _ in range(400):
        bound = errors_of(rng, 19).upper_factor(0.9)
        inside.append((np.exp(0.03 * rng.standard_t(3, 50)) <= bound).mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.015)


def test_with_too_few_networks_the_interval_is_students():
    errors = RelativeErrors.of([1.01, 0.99, 1.02], [1.0, 1.0, 1.0])
    low, high = errors.factors(0.95)
    spread = np.sqrt(np.mean(np.log([1.01, 0.99, 1.02]) ** 2))
    assert np.log(high) == pytest.approx(4.3027 * spread * np.sqrt(1 + 1 / 3), rel=1e-4)  # t of 2 degrees at 97.5 %
    assert low == pytest.approx(1 / high)


def test_probabilities_rise_with_the_budget_and_are_never_certain():
    errors = RelativeErrors.of([0.98, 1.0, 1.04], [1.0, 1.0, 1.0])
    found = errors.probability_within([0.5, 0.99, 1.02, 2.0])
    np.testing.assert_allclose(found, [0.125, 0.375, 0.625, 0.875])


@pytest.mark.parametrize("coverage", [0, 1, 1.5])
def test_a_coverage_that_cannot_be_is_refused(coverage):
    with pytest.raises(ValueError, match="between 0 and 1"):
        RelativeErrors((0.0,)).factors(coverage)
