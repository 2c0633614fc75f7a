"""Images as a camera may take them: noisy, out of focus, of little contrast, too bright, too dark.

After ImageNet-C (Hendrycks and Dietterich, https://arxiv.org/abs/1903.12261, and its code's values for severities 1 and
2): Gaussian noise, blur, contrast and brightness, the latter both ways. Of the fifteen kinds there, those that a few
lines make the same on every machine.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NOISE = 0.08  # standard deviation, of values in 0..1
BLUR_PX = 2.0  # standard deviation at `BLUR_RESOLUTION`, and in proportion below
BLUR_RESOLUTION, LEAST_BLUR_PX = 224, 0.6  # as little as this blurs images of 32 pixels in CIFAR-10-C
CONTRAST = 0.4  # of the differences from an image's mean, what is left
BRIGHTNESS = 0.2  # added to values in 0..1, or taken away

Change = Callable[[Tensor, Sequence[int]], Tensor]  # uint8 images (n, 3, H, W), their numbers -> the same, changed


def unchanged(images: Tensor, numbers: Sequence[int]) -> Tensor:
    """As stored."""
    return images


def corrupted(images: Tensor, numbers: Sequence[int]) -> Tensor:
    """Each image in one of five ways: by its number, whatever other images are beside it.

    images: (n, 3, H, W) uint8. -> the same shape, uint8
    """
    changed = [KINDS[number % len(KINDS)](x / 255, number) for x, number in zip(images.float(), numbers, strict=True)]
    return (torch.stack(changed).clamp(0, 1) * 255).round().to(torch.uint8)


def _noisy(x: Tensor, number: int) -> Tensor:
    return x + NOISE * torch.randn(x.shape, generator=torch.Generator().manual_seed(number))


def _blurred(x: Tensor, number: int) -> Tensor:
    from torchvision.transforms.v2 import functional  # slow to import

    sigma_px = max(LEAST_BLUR_PX, BLUR_PX * x.shape[-1] / BLUR_RESOLUTION)
    size_px = 2 * min(round(3 * sigma_px), (x.shape[-1] - 1) // 2) + 1  # three standard deviations to either side
    found: Tensor = functional.gaussian_blur(x, [size_px, size_px], [sigma_px, sigma_px])
    return found


def _flattened(x: Tensor, number: int) -> Tensor:
    return x.mean() + CONTRAST * (x - x.mean())


def _brighter(x: Tensor, number: int) -> Tensor:
    return x + BRIGHTNESS


def _darker(x: Tensor, number: int) -> Tensor:
    return x - BRIGHTNESS


KINDS: tuple[Callable[[Tensor, int], Tensor], ...] = (_noisy, _blurred, _flattened, _brighter, _darker)
