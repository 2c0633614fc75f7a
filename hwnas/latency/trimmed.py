"""How sure the middle of a few measurements is, when some of them may have been disturbed.

The confidence interval of the trimmed mean, as Tukey and McLaughlin (1963) give it: a fifth of the values is left out
at either end, and the spread is that of the values with these moved to the nearest of the others. One disturbed round
of ten makes the usual interval of the mean many times as wide, though the median that counts has hardly moved.
"""

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache

from scipy import stats

TRIMMED = 5  # of as many values the lowest and the highest are left out; of fewer, none


def half_width_pct(values: Sequence[float]) -> float:
    """Half of the 95 % confidence interval, relative to the trimmed mean; infinite below two values."""
    count = len(values)
    if count < 2:
        return math.inf
    left_out = count // TRIMMED
    ordered = sorted(values)
    kept = ordered[left_out : count - left_out]
    moved = [kept[0]] * left_out + kept + [kept[-1]] * left_out
    error = statistics.stdev(moved) * math.sqrt(count) / len(kept)
    return 100 * student_t(0.975, len(kept) - 1) * error / statistics.mean(kept)


@lru_cache
def student_t(probability: float, degrees: int) -> float:
    """Quantile of Student's distribution."""
    return float(stats.t.ppf(probability, degrees))
