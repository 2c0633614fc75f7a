"""Sums, extremes, missing rows and calibration."""

import random

import numpy as np
import pytest

from hwnas.errors import UserError
from hwnas.latency import TablePredictor, calibrate, fastest_and_slowest, kendall_tau
from hwnas.latency.profiler import rows_to_measure
from hwnas.spaces import SPACES, SpaceConfig, build_space
from hwnas.spaces.macs import op_macs


@pytest.fixture(params=SPACES)
def space(request):
    return build_space(SpaceConfig(request.param, 64, 10))


def table_of(space):
    return {key: 0.01 + op_macs(spec) / 1e7 for key, spec in rows_to_measure(space).items()}


def test_a_prediction_is_the_sum_over_the_operators(space):
    rng, op_ms = random.Random(0), table_of(space)
    predictor = TablePredictor(space, op_ms, scale=1.1, offset_ms=0.5)
    archs = [space.sample(rng) for _ in range(50)]
    by_hand = [0.5 + 1.1 * sum(op_ms.get(str(spec), 0.0) for spec in space.ops(arch)) for arch in archs]
    np.testing.assert_allclose(predictor.latency_ms(archs), by_hand)
    assert predictor.arch_ms(archs[0]) == pytest.approx(by_hand[0])


def test_the_extremes_bound_every_network(space):
    predictor, rng = TablePredictor(space, table_of(space)), random.Random(1)
    fast, slow = map(predictor.arch_ms, fastest_and_slowest(predictor))
    sampled = predictor.latency_ms([space.sample(rng) for _ in range(200)])
    assert fast <= sampled.min() <= sampled.max() <= slow


def test_missing_operators_are_named_with_the_command(space):
    op_ms = table_of(space)
    gone = next(iter(op_ms))
    del op_ms[gone]
    with pytest.raises(UserError, match=f"lacks 1 of the .*{gone}; run `hwnas profile`"):
        TablePredictor(space, op_ms)


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
