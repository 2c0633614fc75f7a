"""What a command that takes a while says on stderr: progress with an estimate of the time left, and how to go on."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET_S = 30.0  # without a line, where there is no terminal
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
Report = Callable[[int, int, str], None]  # (done, total, what)


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """A bar where there is a terminal; elsewhere a line for every tenth part, and at least every half minute.

    The total may grow: a row that does not settle is measured in further rounds.
    """
    console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0")  # of torchrun's processes one speaks
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[what]}"))
    with Progress(*columns, *times, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None, what="")
        printed, printed_s = -1, time.monotonic()

        def report(done: int, total: int, what: str = "") -> None:
            nonlocal printed, printed_s
            bar.update(task, completed=done, total=total, what=what)
            tenth = 10 * done // max(total, 1)
            is_due = tenth > printed or time.monotonic() - printed_s > QUIET_S
            if not console.is_terminal and is_due:
                printed, printed_s = tenth, time.monotonic()
                left_s = bar.tasks[0].time_remaining
                left = f", about {left_s:.0f} s left" if left_s and done < total else ""
                console.print(f"{title}: {done} of {total}{left} {what}", highlight=False, soft_wrap=True)

        yield report


def speaks() -> bool:
    """Whether this process, of torchrun's on this machine, says what all of them find; without torchrun it does."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends with a line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if speaks():
            print("hwnas: interrupted; run the same command again to continue", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
