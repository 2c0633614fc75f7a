"""Files on other machines, emulated Arm processors or the device itself, compared with torch and with this host."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hwnas.devices import Profile, RemoteDevice
from hwnas.export.export import (
    MAX_RELATIVE_ERROR,
    Exported,
    Floats,
    Reference,
    failed_path,
    logits_of,
    relative_error,
)
from hwnas.export.golden import TOLERANCE
from hwnas.ondevice.facts import cores
from hwnas.runtimes.runtime import NotRun, Precision

Report = Callable[[int, int, str], None]  # done, total, what


class Machines(Protocol):
    """Where files are run."""

    @property
    def names(self) -> Sequence[str]:
        """What each is called."""
        ...

    def logits(self, name: str, runtime: str, model: Path, images: Floats) -> Floats:
        """(n, C, H, W) -> (n, classes), image by image, as that one computes them. NotRun where it does not."""
        ...


class OnDevice:
    """The device of a profile, as the only one."""

    def __init__(self, profile: Profile) -> None:
        self.device = RemoteDevice(profile)
        self.names = (self.device.describe()["device"],)

    def logits(self, name: str, runtime: str, model: Path, images: Floats) -> Floats:
        return self.device.logits(model, images)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """One file on one machine, on some of the pictures that it was checked on."""

    images: int
    max_relative_error: float | None = None  # from torch; None where it did not run
    top1_agreement: float | None = None
    max_relative_difference: float | None = None  # from the same file on this host
    same_top1_as_here: float | None = None
    seconds: float = 0.0
    failed: str = ""  # why the file must not be used there

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


Found = dict[str, dict[str, Elsewhere]]  # by file's key, then by machine


def compared_elsewhere(
    machines: Machines,
    files: Mapping[str, Exported],
    folder: Path,
    ref: Reference,
    report: Report,
    is_trained: bool,
) -> Found:
    """Runs every file on every machine on all images of `ref`, several files at a time.

    Where the network is not trained, files of less precision have only to run: rounding is all that they differ by.
    """
    here = {key: logits_of(folder / file.path, file.runtime, ref.images) for key, file in files.items()}
    found: Found = {key: {} for key in files}

    def one(job: tuple[str, str]) -> Elsewhere:
        key, name = job
        file = files[key]
        result, golden = _compared(machines, name, file.runtime, folder / file.path, here[key], ref)
        is_judged = not result.failed and (is_trained or file.precision == "fp32")
        return replace(result, failed=_complaint(result, file.precision, golden)) if is_judged else result

    jobs = list(product(files, machines.names))
    with ThreadPoolExecutor(cores()) as pool:
        for done, ((key, name), result) in enumerate(zip(jobs, pool.map(one, jobs), strict=True), start=1):
            found[key][name] = result
            report(done, len(jobs), f"{files[key].path} checked on {name}")
    return found


def _compared(
    machines: Machines,
    name: str,
    runtime: str,
    path: Path,
    here: Floats,
    ref: Reference,
) -> tuple[Elsewhere, float]:
    """What came out, and how far it is from this host's on the golden picture."""
    start_s, count = time.perf_counter(), len(ref.labels)
    try:
        there = machines.logits(name, runtime, path, ref.images)
    except NotRun as error:
        return Elsewhere(count, failed=f"does not run: the process {error}"), 0.0
    if there.shape != here.shape or not np.isfinite(there).all():
        return Elsewhere(count, failed="computes values that are not numbers"), 0.0
    result = Elsewhere(
        count,
        relative_error(there, ref.logits),
        float((there.argmax(1) == ref.logits.argmax(1)).mean()),
        relative_error(there, here),
        float((there.argmax(1) == here.argmax(1)).mean()),
        time.perf_counter() - start_s,
    )
    return result, relative_error(there[:1], here[:1])


def _complaint(result: Elsewhere, precision: Precision, golden: float) -> str:
    """What is wrong with the values; empty where nothing is. golden: the difference on the golden picture."""
    allowed = TOLERANCE[precision]
    assert result.max_relative_error is not None
    assert result.max_relative_difference is not None
    if precision == "fp32" and (result.max_relative_error > MAX_RELATIVE_ERROR or result.top1_agreement != 1):
        return (
            f"differs from the trained network: logits by {result.max_relative_error:.2g} relative (allowed "
            f"{MAX_RELATIVE_ERROR:g}), the same top-1 on {result.top1_agreement:.2%} of {result.images} images"
        )
    if max(result.max_relative_difference, golden) > allowed:
        return (
            f"computes other values than here: logits differ by {result.max_relative_difference:.2g} relative, those "
            f"of the golden picture by {golden:.2g} (allowed {allowed:g})"
        )
    return ""


def failed_elsewhere(
    files: Mapping[str, Exported], found: Found, folder: Path, whom: str, how: str
) -> dict[str, Exported]:
    """The files; those that failed on a machine are failed as a whole, and get a name that says so.

    whom: who must not use them; how: what is said of the machines beside their names.
    """
    judged = dict(files)
    for key, on in found.items():
        wrong = [f"on {name}{how} it {result.failed}" for name, result in on.items() if result.failed]
        if wrong:
            file, path = files[key], folder / files[key].path
            failed = f"the {file.runtime} file of {file.precision} is not {whom}: {'; '.join(wrong)}"
            judged[key] = replace(file, path=path.rename(failed_path(path)).name, failed=failed)
    return judged
