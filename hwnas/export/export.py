"""Trained module -> model files of several precisions, each compared with the module on real images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hwnas.export.diagnosis import conversion_error, reduction_error
from hwnas.ondevice.facts import cores
from hwnas.runtimes import CONVERTERS, RUNNABLE, RUNTIMES
from hwnas.runtimes.runtime import Precision, run_each
from hwnas.search.evidence import wilson_interval

MAX_RELATIVE_ERROR = 1e-4  # of fp32 logits, relative to the largest one
BATCH_PIXELS = 2**18  # that torch computes at once: more leaves the processor's caches
MOST_AT_ONCE = 8  # copies of a file that compute different images at the same time; each takes its memory
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """Images that the module did not see in training, and what it says of them."""

    images: Floats  # (n, C, H, W), normalised
    labels: NDArray[np.int64]  # (n,)
    logits: Floats  # (n, classes)

    @property
    def accuracy(self) -> float:
        return float((self.logits.argmax(1) == self.labels).mean())


@dataclass(frozen=True, slots=True)
class Exported:
    """One converted file, and how it compares with the module."""

    path: str
    runtime: str
    precision: Precision
    size_bytes: int
    max_relative_error: float
    top1_agreement: float
    images: int
    test_accuracy: float
    test_accuracy_interval: tuple[float, float]  # 95 %
    drop_points: float  # percentage points of accuracy lost against the module, on the same images
    operators: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)  # of these, what ran as plain CPU code, outside the delegate
    seconds: float = 0.0  # to make and to check it
    failed: str = ""  # why the file must not be used
    fine_tuned: dict[str, Any] = field(default_factory=dict)  # how its weights were, for int8, and what it lost before

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def model_path(folder: Path, runtime: str, precision: Precision = "fp32") -> Path:
    """Where a runtime's file of a precision is: `model.tflite`, `model.fp16.tflite`."""
    stem = "model" if precision == "fp32" else f"model.{precision}"
    return folder / f"{stem}{CONVERTERS[runtime].suffix}"


def failed_path(path: Path) -> Path:
    """The name under which a file is kept that failed: `model.int8.failed.tflite`."""
    return path.with_name(f"{path.stem}.failed{path.suffix}")


def reference(module: nn.Module, images: Floats, labels: NDArray[np.int64]) -> Reference:
    """The module's own logits, in eval mode on the CPU."""
    module = module.cpu().to(memory_format=torch.contiguous_format).eval()
    size = max(1, BATCH_PIXELS // (images.shape[2] * images.shape[3]))
    with torch.no_grad():
        starts = range(0, len(images), size)
        batches = [module(torch.from_numpy(images[start : start + size])).numpy() for start in starts]
    return Reference(images, labels, np.concatenate(batches))


def logits_of(path: Path, runtime: str, images: Floats) -> Floats:
    """(n, C, H, W) -> (n, classes), image by image as a phone would, one thread each.

    Threads that share the images out between them compute them in half the time of threads that share every image.
    """
    count = min(MOST_AT_ONCE, cores(), len(images))
    models = [RUNNABLE[runtime].load(path, threads=1) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        return np.concatenate(list(pool.map(run_each, models, np.array_split(images, count))))


def convert(module: nn.Module, runtime: str, folder: Path, metadata: Mapping[str, str], ref: Reference) -> Exported:
    """Writes the fp32 file with the metadata inside, and compares it with the module.

    Failed where logits differ by more than 1e-4 of the largest one, or where any image's top-1 differs. UserError where
    the module cannot be converted.
    """
    path = model_path(folder, runtime)
    channels, height, width = ref.images.shape[1:]
    try:
        RUNNABLE[runtime].convert(module, (channels, height, width), path)
    except Exception as error:  # noqa: BLE001 converters raise whatever they meet
        raise conversion_error(module, (channels, height, width), runtime, error) from None
    RUNNABLE[runtime].write_metadata(path, dict(metadata))
    found = logits_of(path, runtime, ref.images)
    difference, same = relative_error(found, ref.logits), float((found.argmax(1) == ref.logits.argmax(1)).mean())
    failed = ""
    if not difference <= MAX_RELATIVE_ERROR or same < 1:
        failed = (
            f"the {runtime} file differs from the trained network: logits by {difference:.2g} relative (allowed "
            f"{MAX_RELATIVE_ERROR:g}), the same top-1 on {same:.2%} of {len(ref.labels)} images"
        )
    return _described(path, runtime, "fp32", found, ref, failed)


def reduce(
    runtime: str,
    precision: Precision,
    folder: Path,
    metadata: Mapping[str, str],
    calibration: Floats,
    ref: Reference,
    max_drop_points: float | None,
) -> Exported:
    """Makes a file of less precision from the fp32 one, and compares it with the module.

    calibration: (m, C, H, W) normalised training images. Failed where it loses more accuracy than `max_drop_points`.
    """
    assert precision != "fp32"
    path = model_path(folder, runtime, precision)
    images = [image[None] for image in calibration]
    try:
        RUNTIMES[runtime].reduce(model_path(folder, runtime), precision, images, path)
        RUNTIMES[runtime].write_metadata(path, dict(metadata))
        found = logits_of(path, runtime, ref.images)
    except Exception as error:  # noqa: BLE001 quantisers and runtimes raise whatever they meet
        raise reduction_error(model_path(folder, runtime), runtime, precision, error) from None
    drop_points = 100 * (ref.accuracy - float((found.argmax(1) == ref.labels).mean()))
    failed = ""
    if not np.isfinite(found).all():
        failed = f"the {runtime} file of {precision} computes values that are not numbers"
    elif len(found) > 1 and not np.ptp(found, axis=0).any():
        failed = f"the {runtime} file of {precision} computes the same values for every image"
    elif max_drop_points is not None and drop_points > max_drop_points + 1e-9:
        failed = (
            f"the {runtime} file of {precision} is {drop_points:.2f} points less accurate than the trained network on "
            f"{len(ref.labels)} images (allowed {max_drop_points:g}, --max-drop)"
        )
    return _described(path, runtime, precision, found, ref, failed)


def relative_error(found: Floats, expected: Floats) -> float:
    """The largest difference, relative to the largest expected value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _described(path: Path, runtime: str, precision: Precision, found: Floats, ref: Reference, failed: str) -> Exported:
    """A file by its logits; one that failed gets a name that says so."""
    accuracy = float((found.argmax(1) == ref.labels).mean())
    operators, left_out = (
        dict(sorted(Counter(names).items()))
        for names in (RUNNABLE[runtime].operators(path), RUNNABLE[runtime].left_out(path))
    )
    return Exported(
        (path.rename(failed_path(path)) if failed else path).name,
        runtime,
        precision,
        size_bytes=(failed_path(path) if failed else path).stat().st_size,
        max_relative_error=relative_error(found, ref.logits),
        top1_agreement=float((found.argmax(1) == ref.logits.argmax(1)).mean()),
        images=len(ref.labels),
        test_accuracy=accuracy,
        test_accuracy_interval=wilson_interval(accuracy, len(ref.labels)),
        drop_points=100 * (ref.accuracy - accuracy),
        operators=operators,
        left_out=left_out,
        failed=failed,
    )


def write_beside(folder: Path, classes: Sequence[str], preprocessing_json: str) -> None:
    """`labels.txt`, a class a line in the order of the logits, and `preprocessing.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    (folder / "preprocessing.json").write_text(preprocessing_json + "\n", encoding="utf-8")
