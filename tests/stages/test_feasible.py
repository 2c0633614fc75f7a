"""Whether a limit can be kept: the lowest cost, also where decisions depend on each other."""

import numpy as np
import pytest

from hwnas.search.populations import drawn
from hwnas.spaces import SpaceConfig, build_space
from hwnas.stages.feasible import lowest

SPACE = build_space(SpaceConfig("proxyless_small", 32, 4))
ARCHS = drawn(SPACE, 500, np.random.default_rng(0))


def test_the_lowest_of_a_sum_is_exact():
    weights = np.random.default_rng(1).random((len(SPACE.decisions), 7)) + 0.1
    sizes = [len(d.choices) for d in SPACE.decisions]
    exact = sum(row[:size].min() for row, size in zip(weights, sizes, strict=True))
    found = lowest(SPACE, lambda archs: weights[np.arange(archs.shape[1]), archs].sum(axis=1), ARCHS)
    assert found == pytest.approx(exact)


def test_what_a_sample_keeps_is_not_above_the_lowest():
    """A pit that no descent by single decisions finds from elsewhere."""
    pit = ARCHS[77]

    def cost(archs):
        far = (archs != pit).sum(axis=1)
        return np.where(far == 0, 1.0, 100.0 - far)

    assert lowest(SPACE, cost, ARCHS) == 1.0
