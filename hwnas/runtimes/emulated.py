"""Arm processors that qemu-user emulates: what the runtimes' kernels for phones and boards compute, seen from here.

The runtimes choose kernels by the instructions that a processor has and by its name. They take the name from
/proc/cpuinfo; that of the host ends them with a segmentation fault, so each processor gets one of its own.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError, last_line
from hwnas.runtimes.arm64_linux import OLDEST_PYTHON, PYTHON, Say, linux, runtimes_for
from hwnas.runtimes.logits_worker import logits_told
from hwnas.runtimes.runtime import NotRun

PACKAGE = Path(__file__).resolve().parents[1]
WORKER = "hwnas.runtimes.logits_worker"
QEMU = ("qemu-aarch64-static", "qemu-aarch64")
TIMEOUT_S = 1800.0  # of one file on all images


@dataclass(frozen=True, slots=True)
class Processor:
    """What qemu is asked for, Arm's part number, and where such processors are."""

    cpu: str
    part: str
    where: str


# Without SME: with it int8 files gave wrong values, as qemu 7.2 is known to compute SMOPA wrongly (its issue 2083).
PROCESSORS: dict[str, Processor] = {
    "cortex-a53": Processor("cortex-a53", "0xd03", "Armv8.0: Raspberry Pi 3, the small cores of older phones"),
    "cortex-a72": Processor("cortex-a72", "0xd08", "Armv8.0: Raspberry Pi 4"),
    "cortex-a76": Processor("cortex-a76", "0xd0b", "Armv8.2: Raspberry Pi 5, phones since 2019; fp16, dot products"),
    "armv9": Processor("max,sme=off", "0xd47", "Armv9: phones since 2022; fp16, int8 matrix products, SVE"),
}


@dataclass(frozen=True, slots=True)
class Emulator:
    """qemu with a Linux and the runtimes. views: by processor the same Linux with its /proc/cpuinfo."""

    qemu: str
    linux: Path
    views: Mapping[str, Path]
    python_path: str

    def logits(self, processor: str, runtime: str, model: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, C, H, W) -> (n, classes), image by image. NotRun where the process ends without."""
        with tempfile.TemporaryDirectory() as folder:
            given = Path(folder) / "images.npy"
            np.save(given, images)
            arguments = ["-m", WORKER, runtime, str(model.resolve()), str(given), f"{TIMEOUT_S:g}"]
            return logits_told(self.run(processor, arguments))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the processors."""
        return tuple(self.views)

    def version(self) -> str:
        """ "qemu-aarch64 version 7.2.22 ..."."""
        done = subprocess.run([self.qemu, "--version"], capture_output=True, text=True, timeout=60, check=False)
        return next(iter(done.stdout.splitlines()), "of unknown version")

    def run(self, processor: str, arguments: Sequence[str]) -> str:
        """What Python prints there; NotRun where it fails."""
        view = self.views[processor]
        python = str(self.linux / PYTHON)
        command = [self.qemu, "-cpu", PROCESSORS[processor].cpu, "-L", str(view), python, *arguments]
        environment = {"PYTHONPATH": self.python_path, "PYTHONNOUSERSITE": "1", "LC_ALL": "C.UTF-8", "PATH": os.defpath}
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            raise NotRun(f"did not end within {TIMEOUT_S:g} s") from None
        if done.returncode != 0:
            raise NotRun(f"ended with status {done.returncode}: {last_line(done.stderr) or 'no message'}")
        return done.stdout


def find_qemu() -> str:
    """The program; UserError where it is not installed."""
    found = next(filter(None, map(shutil.which, QEMU)), None)
    if found is None:
        raise UserError(
            f"{' or '.join(QEMU)} is not installed, which emulates Arm processors; `apt install qemu-user-static`"
        )
    return found


@contextmanager
def emulator(processors: Sequence[str], versions: Sequence[str], say: Say) -> Iterator[Emulator]:
    """Ready to run files. What is missing of Linux and runtimes is downloaded, and `say` told before.

    versions: of the runtimes, as `Converter.version` tells them. UserError where something cannot be had.
    """
    qemu, root = find_qemu(), linux(say)
    with tempfile.TemporaryDirectory() as folder:
        views = {name: _view(root, PROCESSORS[name], Path(folder) / name) for name in processors}
        (Path(folder) / "hwnas").symlink_to(PACKAGE)  # alone: what lies beside the package is for another processor
        bare = Emulator(qemu, root, views, "")
        packages = runtimes_for(_python_version(bare, processors[0]), versions, say)
        yield Emulator(qemu, root, views, f"{packages}:{folder}")


def _view(root: Path, processor: Processor, folder: Path) -> Path:
    """The Linux with a /proc/cpuinfo that names the processor."""
    (folder / "proc").mkdir(parents=True)
    for entry in root.iterdir():
        if entry.name != "proc":
            (folder / entry.name).symlink_to(entry)
    cores = [
        f"processor\t: {core}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        f"CPU part\t: {processor.part}\nCPU revision\t: 0\n"
        for core in range(os.cpu_count() or 1)
    ]
    (folder / "proc/cpuinfo").write_text("\n".join(cores) + "\n")
    return folder


def _python_version(bare: Emulator, processor: str) -> str:
    """Of the Arm Linux: "3.11"."""
    try:
        told = bare.run(processor, ["-c", "import sys; print(*sys.version_info[:2])"]).split()
    except NotRun as error:
        raise UserError(f"Python of {bare.linux} does not run in {bare.qemu}: it {error}") from None
    if tuple(map(int, told)) < OLDEST_PYTHON:
        raise UserError(
            f"{bare.linux} has Python {'.'.join(told)}; {'.'.join(map(str, OLDEST_PYTHON))} or newer is needed"
        )
    return ".".join(told)
