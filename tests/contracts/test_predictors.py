"""What every predictor must do on every space."""

import random

import numpy as np
import pytest
import torch

from hwnas.errors import UserError
from hwnas.latency import RelativeErrors, TablePredictor, calibrate, fastest_and_slowest
from hwnas.latency.corrections import CORRECTIONS
from hwnas.latency.learned import NetworkRegressor, ResidualPredictor
from hwnas.latency.profiler import rows_to_measure
from hwnas.spaces import SPACES, SpaceConfig, build_space
from hwnas.spaces.macs import op_macs
from hwnas.spaces.space import sees_image


@pytest.fixture(params=SPACES, scope="module")
def space(request):
    return build_space(SpaceConfig(request.param, 64, 10))


def table_of(space):
    return {key: 0.01 + op_macs(spec) / 1e7 for key, spec in rows_to_measure(space).items()}


def test_a_prediction_is_the_sum_over_the_operators(space):
    rng, op_ms = random.Random(0), table_of(space)
    predictor = TablePredictor(space, op_ms, {"table": 1.1, "constant": 0.5})
    archs = [space.sample(rng) for _ in range(50)]
    by_hand = [0.5 + 1.1 * sum(op_ms.get(str(spec), 0.0) for spec in space.ops(arch)) for arch in archs]
    np.testing.assert_allclose(predictor.latency_ms(archs), by_hand)
    assert predictor.arch_ms(archs[0]) == pytest.approx(by_hand[0])


def test_every_term_of_a_calibration_is_weighted(space):
    rng, op_ms = random.Random(0), table_of(space)
    archs = [space.sample(rng) for _ in range(20)]
    terms = TablePredictor(space, op_ms).terms(archs)
    weights = {name: 0.5 + i for i, name in enumerate(terms)} | {"constant": 0.25}
    wanted = 0.25 + sum(weights[name] * value for name, value in terms.items())
    np.testing.assert_allclose(TablePredictor(space, op_ms, weights).latency_ms(archs), wanted)


def true_ms(space, archs):
    """A device on which the sum of the operators is off, at large kernels most."""
    op_ms = table_of(space)
    share = [sum(op_ms[str(spec)] for spec in space.ops(arch) if dict(spec.args).get("k") == 7) for arch in archs]
    total_ms = TablePredictor(space, op_ms).latency_ms(archs)
    noise = np.exp(0.005 * np.random.default_rng(0).standard_normal(len(archs)))
    return noise * total_ms * np.exp(0.3 * np.array(share) / total_ms)


def fit_table(space, archs, measured_ms):
    plain = TablePredictor(space, table_of(space))
    found = calibrate(plain.terms(archs), measured_ms, plain.op_terms())
    return TablePredictor(space, plain.op_ms, found.weights, RelativeErrors.of(measured_ms, found.left_out_ms))


def fit_corrected(kind):
    """By this kind alone."""

    def fit(space, archs, measured_ms):
        return ResidualPredictor.fit_left_out(space, table_of(space), archs, measured_ms, kinds=(kind,))[0]

    return fit


FITS = {
    "table": fit_table,
    **{kind: fit_corrected(kind) for kind in CORRECTIONS},
    "network": NetworkRegressor.fit,
}


def sample_seeing(space, count, rng):
    """As `hwnas fit` measures: networks that look at their image."""
    samples = [space.sample(rng) for _ in range(count)]
    return [arch for arch in samples if sees_image(space.steps(arch))]


# To fit these takes ten times as long as the others, on any space.
COSTLY, FEW = ("perceptron", "trees"), ("proxyless_small", "mobilenet_v3_elastic", "nas_bench_201")
EACH = [
    pytest.param((kind, name), id=f"{kind}-{name}", marks=[pytest.mark.slow] * (kind in COSTLY and name not in FEW))
    for kind in FITS
    for name in SPACES
]


@pytest.fixture(params=EACH, scope="module")
def fitted(request):
    """(a kind of fit, a space)"""
    kind, name = request.param
    return FITS[kind], build_space(SpaceConfig(name, 64, 10))


@pytest.fixture(scope="module")
def predictor(fitted):
    fit, space = fitted
    archs = sample_seeing(space, 30, random.Random(4))
    return fit(space, archs, true_ms(space, archs))


