"""Files that survive a crash: atomic writes, append-only journals, one process per directory."""

import fcntl
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hwnas.errors import UserError

Record = dict[str, Any]  # one JSON object
LOCK = ".lock"  # of a folder that `exclusive` held
SCRATCH = "hwnas-"  # how folders of `scratch` begin
LEFT_S = 86_400.0  # after which a folder that nobody holds was left by a process that was killed


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """`write` fills a temporary file beside `path`, which then takes its name: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(path: Path) -> None:
    """Removes what processes that were killed while writing `path` left beside it. Hold its folder by `exclusive`."""
    for temporary in path.parent.glob(f".{path.name}.*.tmp"):
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """The content as a file, whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, write)


def write_text(path: Path, text: str) -> None:
    """The text as a file, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """The value as an indented JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def without_nan(value: Any) -> Any:
    """The same, with None for numbers that JSON has not: NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """The value of a JSON file; UserError where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); delete it and run its stage again") from None


class Journal:
    """Append-only JSON lines. A last line cut off by a crash is dropped when the file is opened.

    writes: else records are only kept here, as another process writes the same ones to the file.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self.records: list[Record] = []
        self._sound_bytes = self._cut_bytes = 0
        if path.exists():
            self._read()

    def _read(self) -> None:
        content = self.path.read_bytes()
        self._parse(content)
        self._cut_bytes = len(content) - self._sound_bytes

    def _parse(self, content: bytes) -> None:
        for number, line in enumerate(content.splitlines(keepends=True), start=1):
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                if not line.endswith(b"\n"):
                    return  # cut off while being written
                raise UserError(
                    f"{self.path}, line {number}, is not a JSON object ({error}); "
                    "remove that line, or the file, and run again"
                ) from None
            if not line.endswith(b"\n"):
                return
            self.records.append(record)
            self._sound_bytes += len(line)

    def append(self, record: Record) -> None:
        """Writes the record through to the disk; UserError where another process wrote to the file meanwhile."""
        if self.writes:
            self._write(record)
        self.records.append(record)

    def _write(self, record: Record) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = (json.dumps(record) + "\n").encode()
        with self.path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if file.seek(0, os.SEEK_END) != self._sound_bytes + self._cut_bytes:
                raise UserError(
                    f"another process wrote to {self.path} meanwhile; run again, one process at a time: what both "
                    "wrote is kept"
                )
            file.truncate(self._sound_bytes)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._sound_bytes, self._cut_bytes = self._sound_bytes + len(data), 0

    def clear(self) -> None:
        """Starts again from nothing."""
        self.path.unlink(missing_ok=True)
        self.records, self._sound_bytes, self._cut_bytes = [], 0, 0


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process; UserError where another one holds it. A killed process lets go by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is working on {folder}; wait for it to end, or choose another --out"
            ) from None
        yield


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder; first those go that killed processes left a day ago or earlier: their lock is free."""
    for old in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError, UserError):  # not ours to remove, gone meanwhile, or held
            if _is_left(old):
                with exclusive(old):
                    shutil.rmtree(old)
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as name, exclusive(Path(name)):
        yield Path(name)


def _is_left(folder: Path) -> bool:
    """Whether a folder may be one of `scratch` that is of use to nobody: only those have a lock in them."""
    is_own = not folder.is_symlink() and folder.stat().st_uid == os.getuid() and (folder / LOCK).is_file()
    return is_own and time.time() - folder.stat().st_mtime > LEFT_S
