"""What every predictor must do on every space."""

import random

import numpy as np
import pytest

from hwnas.errors import UserError
from hwnas.latency import TablePredictor, fastest_and_slowest
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
