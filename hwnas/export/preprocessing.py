"""What happens to an image before the network, here and in every app."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.datasets import ImageSet
from hwnas.train import eval_images

Channels = tuple[float, float, float]  # red, green, blue


@dataclass(frozen=True)
class Preprocessing:
    """stored_px: the shorter side is resized to it; resolution_px: the centred square that is cut out of that."""

    resolution_px: int
    stored_px: int
    mean: Channels  # of values in 0..1
    std: Channels

    def as_record(self) -> dict[str, Any]:
        """What an app has to do, in order."""
        return {
            "color": "RGB",
            "resize_shorter_side_px": self.stored_px,
            "center_crop_px": self.resolution_px,
            "scale": "value / 255",
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def normalised(self, images: ImageSet, picked: NDArray[np.intp]) -> NDArray[np.float32]:
        """Stored images as the network gets them: (n, 3, resolution_px, resolution_px)."""
        cut = torch.cat([eval_images(images, self.resolution_px, int(i), int(i) + 1) for i in picked]).numpy()
        mean, std = (np.asarray(x, np.float32).reshape(1, 3, 1, 1) for x in (self.mean, self.std))
        normalised: NDArray[np.float32] = (cut.astype(np.float32) / np.float32(255) - mean) / std
        return normalised
