"""Accuracy and likelihood of labelled images, from one pass."""

import math

import numpy as np
import pytest
import torch

from hwnas import ranks
from hwnas.datasets import ImageSet
from hwnas.nn import Compute
from hwnas.train import EVAL_BATCH, Judged, accuracy_on, eval_batches, judged_on, shared_judged

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


def test_processes_that_look_at_a_part_each_find_together_what_one_finds(monkeypatch):
    rng = np.random.default_rng(0)
    images = ImageSet(rng.integers(0, 256, (51, 3, 8, 8), dtype=np.uint8), rng.integers(0, 10, 51))

    def forward(x):
        return x.flatten(1)[:, :10]

    alone = judged_on(forward, eval_batches(images, 8, EVAL_BATCH, CPU), CPU)
    assert shared_judged(forward, images, 8, CPU) == (alone.accuracy, pytest.approx(alone.likelihood, rel=1e-6))
    parts = []  # of each of two processes: what it adds to the sums
    monkeypatch.setattr(ranks, "size", lambda: 2)
    monkeypatch.setattr(ranks, "total", lambda number: parts.append(number) or number)
    for process in range(2):
        monkeypatch.setattr(ranks, "rank", lambda process=process: process)
        shared_judged(forward, images, 8, CPU)
    assert sum(parts[::2]) / 51 == alone.accuracy
    assert math.exp(-sum(parts[1::2]) / 51) == pytest.approx(alone.likelihood, rel=1e-6)
