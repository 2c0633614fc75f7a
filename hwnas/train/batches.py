"""Stored images -> batches: augmented for training, centred for evaluation."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hwnas.datasets import ImageSet
from hwnas.nn import Compute
from hwnas.ranks import rank, size
from hwnas.train.corruption import Change, unchanged

if TYPE_CHECKING:
    from torchvision.transforms import v2

MEAN, STD = 0.5, 0.5  # of values in 0..1: pixels come in as -1..1
PHOTO_RESOLUTION = 64  # from here on crops are resized, below they are shifted
STORED_BYTES = 2**30  # of images that are kept on the device
STORED_SHARE = 8 / 7  # stored side over network input for photos: 256 over 224


def stored_size(resolution: int) -> int:
    """Side in pixels of the images to store for a network input: photos keep a margin to crop from."""
    return round(resolution * STORED_SHARE) if resolution >= PHOTO_RESOLUTION else resolution


def augmentation(resolution: int, flip: bool) -> "v2.Transform":
    """torchvision's standard: random resized crop for photos, a shift by an eighth for small images; mirrored if so."""
    from torchvision.transforms import v2  # slow to import, and only training needs it

    if resolution >= PHOTO_RESOLUTION:
        crop: v2.Transform = v2.RandomResizedCrop(resolution, scale=(0.35, 1.0), antialias=True)
    else:
        crop = v2.RandomCrop(resolution, padding=resolution // 8)
    return v2.Compose([crop, v2.RandomHorizontalFlip()] if flip else [crop])


class EpochBatches(Dataset[tuple[Tensor, Tensor]]):
    """Number of a batch -> (uint8 images, labels): this process' part of one epoch's batches, whole ones only.

    The order follows from seed and epoch, and how an image is changed from seed, epoch and its place in the order: any
    batch can be made without those before it, and a part of it without the rest.
    """

    def __init__(self, images: ImageSet, resolution: int, flip: bool, batch_size: int, seed: int, epoch: int) -> None:
        self.images, self.transform, self.batch_size = images, augmentation(resolution, flip), batch_size
        self.seed, self.epoch = seed, epoch
        self.order = np.random.default_rng([seed, epoch, 0]).permutation(len(images.labels))
        self.part = slice(rank(), None, size())

    def __len__(self) -> int:
        return len(self.order) // self.batch_size

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:  # -> (n, 3, resolution, resolution), (n,)
        chosen = self.order[number * self.batch_size : (number + 1) * self.batch_size][self.part]
        rng = np.random.default_rng([self.seed, self.epoch, 1 + number])
        seeds = rng.integers(2**63, size=self.batch_size)[self.part]
        with torch.random.fork_rng(devices=[]):
            images = [self._image(int(i), int(seed)) for i, seed in zip(chosen, seeds, strict=True)]
        return torch.stack(images), torch.from_numpy(self.images.labels[chosen])

    def _image(self, index: int, seed: int) -> Tensor:
        torch.default_generator.manual_seed(seed)  # torchvision's transforms draw from it
        image: Tensor = self.transform(torch.from_numpy(np.array(self.images.images[index])))
        return image


def normalise(images: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 -> float32 in -1..1."""
    return images.float().div_(255 * STD).sub_(MEAN / STD)


def train_batches(
    images: ImageSet,
    resolution: int,
    flip: bool,
    batch_size: int,
    seed: int,
    epoch: int,
    workers: int = 0,
    start: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of (uint8 images, labels) from batch `start` on; those before it are not made."""
    batches = EpochBatches(images, resolution, flip, batch_size, seed, epoch)
    loader = DataLoader(
        batches,
        batch_size=None,  # the data set gives whole batches
        sampler=range(start, len(batches)),
        num_workers=workers,
        generator=torch.Generator(),  # else it would draw from the global one
    )
    yield from loader


def eval_images(images: ImageSet, resolution: int, start: int, stop: int) -> Tensor:
    """Images start..stop, centre crop, as uint8 (n, 3, resolution, resolution)."""
    margin = (images.images.shape[-1] - resolution) // 2
    crop = images.images[start:stop, :, margin : margin + resolution, margin : margin + resolution]
    return torch.from_numpy(np.array(crop))  # a copy: the map is read-only


class StoredBatches:
    """The batches of `eval_batches` again and again: decoded, changed and kept on the device, as bytes.

    Where they would take more than `most_bytes`, they are made of the stored images each time.
    """

    def __init__(
        self,
        images: ImageSet,
        resolution: int,
        batch_size: int,
        compute: Compute,
        most_bytes: int = STORED_BYTES,
        change: Change = unchanged,
    ) -> None:
        self.images, self.resolution, self.batch_size, self.compute = images, resolution, batch_size, compute
        self.change = change
        self.stored: list[tuple[Tensor, Tensor]] | None = None
        if 3 * resolution**2 * len(images.labels) <= most_bytes:
            self.stored = list(self._made())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:  # (normalised images, labels)
        return ((normalise(images), labels) for images, labels in self.stored or self._made())

    def _made(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.images.labels), self.batch_size):
            batch = eval_images(self.images, self.resolution, start, start + self.batch_size)
            labels = torch.from_numpy(np.array(self.images.labels[start : start + self.batch_size]))
            changed = self.change(batch, range(start, start + len(batch)))
            yield self.compute.images(changed), labels.to(self.compute.device)


def eval_batches(
    images: ImageSet, resolution: int, batch_size: int, compute: Compute
) -> Iterator[tuple[Tensor, Tensor]]:
    """(normalised images, labels) on the device, in stored order."""
    return iter(StoredBatches(images, resolution, batch_size, compute, most_bytes=0))
