"""A process that measures, here or at the other end of a connection: commands go in, one line comes out for each."""

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError

from hwnas.devices.device import Measurement, Silence
from hwnas.errors import last_line
from hwnas.ondevice.timing import RunConfig

MOST_ANSWER_BYTES = 2**20  # four times what the most runs that a profile may ask for take
LAST_WORDS_BYTES = 4096  # of the process's log, in which to look for its last message
END_GRACE_S = 1.0  # for a process that closed its output to end, and so to tell its status


T = TypeVar("T", bound=BaseModel)


class Answer(BaseModel, strict=True):
    """What the process may say of a model: its times, or why there are none."""

    times_ms: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    error: str = ""

    def model_post_init(self, context: object) -> None:
        """One of the two came."""
        if not self.times_ms and not self.error:
            raise ValueError("neither times nor an error")


class Rubbish(ValueError):
    """The process answered, but no measurement."""


class WorkerSession:
    """A worker process. One that died, hangs or answers rubbish is given up, and the next model gets a fresh one."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 closed with the session

    def measure(self, model: Path, config: RunConfig) -> Measurement:
        silence: Silence = ""
        try:
            place = self.place(model, config.timeout_s)
            return measurement_of(self.ask({"model": place, "config": asdict(config)}, config.timeout_s))
        except TimeoutError as error:
            limit = str(error) or f"{config.timeout_s:g} s"
            error_told, silence = f"{model.name} did not answer within {limit}", "did not answer in time"
        except (BrokenPipeError, EOFError):
            error_told = f"the measuring process {self.ending(f'on {model.name}')}"
            silence = "ended the measuring process"
        except Rubbish as rubbish:
            error_told = f"the measuring process answered {rubbish} on {model.name}"
        self.close()
        return Measurement(error=error_told, silence=silence)

    def place(self, model: Path, timeout_s: float) -> str:
        """Where the process finds a model file; what `ask` raises where it has to be asked."""
        return str(model.resolve())

    def ask(self, command: Mapping[str, Any], timeout_s: float, content: bytes = b"") -> bytes:
        """The line that answers a command and what is sent behind it; what `line_within` raises, or BrokenPipeError."""
        process = self._ready()
        assert process.stdin is not None
        assert process.stdout is not None
        write_within(process.stdin, json.dumps(command).encode() + b"\n" + content, timeout_s)
        return line_within(process.stdout, timeout_s)

    def _ready(self) -> subprocess.Popen[bytes]:
        """A process that waits for a command: a fresh one where the last died meanwhile, or spoke unasked."""
        if self.process is not None and _is_readable(self.process.stdout, 0):
            self.close()
        return self.process or self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.log.truncate(0)  # what an earlier process said is not why this one ends
        self.log.seek(0)
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, bufsize=0
        )
        return self.process

    def ending(self, when: str) -> str:
        """How the process ended, and what it said last."""
        assert self.process is not None
        try:
            how = f"ended with status {self.process.wait(END_GRACE_S)}"
        except subprocess.TimeoutExpired:
            how = "closed its output"
        return f"{how} {when}: {self._last_words()}"

    def _last_words(self) -> str:
        size_bytes = self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, size_bytes - LAST_WORDS_BYTES))
        return last_line(self.log.read().decode(errors="replace")) or "no message"

    def renew(self) -> None:
        self.close()  # the next model starts another one

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
        self.log.close()

    def close(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # what was still buffered has no reader any more
                pipe.close()
        self.process = None


def write_within(pipe: IO[bytes], content: bytes, timeout_s: float) -> None:
    """Writes into an unbuffered pipe; TimeoutError where its reader does not take all of it in time."""
    os.set_blocking(pipe.fileno(), False)
    left, deadline_s = memoryview(content), time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_WRITE)
        while left:
            if not selector.select(max(0.0, deadline_s - time.monotonic())):
                raise TimeoutError
            left = left[os.write(pipe.fileno(), left[: 2**16]) :]


def line_within(pipe: IO[bytes], timeout_s: float) -> bytes:
    """The one line that comes out of an unbuffered pipe.

    TimeoutError where it is not whole in time, EOFError where the pipe ends before, Rubbish where more comes than that.
    """
    content, deadline_s = bytearray(), time.monotonic() + timeout_s
    while not content.endswith(b"\n"):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not _is_readable(pipe, left_s):
            raise TimeoutError
        if not (chunk := pipe.read(2**16)):
            raise EOFError
        content += chunk
        if b"\n" in content[:-1] or len(content) > MOST_ANSWER_BYTES:
            raise Rubbish(f"{_shown(content)}, which is more than a line of {MOST_ANSWER_BYTES} bytes,")
    return bytes(content)


def measurement_of(line: bytes) -> Measurement:
    """The measurement that an answer tells; Rubbish where it tells none."""
    answer = parsed(line, Answer)
    return Measurement(error=answer.error) if answer.error else Measurement(answer.times_ms)


def parsed(line: bytes, kind: type[T]) -> T:
    """What an answer says, of the kind that was asked for; Rubbish where it is no such thing."""
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        complaint = error.errors(include_url=False)[0]
        where = ".".join(map(str, complaint["loc"]))
        raise Rubbish(f"{_shown(line)} ({f'{where}: ' if where else ''}{complaint['msg']})") from None


def _shown(answer: bytes | bytearray) -> str:
    return repr(bytes(answer[:80]).decode(errors="replace").strip())


def _is_readable(pipe: IO[bytes] | None, timeout_s: float) -> bool:
    """Whether a pipe has something to read, its end included, within the time."""
    assert pipe is not None
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))
