"""How sure a comparison of searches is: intervals of accuracies counted on images, and of figures resampled."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.latency import kendall_tau

Floats = NDArray[np.float64]
Interval = tuple[float, float]
Z_95 = 1.959964  # two-sided 95 % of the normal distribution
RESAMPLES, COVERAGE = 2000, 0.95


HARDLY, ENOUGH = 0.08, 0.2  # of `known_share`: ranks by chance below, and useful ones above


def wilson_interval(right_share: float, images: int) -> Interval:
    """95 % interval of an accuracy counted on `images` images (Wilson 1927)."""
    centre = right_share + Z_95**2 / (2 * images)
    half = Z_95 * (right_share * (1 - right_share) / images + Z_95**2 / (4 * images**2)) ** 0.5
    scale = 1 + Z_95**2 / images
    return (centre - half) / scale, (centre + half) / scale


def difference_interval(a: float, b: float, images: int) -> Interval:
    """95 % interval of a - b, two accuracies on as many images (Newcombe 1998, method 10).

    As of independent images: counted on the same ones the difference is surer than this.
    """
    (a_low, a_high), (b_low, b_high) = wilson_interval(a, images), wilson_interval(b, images)
    below, above = np.hypot(a - a_low, b_high - b), np.hypot(a_high - a, b - b_low)
    return a - b - float(below), a - b + float(above)


def bootstrap_interval(count: int, figure: Callable[[NDArray[np.int64]], float], seed: int = 0) -> Interval:
    """95 % percentile interval of `figure`, told from the numbers of `count` items drawn with replacement.

    Efron 1979. Of very few items it is too narrow: what none of them shows, it does not know.
    """
    rng = np.random.default_rng(seed)
    found = [figure(rng.integers(count, size=count)) for _ in range(RESAMPLES)]
    low, high = np.quantile(found, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def expected_best(values: Sequence[float] | Floats, draws: int) -> float:
    """What the best of `draws` draws from these values is on average (https://arxiv.org/abs/1909.03004, equation 8)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    at_most = (np.arange(len(ordered) + 1) / len(ordered)) ** draws
    return float(ordered @ np.diff(at_most))


def best_of_draws_interval(values: Sequence[float], draws: int) -> Interval:
    """Of `expected_best`, as far as the values tell: it ends at the largest of them."""
    known = np.asarray(values, dtype=np.float64)
    return bootstrap_interval(len(known), lambda drawn: expected_best(known[drawn], draws))


def kendall_interval(a: Floats, b: Floats) -> Interval:
    """Of Kendall's tau between two orders of the same items."""
    return bootstrap_interval(len(a), lambda drawn: kendall_tau(a[drawn], b[drawn]))


def mean_interval(values: Sequence[float]) -> Interval:
    """Of the mean: with the differences of pairs, a paired bootstrap."""
    known = np.asarray(values, dtype=np.float64)
    return bootstrap_interval(len(known), lambda drawn: float(known[drawn].mean()))


def known_share(likelihood: float, classes: int) -> float:
    """Of the cross-entropy of a guess among all classes, what is missing here: 0 for a guess, 1 for certainty."""
    return 1 - math.log(max(likelihood, 1 / classes)) / math.log(1 / classes)
