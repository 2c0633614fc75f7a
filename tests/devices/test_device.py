"""What a measurement says of its times."""

import math

import pytest

from hwnas.devices import Measurement, pooled


@pytest.mark.parametrize(("share", "rank"), [(0.0, 1), (0.1, 1), (0.11, 2), (0.5, 5), (0.9, 9), (1.0, 10)])
def test_quantiles_are_the_nearest_rank(share, rank):
    assert Measurement(tuple(float(t) for t in range(10, 0, -1))).quantile_ms(share) == rank


def test_a_failed_measurement_has_no_numbers():
    failed = Measurement(error="no kernel")
    assert math.isnan(failed.median_ms)
    assert math.isnan(failed.quantile_ms(0.5))


def test_rounds_are_pooled_without_the_failed_ones():
    assert pooled([Measurement((1.0,)), Measurement(error="no"), Measurement((3.0,))]).median_ms == 2.0
    assert pooled([Measurement(error="first"), Measurement(error="last")]).error == "last"
