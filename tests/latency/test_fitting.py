"""The predictor that does best on networks left out."""

import json
import random

import numpy as np
import pytest

from hwnas.latency.fitting import METHOD_ALONE, base_of, fit_networks, fit_predictor, from_record
from hwnas.latency.learned import NetworkRegressor, ResidualPredictor
from hwnas.latency.predictors import TablePredictor
from hwnas.latency.profiler import rows_to_measure
from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.macs import op_macs

SPACE = build_space(SpaceConfig("proxyless_small", 64, 10))
OP_MS = {key: 0.01 + op_macs(spec) / 1e7 for key, spec in rows_to_measure(SPACE).items()}
RNG = random.Random(0)
ARCHS = [SPACE.sample(RNG) for _ in range(60)]


def large_kernels(archs):
    """Share of the time that goes into large kernels."""
    large = [sum(OP_MS[str(s)] for s in SPACE.ops(arch) if dict(s.args).get("k") == 7) for arch in archs]
    return np.array(large) / TablePredictor(SPACE, OP_MS).latency_ms(archs)


def measured_ms(strength):
    noise = np.exp(0.004 * np.random.default_rng(0).standard_normal(len(ARCHS)))
    return TablePredictor(SPACE, OP_MS).latency_ms(ARCHS) * noise * np.exp(strength * large_kernels(ARCHS))


@pytest.mark.parametrize(("strength", "kind"), [(0.0, TablePredictor), (0.5, ResidualPredictor)])
def test_a_correction_is_used_where_it_helps(strength, kind):
    fit = fit_predictor(SPACE, OP_MS, ARCHS[:40], measured_ms(strength)[:40])
    assert isinstance(fit.predictor, kind)
    assert ("corrected" in fit.method) == (kind is ResidualPredictor)
    unseen = fit.predictor.latency_ms(ARCHS[40:]) / measured_ms(strength)[40:] - 1
    assert 100 * np.abs(unseen).mean() < 1.5


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_what_is_written_predicts_the_same(strength):
    fit = fit_predictor(SPACE, OP_MS, ARCHS[:40], measured_ms(strength)[:40], {next(iter(OP_MS)): 0.3})
    record = fit.as_record() | {
        "networks": [
            {"measured_ms": m, "left_out_ms": p} for m, p in zip(fit.measured_ms, fit.left_out_ms, strict=True)
        ]
    }
    again = from_record(SPACE, record)
    np.testing.assert_allclose(again.latency_ms(ARCHS), fit.predictor.latency_ms(ARCHS))
    np.testing.assert_allclose(again.interval_ms(ARCHS, 0.9), fit.predictor.interval_ms(ARCHS, 0.9))
    assert base_of(again).doubts == base_of(fit.predictor).doubts


def test_intervals_come_from_the_networks_drawn_at_random():
    measured = measured_ms(0.0)[:40]
    measured[:20] *= np.exp(0.1 * np.random.default_rng(1).standard_normal(20))  # chosen ones are harder to predict
    fits = [fit_predictor(SPACE, OP_MS, ARCHS[:40], measured, drawn=drawn) for drawn in (20, 40)]
    widths = [np.ptp(fit.predictor.interval_ms(ARCHS[40:], 0.9), axis=0).mean() for fit in fits]
    assert widths[0] < 0.5 * widths[1]
    networks = [{"measured_ms": m, "left_out_ms": p} for m, p in zip(measured, fits[0].left_out_ms, strict=True)]
    again = from_record(SPACE, fits[0].as_record() | {"networks": networks})
    np.testing.assert_allclose(again.interval_ms(ARCHS, 0.9), fits[0].predictor.interval_ms(ARCHS, 0.9))


@pytest.mark.parametrize("is_misleading", [True, False])
def test_a_table_is_left_out_where_it_misleads_only(is_misleading):
    """Rows of random times tell nothing of networks, in which large kernels are three times as slow."""
    rng = np.random.default_rng(0)
    true_ms = {key: (3 if "-k7" in key else 1) * ms for key, ms in OP_MS.items()}
    measured = TablePredictor(SPACE, true_ms).latency_ms(ARCHS)
    op_ms = {key: float(rng.lognormal(0, 2)) for key in OP_MS} if is_misleading else true_ms
    fit = fit_predictor(SPACE, op_ms, ARCHS[:40], measured[:40])
    assert isinstance(fit.predictor, NetworkRegressor) == is_misleading
    assert (fit.method == METHOD_ALONE) == is_misleading
    assert (base_of(fit.predictor) is None) == is_misleading
    assert np.abs(fit.predictor.latency_ms(ARCHS[40:]) / measured[40:] - 1).mean() < 0.06


def test_what_is_written_of_a_regression_predicts_the_same():
    fit = fit_networks(SPACE, ARCHS[:40], measured_ms(0.5)[:40], drawn=20)
    pairs = zip(fit.measured_ms.tolist(), fit.left_out_ms.tolist(), strict=True)
    record = fit.as_record() | {"networks": [{"measured_ms": m, "left_out_ms": p} for m, p in pairs]}
    again = from_record(SPACE, json.loads(json.dumps(record)))
    np.testing.assert_allclose(again.latency_ms(ARCHS), fit.predictor.latency_ms(ARCHS))
    np.testing.assert_allclose(again.interval_ms(ARCHS, 0.9), fit.predictor.interval_ms(ARCHS, 0.9))


def test_two_networks_are_enough_for_a_scale():
    fit = fit_predictor(SPACE, OP_MS, ARCHS[:2], 1.2 * TablePredictor(SPACE, OP_MS).latency_ms(ARCHS[:2]))
    assert fit.method == "table"
    np.testing.assert_allclose(fit.left_out_ms, fit.measured_ms)


def test_guessed_rows_widen_the_interval():
    measured = measured_ms(0.0)[:40]
    doubted = {key: 0.3 for key in OP_MS if "-k7" in key}
    sure, unsure = (fit_predictor(SPACE, OP_MS, ARCHS[:40], measured, d).predictor for d in ({}, doubted))
    with_them = large_kernels(ARCHS) > 0
    widths = [np.subtract(*p.interval_ms(ARCHS, 0.9)[::-1]) for p in (sure, unsure)]
    assert (widths[1][with_them] > widths[0][with_them]).all()
    np.testing.assert_allclose(widths[1][~with_them], widths[0][~with_them])
    assert (unsure.upper_ms(ARCHS, 0.9) >= sure.upper_ms(ARCHS, 0.9)).all()
    doubtful = fit_predictor(SPACE, OP_MS, ARCHS[:40], measured, dict.fromkeys(OP_MS, 9.0)).predictor
    assert (doubtful.interval_ms(ARCHS, 0.9)[0] == 0).all()  # and not less: nothing takes less than no time
    budget_ms = 1.05 * float(np.median(measured))
    chances = [p.probability_within(ARCHS, budget_ms) for p in (sure, unsure)]
    assert np.abs(chances[1] - 0.5)[with_them].mean() < np.abs(chances[0] - 0.5)[with_them].mean()
