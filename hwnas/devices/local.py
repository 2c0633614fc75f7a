"""This host as a device: a fresh, pinned process for every round of a sweep."""

import json
import os
import platform
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated

from pydantic import BaseModel, Field, ValidationError

from hwnas.devices.device import Measurement, Memory, RunConfig, Silence
from hwnas.devices.profile import Profile
from hwnas.errors import UserError

MOST_ANSWER_BYTES = 2**20  # four times what the most runs that a profile may ask for take
LAST_WORDS_BYTES = 4096  # of the process's log, in which to look for its last message
END_GRACE_S = 1.0  # for a process that closed its output to end, and so to tell its status


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

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 closed with the session

    def measure(self, model: Path, config: RunConfig) -> Measurement:
        process = self._ready()
        assert process.stdin is not None
        assert process.stdout is not None
        command = json.dumps({"model": str(model.resolve()), "config": asdict(config)}) + "\n"
        silence: Silence = ""
        try:
            process.stdin.write(command.encode())
            return measurement_of(line_within(process.stdout, config.timeout_s))
        except TimeoutError:
            error, silence = f"{model.name} did not answer within {config.timeout_s:g} s", "did not answer in time"
        except (BrokenPipeError, EOFError):
            error = f"the measuring process {self._ending(process)} on {model.name}: {self._last_words()}"
            silence = "ended the measuring process"
        except Rubbish as rubbish:
            error = f"the measuring process answered {rubbish} on {model.name}"
        self.close()
        return Measurement(error=error, silence=silence)

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

    @staticmethod
    def _ending(process: subprocess.Popen[bytes]) -> str:
        try:
            return f"ended with status {process.wait(END_GRACE_S)}"
        except subprocess.TimeoutExpired:
            return "closed its output"

    def _last_words(self) -> str:
        size_bytes = self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, size_bytes - LAST_WORDS_BYTES))
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "no message"

    def renew(self) -> None:
        self.close()  # the next model starts another one

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
    try:
        answer = Answer.model_validate_json(line)
    except ValidationError as error:
        complaint = error.errors(include_url=False)[0]
        where = ".".join(map(str, complaint["loc"]))
        raise Rubbish(f"{_shown(line)} ({f'{where}: ' if where else ''}{complaint['msg']})") from None
    return Measurement(error=answer.error) if answer.error else Measurement(answer.times_ms)


def _shown(answer: bytes | bytearray) -> str:
    return repr(bytes(answer[:80]).decode(errors="replace").strip())


def _is_readable(pipe: IO[bytes] | None, timeout_s: float) -> bool:
    """Whether a pipe has something to read, its end included, within the time."""
    assert pipe is not None
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


class LocalDevice:
    """The machine that runs this program."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def cpus(self) -> list[int]:
        """The cores to pin to; empty where the profile or the system does not pin."""
        if self.profile.affinity == "none" or not hasattr(os, "sched_setaffinity"):
            return []
        allowed = sorted(os.sched_getaffinity(0))
        if self.profile.affinity == "auto":
            return allowed[-self.profile.threads :]
        if not set(self.profile.affinity) <= set(allowed):
            raise UserError(
                f"profile {self.profile.name} pins to cores {list(self.profile.affinity)}, this process may use "
                f"{allowed}; change `affinity` in the profile"
            )
        return list(self.profile.affinity)

    def describe(self) -> dict[str, str]:
        return {
            "device": "host",
            "soc": cpu_model(),
            "architecture": platform.machine(),
            "os": f"{platform.system()} {platform.release()}",
            "governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")) or "not told",
            "cpus": ",".join(map(str, self.cpus())) or "not pinned",
        }

    def conditions(self) -> dict[str, float]:
        return conditions_of(Path("/sys"), self.cpus())

    def peak_memory(self, model: Path, timeout_s: float) -> Memory:
        arguments = [self.profile.runtime, str(self.profile.threads), str(model.resolve())]
        command = [sys.executable, "-m", "hwnas.devices.memory", *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return Memory(error=f"{model.name} did not answer within {timeout_s:g} s")
        try:
            answer = json.loads(done.stdout)
            if "error" in answer:
                return Memory(error=answer["error"])
            return Memory(answer["peak_memory_bytes"] / 1e6, answer["load_ms"])
        except (ValueError, KeyError, TypeError):
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return Memory(error=f"measuring {model.name} ended with status {done.returncode}: {last[:300]}")

    def command(self) -> list[str]:
        """What starts the process that measures."""
        arguments = [self.profile.runtime, str(self.profile.threads), *map(str, self.cpus())]
        return [sys.executable, "-m", "hwnas.devices.worker", *arguments]

    @contextmanager
    def session(self) -> Iterator[WorkerSession]:
        worker = WorkerSession(self.command())
        try:
            yield worker
        finally:
            worker.close()
            worker.log.close()


def conditions_of(sys: Path, cpus: Sequence[int]) -> dict[str, float]:
    """Temperature of the hottest zone and clock rate of the slowest of `cpus`, as far as Linux's /sys tells."""
    millidegrees = [float(text) for path in sys.glob("class/thermal/thermal_zone*/temp") if (text := _first_line(path))]
    shares = []
    for cpu in cpus:
        folder = sys / f"devices/system/cpu/cpu{cpu}/cpufreq"
        now, highest = (_first_line(folder / name) for name in ("scaling_cur_freq", "cpuinfo_max_freq"))
        shares += [float(now) / float(highest)] if now and highest else []
    temperature = {"temperature_c": max(millidegrees) / 1e3} if millidegrees else {}
    return temperature | ({"frequency_share": min(shares)} if shares else {})


def cpu_model() -> str:
    """The processor's name as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # not there, or a sensor that does not answer
        return ""
