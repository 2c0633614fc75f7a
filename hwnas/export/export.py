"""Trained module -> model files that are proven to compute the same."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.runtime import Dtype, ReducedDtype

MAX_RELATIVE_ERROR = 1e-4  # of logits, relative to the largest one


class VerificationError(Exception):
    """A converted file does not compute what the trained network computes."""


@dataclass(frozen=True, slots=True)
class Exported:
    """One converted file, and how it compares with the module on real images."""

    path: str
    size_bytes: int
    max_relative_error: float
    top1_agreement: float
    images: int
    test_accuracy: float

    def as_record(self) -> dict[str, float | int | str]:
        return asdict(self)


def model_path(folder: Path, runtime: str, dtype: Dtype = "fp32") -> Path:
    """Where a runtime's file of a precision is: `model.tflite`, `model.fp16.tflite`."""
    stem = "model" if dtype == "fp32" else f"model.{dtype}"
    return folder / f"{stem}{RUNTIMES[runtime].suffix}"


def logits_of(path: Path, runtime: str, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, C, H, W) -> (n, classes), image by image as a phone would."""
    model = RUNTIMES[runtime].load(path, threads=1)
    return np.concatenate([model.run(image[None]).reshape(1, -1) for image in images])


def export(
    module: nn.Module,
    runtime: str,
    folder: Path,
    metadata: Mapping[str, str],
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> Exported:
    """Converts the module, puts the metadata inside the file, and compares it with the module on normalised images.

    VerificationError where logits differ by more than 1e-4 of the largest one, or where any image's top-1 differs.
    """
    module = module.cpu().to(memory_format=torch.contiguous_format).eval()
    path = model_path(folder, runtime)
    _, *shape = images.shape
    RUNTIMES[runtime].convert(module, (shape[0], shape[1], shape[2]), path)
    RUNTIMES[runtime].write_metadata(path, dict(metadata))
    with torch.no_grad():
        expected = np.concatenate([module(torch.from_numpy(x)).numpy() for x in np.array_split(images, 8) if len(x)])
    found = logits_of(path, runtime, images)
    exported = _compared(path, found, expected, labels)
    if not exported.max_relative_error <= MAX_RELATIVE_ERROR or exported.top1_agreement < 1:
        raise VerificationError(
            f"the {runtime} file differs from the trained network: logits by {exported.max_relative_error:.2g} "
            f"relative (allowed {MAX_RELATIVE_ERROR:g}), the same top-1 on {exported.top1_agreement:.2%} of "
            f"{len(images)} images"
        )
    return exported


def _compared(
    path: Path, found: NDArray[np.float32], expected: NDArray[np.float32], labels: NDArray[np.int64]
) -> Exported:
    """A file by its logits and those that are right, (n, classes) each."""
    return Exported(
        path.name,
        path.stat().st_size,
        max_relative_error=float(np.abs(found - expected).max() / np.abs(expected).max()),
        top1_agreement=float((found.argmax(1) == expected.argmax(1)).mean()),
        images=len(labels),
        test_accuracy=float((found.argmax(1) == labels).mean()),
    )


def export_reduced(
    runtime: str,
    dtype: ReducedDtype,
    folder: Path,
    metadata: Mapping[str, str],
    calibration: NDArray[np.float32],
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> Exported:
    """Makes a file of less precision from the exported fp32 one, and compares the two on normalised images.

    calibration: (m, C, H, W) normalised training images. Nothing is refused: less precision is never exact.
    """
    exact, path = model_path(folder, runtime), model_path(folder, runtime, dtype)
    RUNTIMES[runtime].reduce(exact, dtype, [image[None] for image in calibration], path)
    RUNTIMES[runtime].write_metadata(path, dict(metadata))
    return _compared(path, logits_of(path, runtime, images), logits_of(exact, runtime, images), labels)


def preprocessing(resolution: int, stored: int, mean: float, std: float) -> dict[str, object]:
    """What an app has to do to an image before the model, in order."""
    return {
        "color": "RGB",
        "resize_shorter_side_px": stored,
        "center_crop_px": resolution,
        "scale": "value / 255",
        "mean": [mean] * 3,
        "std": [std] * 3,
    }


def write_beside(folder: Path, classes: Sequence[str], preprocessing_json: str) -> None:
    """`labels.txt`, a class a line in the order of the logits, and `preprocessing.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    (folder / "preprocessing.json").write_text(preprocessing_json + "\n", encoding="utf-8")
