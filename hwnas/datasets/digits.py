"""scikit-learn's 1,797 real handwritten digits, 8 x 8 pixels: the embedded default."""

import numpy as np
from PIL import Image

from hwnas.datasets.dataset import DataConfig

WHITE = 16  # the data set's largest value


class Digits:
    """E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998."""

    def __init__(self, config: DataConfig) -> None:
        from sklearn.datasets import load_digits  # slow to import, and only this data set needs it

        data = load_digits()
        self.pixels = np.round(data.images * (255 / WHITE)).astype(np.uint8)
        self.classes = tuple(map(str, data.target_names))
        self.labels = data.target.astype(np.int64)
        self.part = np.zeros(len(self.labels), np.int8)
        self.flip = False

    def name(self, index: int) -> str:
        return f"digit {index}"

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index]).convert("RGB")

    def content(self, index: int) -> bytes:
        return bytes(self.pixels[index])
