"""The interval that decides whether a row has settled: as promised, and narrow where one value was disturbed."""

import math
import random
import statistics

import pytest
from scipy.stats import mstats

from hwnas.latency.trimmed import half_width_pct, student_t


@pytest.mark.parametrize("count", [5, 10, 15, 40])  # of others scipy divides by the share that was wanted, not left out
def test_it_is_tukeys_and_mclaughlins(count):
    rng = random.Random(count)
    values = [rng.lognormvariate(0, 0.1) for _ in range(count)]
    low, high = mstats.trimmed_mean_ci(values, limits=(0.2, 0.2))
    assert half_width_pct(values) == pytest.approx(100 * (high - low) / (high + low))


def test_a_few_values_have_the_interval_of_their_mean():
    values = [1.0, 1.1, 0.95, 1.02]
    error = statistics.stdev(values) / math.sqrt(4)
    assert half_width_pct(values) == pytest.approx(100 * student_t(0.975, 3) * error / statistics.mean(values))


def test_one_value_tells_nothing():
    assert half_width_pct([1.0]) == half_width_pct([]) == math.inf


def test_one_disturbed_round_of_ten_does_not_count():
    quiet = [1 + 0.01 * (i % 3) for i in range(10)]
    assert half_width_pct([*quiet[:-1], 5.0]) < 2 * half_width_pct(quiet) < 3


def test_it_covers_what_it_promises():
    """Rounds with a twentieth of them half as slow again, as on a machine that has other work."""
    rng = random.Random(0)
    held = 0
    for _ in range(2000):
        values = [rng.gauss(1, 0.02) * (1.5 if rng.random() < 0.05 else 1) for _ in range(12)]
        kept = sorted(values)[2:-2]
        held += abs(statistics.mean(kept) - 1) <= half_width_pct(values) / 100 * statistics.mean(kept)
    assert 0.92 < held / 2000 < 0.98