def test_unseen_networks_are_predicted(predictor, fitted):
    _, space = fitted
    rng = random.Random(5)
    archs = sample_seeing(space, 200, rng)
    latency_ms, measured_ms = predictor.latency_ms(archs), true_ms(space, archs)
    assert latency_ms.shape == (len(archs),)
    assert np.abs(latency_ms / measured_ms - 1).mean() < 0.1
    low_ms, high_ms = predictor.interval_ms(archs, 0.9)
    assert ((low_ms <= measured_ms) & (measured_ms <= high_ms)).mean() > 0.7


def test_bounds_stand_around_the_prediction(predictor, fitted):
    _, space = fitted
    rng = random.Random(2)
    archs = [space.sample(rng) for _ in range(20)]
    latency_ms, (low_ms, high_ms) = predictor.latency_ms(archs), predictor.interval_ms(archs, 0.9)
    assert (low_ms < latency_ms).all()
    assert (latency_ms < high_ms).all()
    assert (predictor.upper_ms(archs, 0.9) <= high_ms).all()
    chances = predictor.probability_within(archs, float(np.median(latency_ms)))
    assert (np.diff(chances[np.argsort(latency_ms)]) <= 0).all()


def test_without_calibration_there_is_no_interval(space):
    with pytest.raises(UserError, match="run `hwnas fit`"):
        TablePredictor(space, table_of(space)).interval_ms([(0,) * len(space.decisions)], 0.9)


def test_the_expectation_over_certain_gates_is_the_prediction(predictor, fitted):
    _, space = fitted
    arch = space.sample(random.Random(3))
    gates = [torch.eye(len(d.choices))[c] for d, c in zip(space.decisions, arch, strict=True)]
    assert predictor.expected_ms(gates).item() == pytest.approx(predictor.latency_ms([arch])[0], rel=1e-5)


def test_the_expectation_has_a_gradient(predictor, fitted):
    _, space = fitted
    gates = [torch.full((len(d.choices),), 1 / len(d.choices), requires_grad=True) for d in space.decisions]
    predictor.expected_ms(gates).backward()
    assert all(gate.grad is not None and gate.grad.isfinite().all() and gate.grad.any() for gate in gates)


def test_a_choice_outside_its_decision_is_refused(predictor, fitted):
    _, space = fitted
    with pytest.raises(ValueError, match="outside its decision"):
        predictor.latency_ms([(99,) * len(space.decisions)])


def test_no_network_takes_less_than_no_time(fitted):
    """Fitted on slow networks alone, to which a sum less a constant fits best."""
    fit, space = fitted
    rng, plain = random.Random(2), TablePredictor(space, table_of(space))
    archs = sorted(sample_seeing(space, 120, rng), key=plain.arch_ms)[-30:]
    table_ms = plain.latency_ms(archs)
    measured_ms = 1.5 * table_ms - 0.4 * table_ms.min()
    found = fit(space, archs, measured_ms)
    fast = next(arch for arch in (fastest_and_slowest(plain)[0], *archs) if sees_image(space.steps(arch)))
    assert found.arch_ms(fast) > 0.1 * plain.arch_ms(fast)
    assert np.abs(found.latency_ms(archs) / measured_ms - 1).mean() < 0.1


def test_the_extremes_bound_every_network(space):
    predictor, rng = TablePredictor(space, table_of(space)), random.Random(1)
    fast, slow = map(predictor.arch_ms, fastest_and_slowest(predictor))
    sampled = predictor.latency_ms([space.sample(rng) for _ in range(200)])
    assert fast <= sampled.min() <= sampled.max() <= slow


def test_missing_operators_are_named_with_the_command(space):
    op_ms = table_of(space)
    gone = next(iter(op_ms))
    del op_ms[gone]
    with pytest.raises(UserError, match=f"lacks 1 of the .*{gone}; run `hwnas profile --out RUN`"):
        TablePredictor(space, op_ms)


@pytest.mark.parametrize(("left_out", "more"), [(20, ""), (23, " and 3 more")])
def test_twenty_missing_operators_are_named_and_the_others_counted(space, left_out, more):
    op_ms = table_of(space)
    gone = list(op_ms)[:left_out]
    if len(gone) < left_out:
        pytest.skip("the space has fewer operators")
    for key in gone:
        del op_ms[key]
    with pytest.raises(UserError) as caught:
        TablePredictor(space, op_ms)
    assert f"{gone[19]}{more}; run `hwnas profile --out RUN`" in str(caught.value)
    assert "`hwnas table measure --on PROFILE --space SPACE --out TABLE`" in str(caught.value)
