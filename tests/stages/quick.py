"""Runs that take seconds."""

import sys
from pathlib import Path

# Small enough for seconds: digits, narrow networks, few epochs and candidates.
QUICK = (
    *("--data", "digits", "--on", "fake", "--budget-of-median", "0.6", "--width-mult", "0.25"),
    *("--supernet-epochs", "2", "--population", "4", "--generations", "2", "--recalibration-batches", "1"),
    *("--train-epochs", "2", "--calibration-networks", "5"),
)


def command(*arguments: str | Path) -> list[str]:
    """The command line as a process of its own."""
    return [sys.executable, "-m", "hwnas.cli", *map(str, arguments)]
