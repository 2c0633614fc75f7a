"""What whole networks tell beyond the sum of their operators."""

import random

import numpy as np
import pytest

from hwnas.errors import UserError
from hwnas.latency import TablePredictor, calibrate
from hwnas.latency.learned import NO_CORRECTION, NetworkRegressor, ResidualPredictor, groups
from hwnas.latency.profiler import rows_to_measure
from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.macs import op_macs


@pytest.fixture(scope="module")
def space():
    return build_space(SpaceConfig("proxyless_small", 64, 10))


@pytest.fixture(scope="module")
def op_ms(space):
    return {key: 0.01 + op_macs(spec) / 1e7 for key, spec in rows_to_measure(space).items()}


@pytest.fixture(scope="module")
def archs(space):
    rng = random.Random(0)
    return [space.sample(rng) for _ in range(80)]


def sum_ms(space, op_ms, archs, factor):
    """The table sum with every operator's time multiplied by what `factor` tells."""
    rows = rows_to_measure(space)
    changed = {key: ms * factor(rows[key]) for key, ms in op_ms.items()}
    return TablePredictor(space, changed).latency_ms(archs)


def test_a_correction_finds_what_a_calibration_cannot(space, op_ms, archs):
    measured = sum_ms(space, op_ms, archs, lambda spec: 1.4 if dict(spec.args).get("k") == 7 else 1.0)
    learned = ResidualPredictor.fit(space, op_ms, archs[:40], measured[:40])
    plain = TablePredictor(space, op_ms)
    weights = calibrate(plain.terms(archs[:40]), measured[:40], plain.op_terms()).weights
    calibrated = TablePredictor(space, op_ms, weights)
    assert mape(learned, archs[40:], measured[40:]) < 0.5 * mape(calibrated, archs[40:], measured[40:])
    assert learned.correction != NO_CORRECTION


def test_where_nothing_is_to_be_corrected_nothing_is(space, op_ms, archs):
    noise = np.exp(0.02 * np.random.default_rng(0).standard_normal(len(archs)))
    measured = 1.2 * TablePredictor(space, op_ms).latency_ms(archs) * noise
    learned = ResidualPredictor.fit(space, op_ms, archs[:20], measured[:20])
    assert learned.correction == NO_CORRECTION
    np.testing.assert_array_equal(learned.latency_ms(archs), learned.base.latency_ms(archs))


def test_a_correction_stays_within_what_was_seen(space, op_ms, archs):
    measured = sum_ms(space, op_ms, archs, lambda spec: 1.4 if dict(spec.args).get("k") == 7 else 1.0)
    learned = ResidualPredictor.fit(space, op_ms, archs[:20], measured[:20])
    logs = np.log(learned.latency_ms(archs) / learned.base.latency_ms(archs))
    assert learned.correction.lowest - 1e-9 <= logs.min() <= logs.max() <= learned.correction.highest + 1e-9


def test_a_regression_without_a_table_learns_a_sum(space, op_ms, archs):
    measured = sum_ms(space, op_ms, archs, lambda spec: 1.4 if dict(spec.args).get("k") == 7 else 1.0)
    assert mape(NetworkRegressor.fit(space, archs[:60], measured[:60]), archs[60:], measured[60:]) < 0.05


def test_a_regression_never_predicts_zero_or_less(space, archs):
    measured = np.linspace(0.1, 100, 20)
    learned = NetworkRegressor.fit(space, archs[:20], measured)
    assert learned.latency_ms(archs).min() >= 0.05


def test_groups_hold_every_operator_that_runs(space):
    found = groups(space)
    assert {"k3", "k5", "k7", "e3", "e6"} <= set(found)
    assert {str(s) for specs in found.values() for s in specs} == set(rows_to_measure(space))


def test_too_few_networks_are_refused(space, op_ms, archs):
    for fit in (lambda: NetworkRegressor.fit(space, archs[:4], [1.0] * 4), lambda: residual(space, op_ms, archs)):
        with pytest.raises(UserError, match="at least 10"):
            fit()


def residual(space, op_ms, archs):
    return ResidualPredictor.fit(space, op_ms, archs[:12], [1.0] * 11)


def mape(predictor, archs, measured_ms):
    return np.abs(predictor.latency_ms(archs) / measured_ms - 1).mean()
