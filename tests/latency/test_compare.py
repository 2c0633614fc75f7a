"""Ranks and their correlation."""

import math

import numpy as np
import pytest

from hwnas.latency.compare import average_ranks, spearman


def test_equal_values_share_their_rank():
    assert average_ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]


def test_spearman_of_equal_opposite_and_constant_orders():
    a = np.arange(6.0)
    assert spearman(a, a**3) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    assert math.isnan(spearman(a, np.ones(6)))
    scipy = pytest.importorskip("scipy.stats")
    b = np.array([1.0, 3, 2, 2, 5, 4])
    assert spearman(a, b) == pytest.approx(scipy.spearmanr(a, b).statistic)
