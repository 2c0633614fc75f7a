"""Silence for libraries that print progress of their own; errors are raised all the same."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what Python or native code prints meanwhile is seen, and no warning is raised."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        replaced = io.StringIO()  # a replaced sys.stdout, in a notebook say, does not end in descriptor 1
        with (
            contextlib.redirect_stdout(replaced),  # never closed: loggers made meanwhile keep it
            contextlib.redirect_stderr(replaced),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in enumerate(kept, start=1):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
