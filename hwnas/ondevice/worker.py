"""The process that measures: commands in on stdin, times out on stdout, one JSON object a line.

A process of its own, because a model may crash it, because it is pinned, and because the parent's torch threads and
memory must not weigh on what is timed. Run as `python -m hwnas.ondevice.worker RUNTIME THREADS [CPU...]`.

Commands: `{"model": path, "config": {...}}` times a model. `{"file": path}` asks whether a file is there, which has the
name of its content; `{"file": path, "bytes": n}` brings it, in the n bytes after the line.
"""

import hashlib
import json
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from hwnas.ondevice.timing import RunConfig, times_ms
from hwnas.runtimes import RUNTIMES, LoadedModel
from hwnas.runtimes.quiet import stdout_kept
from hwnas.storage import write_bytes

MOST_KEPT_BYTES = 2**30  # of files that were brought; those unused for longest make room
BROUGHT = re.compile(r"\.?[0-9a-f]{32}\..+")  # a file that was brought, or was being brought; others are the user's
GRACE_S = 1.0  # beyond the time in which an answer is waited for


def digest(content: bytes) -> str:
    """What a file that is brought is called, so that it is brought once, and whole."""
    return hashlib.sha256(content).hexdigest()[:32]


def serve(runtime: str, threads: int, commands: BinaryIO, answers: TextIO) -> None:
    """Answers every command until the input ends."""

    @lru_cache(maxsize=512)  # the sentinel, and rows measured again
    def load(path: str) -> LoadedModel:
        return RUNTIMES[runtime].load(Path(path), threads)

    for line in commands:
        command = json.loads(line)
        content = commands.read(command["bytes"]) if "bytes" in command else None
        try:
            answer = _filed(command, content) if "file" in command else _timed(command, load)
        except Exception as error:  # noqa: BLE001 whatever a runtime raises for a bad file is the measurement's result
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        print(json.dumps(answer), file=answers, flush=True)


def _timed(command: Mapping[str, Any], load: Callable[[str], LoadedModel]) -> dict[str, object]:
    config = RunConfig(**command["config"])
    signal.alarm(math.ceil(config.timeout_s + GRACE_S))  # ends a process that hangs where nobody can reach it any more
    try:
        return {"times_ms": times_ms(load(command["model"]), config)}
    finally:
        signal.alarm(0)


def _filed(command: Mapping[str, Any], content: bytes | None) -> dict[str, object]:
    path = Path(command["file"])
    if content is None:
        there = path.is_file()
        if there:
            os.utime(path)
        return {"there": there}
    if digest(content) != path.stem:
        raise ValueError(f"{len(content)} bytes came for {path.name}, and not those that it is named after")
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_room(path.parent, MOST_KEPT_BYTES - len(content))
    write_bytes(path, content)
    return {"there": True}


def _make_room(folder: Path, most_bytes: int) -> None:
    """Removes the files that were not used for longest, until the others take no more than that."""
    found = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process may be bringing or removing files
            if BROUGHT.fullmatch(path.name):
                found.append((path.stat().st_mtime, path.stat().st_size, path))
    kept_bytes = 0
    for _, size_bytes, path in sorted(found, reverse=True):
        kept_bytes += size_bytes
        if kept_bytes > most_bytes:
            path.unlink(missing_ok=True)


def main() -> None:
    """Pins the process and keeps the real stdout for answers: runtimes print on it."""
    runtime, threads, *cpus = sys.argv[1:]
    if cpus:
        os.sched_setaffinity(0, map(int, cpus))
    answers = stdout_kept()
    serve(runtime, int(threads), sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
