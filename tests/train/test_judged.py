"""Accuracy and likelihood of labelled images, from one pass."""

import math

import pytest
import torch

from hwnas.nn import Compute
from hwnas.train import Judged, accuracy_on, judged_on

CPU = Compute("cpu")


def test_both_are_of_all_images_whatever_the_batches():
    rng = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 10, generator=rng), torch.randint(10, (50,), generator=rng)
    expected = math.exp(-torch.nn.functional.cross_entropy(logits.double(), labels).item())
    for size in (50, 7):
        batches = list(zip(logits.split(size), labels.split(size), strict=True))
        found = judged_on(lambda x: x, batches, CPU)
        assert found.likelihood == pytest.approx(expected, rel=1e-5)
        assert found.accuracy == accuracy_on(lambda x: x, batches, CPU)


def test_a_uniform_guess_is_as_likely_as_there_are_classes():
    found = judged_on(lambda x: x, [(torch.zeros(8, 4), torch.zeros(8, dtype=torch.long))], CPU)
    assert found == Judged(1.0, pytest.approx(0.25))
