"""What a network sees."""

import numpy as np
import torch

from hwnas.datasets import ImageSet
from hwnas.nn import Compute
from hwnas.train import StoredBatches, eval_batches, normalise, stored_size
from hwnas.train.batches import train_batches


def images_of(count, side):
    rng = np.random.default_rng(0)
    return ImageSet(rng.integers(0, 255, (count, 3, side, side), dtype=np.uint8), np.arange(count))


def test_pixels_become_minus_one_to_one():
    torch.testing.assert_close(normalise(torch.tensor([0, 255], dtype=torch.uint8)), torch.tensor([-1.0, 1.0]))


def test_photos_are_stored_with_a_margin_small_images_without():
    assert (stored_size(224), stored_size(64), stored_size(32)) == (256, 73, 32)


def test_evaluation_is_the_centre_in_stored_order():
    images = images_of(5, 10)
    batches = list(eval_batches(images, 8, 2, Compute("cpu")))
    assert [len(labels) for _, labels in batches] == [2, 2, 1]
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(batches[0][0][0], normalise(torch.from_numpy(images.images[0, :, 1:9, 1:9].copy())))


def test_an_epoch_shows_every_image_once_and_follows_from_seed_and_epoch():
    images = images_of(12, 32)
    epochs = [list(train_batches(images, 32, True, 4, 0, epoch)) for epoch in (0, 0, 1)]
    orders = [torch.cat([labels for _, labels in epoch]).tolist() for epoch in epochs]
    assert sorted(orders[0]) == list(range(12))
    assert orders[0] == orders[1] != orders[2]
    torch.testing.assert_close(epochs[0][0][0], epochs[1][0][0])
    assert epochs[0][0][0].dtype == torch.uint8


def test_stored_batches_are_read_once_and_those_above_the_bound_each_time():
    images = images_of(5, 10)
    expected = list(eval_batches(images, 8, 2, Compute("cpu")))
    kept = StoredBatches(images, 8, 2, Compute("cpu"))
    too_many = StoredBatches(images, 8, 2, Compute("cpu"), most_bytes=5 * 3 * 8 * 8 - 1)
    for batches in (kept, kept, too_many, too_many):
        for (mine, labels), (theirs, theirs_labels) in zip(batches, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
            assert labels.tolist() == theirs_labels.tolist()
    images.images[:] = 0
    assert next(iter(kept))[0].max() > -1
    assert next(iter(too_many))[0].max() == -1
