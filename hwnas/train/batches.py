"""Stored images -> batches: augmented for training, centred for evaluation."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from hwnas.datasets import ImageSet
from hwnas.nn import Compute

MEAN, STD = 0.5, 0.5  # of values in 0..1: pixels come in as -1..1
PHOTO_RESOLUTION = 64  # from here on crops are resized, below they are shifted
STORED_BYTES = 2**30  # of images that are kept on the device
STORED_SHARE = 8 / 7  # stored side over network input for photos: 256 over 224


def stored_size(resolution: int) -> int:
    """Side in pixels of the images to store for a network input: photos keep a margin to crop from."""
    return round(resolution * STORED_SHARE) if resolution >= PHOTO_RESOLUTION else resolution


def augmentation(resolution: int, flip: bool) -> v2.Transform:
    """torchvision's standard: random resized crop for photos, a shift by an eighth for small images; mirrored if so."""
    if resolution >= PHOTO_RESOLUTION:
        crop: v2.Transform = v2.RandomResizedCrop(resolution, scale=(0.35, 1.0), antialias=True)
    else:
        crop = v2.RandomCrop(resolution, padding=resolution // 8)
    return v2.Compose([crop, v2.RandomHorizontalFlip()] if flip else [crop])


class Augmented(Dataset[tuple[Tensor, int]]):
    """Training images, augmented one by one with torch's global generator."""

    def __init__(self, images: ImageSet, resolution: int, flip: bool) -> None:
        self.images, self.transform = images, augmentation(resolution, flip)

    def __len__(self) -> int:
        return len(self.images.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:  # -> (3, resolution, resolution) uint8, label
        image = torch.from_numpy(np.array(self.images.images[index]))
        return self.transform(image), int(self.images.labels[index])


def normalise(images: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 -> float32 in -1..1."""
    return images.float().div_(255 * STD).sub_(MEAN / STD)


def train_batches(
    images: ImageSet, resolution: int, flip: bool, batch_size: int, seed: int, epoch: int, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of (uint8 images, labels), in an order and with augmentations that follow from seed and epoch alone."""
    epoch_seed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    torch.manual_seed(epoch_seed)
    loader = DataLoader(
        Augmented(images, resolution, flip),
        batch_size=min(batch_size, len(images.labels)),
        shuffle=True,
        drop_last=True,  # a last batch of one image would break batch norm
        num_workers=workers,
        generator=torch.Generator().manual_seed(epoch_seed),
    )
    yield from loader


def eval_images(images: ImageSet, resolution: int, start: int, stop: int) -> Tensor:
    """Images start..stop, centre crop, as uint8 (n, 3, resolution, resolution)."""
    margin = (images.images.shape[-1] - resolution) // 2
    crop = images.images[start:stop, :, margin : margin + resolution, margin : margin + resolution]
    return torch.from_numpy(np.array(crop))  # a copy: the map is read-only


class StoredBatches:
    """The batches of `eval_batches` again and again: decoded once and kept on the device, as bytes.

    Where they would take more than `most_bytes`, they are read from the stored images each time.
    """

    def __init__(
        self, images: ImageSet, resolution: int, batch_size: int, compute: Compute, most_bytes: int = STORED_BYTES
    ) -> None:
        self.images, self.resolution, self.batch_size, self.compute = images, resolution, batch_size, compute
        self.stored: list[tuple[Tensor, Tensor]] | None = None
        if 3 * resolution**2 * len(images.labels) <= most_bytes:
            self.stored = list(_bytes_batches(images, resolution, batch_size, compute))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:  # (normalised images, labels)
        batches = self.stored or _bytes_batches(self.images, self.resolution, self.batch_size, self.compute)
        return ((normalise(images), labels) for images, labels in batches)


def eval_batches(
    images: ImageSet, resolution: int, batch_size: int, compute: Compute
) -> Iterator[tuple[Tensor, Tensor]]:
    """(normalised images, labels) on the device, in stored order."""
    return iter(StoredBatches(images, resolution, batch_size, compute, most_bytes=0))


def _bytes_batches(
    images: ImageSet, resolution: int, batch_size: int, compute: Compute
) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(images.labels), batch_size):
        batch = eval_images(images, resolution, start, start + batch_size)
        labels = torch.from_numpy(np.array(images.labels[start : start + batch_size]))
        yield compute.images(batch), labels.to(compute.device)
