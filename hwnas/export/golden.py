"""A golden pair: an image, and the logits that every app must find for it.

An app that resizes, crops, orders channels or normalises otherwise finds others, and says so when it starts.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hwnas.runtimes.runtime import Precision
from hwnas.storage import write_json

IMAGE, LOGITS = "golden.png", "golden.json"
# Of the largest logit. What other processors' kernels and other builds of a runtime may differ by: arithmetic in fp16
# does by 1 to 3 % (docs/export.md). A wrong normalisation differs by tens of percent.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 5e-2, "int8": 0.1, "int8_float_io": 0.1, "dynamic": 0.1}


def write_golden(
    folder: Path, pixels: NDArray[np.uint8], files: dict[str, tuple[Precision, NDArray[np.float32]]]
) -> None:
    """Writes the pair. pixels: (3, stored, stored); files: each model file's precision and its logits (classes,)."""
    Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / IMAGE)
    described: dict[str, Any] = {
        name: {"max_relative_error": TOLERANCE[precision], "logits": [float(x) for x in logits]}
        for name, (precision, logits) in files.items()
    }
    write_json(folder / LOGITS, {"image": IMAGE, "files": described})
