"""Runs that take seconds, and processes that start in milliseconds."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TextIO

from hwnas import cli

# Small enough for seconds: digits, narrow networks, few epochs and candidates, one path a step.
QUICK = (
    *("--data", "digits", "--on", "fake", "--budget-of-median", "0.6", "--width-mult", "0.25"),
    *("--supernet-epochs", "1", "--population", "4", "--generations", "2", "--recalibration-batches", "1"),
    *("--method", "spos", "--train-epochs", "2", "--calibration-networks", "5", "--rank-networks", "0"),
)

# Processes are forked from one that has imported everything and computed nothing, not from that of the tests.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["hwnas.cli", "hwnas.stages.generate"])


@contextmanager
def started(*arguments: str | Path) -> Iterator[tuple[BaseProcess, TextIO]]:
    """The command line as a process of its own, which may be killed, and its stderr."""
    reading, writing = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_main, args=(list(map(str, arguments)), writing))
    process.start()
    writing.close()
    with reading, open(reading.fileno(), encoding="utf-8", closefd=False) as stderr:
        try:
            yield process, stderr
            process.join(60)
        finally:
            process.kill()  # nothing where it has ended


def _main(arguments: list[str], writing: Connection) -> None:
    os.dup2(writing.fileno(), sys.stderr.fileno())
    writing.close()
    sys.argv = ["hwnas", *arguments]
    cli.main()
