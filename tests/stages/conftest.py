"""The command line as a user runs it."""

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from hwnas import cli
from hwnas.datasets import DataConfig
from hwnas.datasets.digits import Digits

Hwnas = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory) -> Path:
    """Every fourth digit as a .npz: enough to see that something is searched, not that it is learnt."""
    path, digits = tmp_path_factory.mktemp("few") / "digits.npz", Digits(DataConfig("digits", 8))
    numbers, files = range(0, len(digits.labels), 4), []
    for number in numbers:
        file = io.BytesIO()
        digits.image(number).save(file, "png")
        files.append(file.getvalue())
    offset = np.cumsum([0, *map(len, files)])
    encoded = np.frombuffer(b"".join(files), np.uint8)
    np.savez(path, jpeg=encoded, offset=offset, label=digits.labels[numbers], classes=np.array(digits.classes))
    return path


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
