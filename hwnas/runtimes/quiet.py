"""Silence for libraries that print progress of their own; errors are raised all the same."""

import contextlib
import io
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

ONE_THREAD = threading.RLock()
LOG: ContextVar[Path | None] = ContextVar("chatter_log", default=None)  # set by `chatter_in`


@contextmanager
def chatter_in(path: Path) -> Iterator[None]:
    """What `quiet` keeps from the user meanwhile is appended to this file, where someone may want to look."""
    token = LOG.set(path)
    try:
        yield
    finally:
        LOG.reset(token)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what Python or native code prints meanwhile is seen, and no warning is raised.

    One thread at a time: two that overlap would each put back what the other one had put in place.
    """
    with ONE_THREAD, _elsewhere():
        yield


@contextmanager
def _elsewhere() -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    log = LOG.get()
    elsewhere = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    replaced = io.StringIO()  # a replaced sys.stdout, in a notebook say, does not end in descriptor 1
    try:
        os.dup2(elsewhere, 1)
        os.dup2(elsewhere, 2)
        with (
            contextlib.redirect_stdout(replaced),  # never closed: loggers made meanwhile keep it
            contextlib.redirect_stderr(replaced),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        if log is not None:
            os.write(elsewhere, replaced.getvalue().encode(errors="replace"))
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in enumerate(kept, start=1):
            os.dup2(copy, number)
            os.close(copy)
        os.close(elsewhere)


def stdout_kept() -> TextIO:
    """The process's stdout, for its answers alone; what runtimes print there goes to stderr from now on."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers
