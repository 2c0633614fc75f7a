"""Corrupted images are the same for the same numbers, however they are batched, and stay images."""

import numpy as np
import pytest
import torch

from hwnas.datasets import ImageSet
from hwnas.nn import Compute
from hwnas.train import StoredBatches, corrupted, shared_accuracy, unchanged
from hwnas.train.corruption import BRIGHTNESS, CONTRAST, KINDS, NOISE

SIDE = 32


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(0).integers(60, 190, (15, 3, SIDE, SIDE), dtype=np.uint8))


def test_an_image_is_changed_by_its_number_alone(images):
    together = corrupted(images, range(15))
    alone = [corrupted(images[n : n + 1], [n])[0] for n in range(15)]
    assert torch.equal(together, torch.stack(alone))
    assert together.dtype == torch.uint8
    assert not torch.equal(together, corrupted(images, range(1, 16)))


def test_every_kind_does_what_it_is_called(images):
    image = images[:1].expand(len(KINDS), -1, -1, -1)
    noisy, blurred, flattened, brighter, darker = (corrupted(image, range(len(KINDS))).float() / 255).unbind()
    plain = image[0].float() / 255
    assert (noisy - plain).std() == pytest.approx(NOISE, rel=0.05)
    assert blurred.std() < 0.7 * plain.std()
    assert blurred.mean() == pytest.approx(float(plain.mean()), abs=0.01)
    assert flattened.std() == pytest.approx(CONTRAST * float(plain.std()), rel=0.02)
    assert (brighter - plain).mean() == pytest.approx(BRIGHTNESS, abs=0.01)
    assert (darker - plain).mean() == pytest.approx(-BRIGHTNESS, abs=0.01)


def test_values_stay_within_a_byte():
    black, white = torch.zeros(5, 3, SIDE, SIDE, dtype=torch.uint8), torch.full((5, 3, SIDE, SIDE), 255).byte()
    assert int(corrupted(black, range(5))[4].max()) == 0
    assert int(corrupted(white, range(5))[3].min()) == 255


def test_stored_batches_are_changed_once_and_the_same_as_those_made_anew(images):
    source = ImageSet(images.numpy(), np.arange(15))
    kept, anew = (
        list(StoredBatches(source, SIDE, 4, Compute("cpu"), most_bytes=most, change=corrupted)) for most in (2**20, 0)
    )
    for (a, labels), (b, _) in zip(kept, anew, strict=True):
        assert torch.equal(a, b)
        assert len(labels) == len(a)


def test_accuracy_tells_corrupted_images_from_others(images):
    source = ImageSet(images.numpy(), np.arange(15) % 5)

    def by_brightness(x):  # (N, 3, H, W) -> (N, 5): right for the two kinds that change it
        mean = x.mean(dim=(1, 2, 3))
        logits = torch.zeros(len(x), 5)
        logits[:, 3], logits[:, 4] = mean - 0.2, -mean - 0.2
        return logits

    found = [shared_accuracy(by_brightness, source, SIDE, Compute("cpu"), change) for change in (unchanged, corrupted)]
    assert found[0] <= 0.2
    assert found[1] >= 0.4
