"""The command line as a user runs it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Small enough for seconds: digits, narrow networks, few epochs and candidates.
QUICK = (
    *("--data", "digits", "--on", "fake", "--budget-of-median", "0.6", "--width-mult", "0.25"),
    *("--supernet-epochs", "2", "--population", "4", "--generations", "2", "--recalibration-batches", "1"),
    *("--train-epochs", "2", "--calibration-networks", "5"),
)
Hwnas = Callable[..., subprocess.CompletedProcess[str]]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "hwnas.cli", *map(str, arguments)]


@pytest.fixture(scope="session")
def hwnas() -> Hwnas:
    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=300, **options)

    return run
