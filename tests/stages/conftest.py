"""The command line as a user runs it."""

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from hwnas import cli

Hwnas = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def hwnas() -> Hwnas:
    """The command line in this process, whose imports are paid once: the same `main`, the same exit statuses."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        out, err, status = io.StringIO(), io.StringIO(), 0
        with (
            mock.patch.object(sys, "argv", ["hwnas", *map(str, arguments)]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                cli.main()
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else 1
                err.write("" if isinstance(stop.code, int | None) else f"{stop.code}\n")
        return subprocess.CompletedProcess(list(arguments), status, out.getvalue(), err.getvalue())

    return run
