"""This host as a device: a fresh, pinned process per sweep."""

import json
import os
import platform
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from hwnas.devices.device import Measurement, Memory, RunConfig
from hwnas.devices.profile import Profile
from hwnas.errors import UserError


class WorkerSession:
    """A worker process; started again after a crash or a timeout."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.process: subprocess.Popen[str] | None = None
        self.log: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 closed with the session

    def measure(self, model: Path, config: RunConfig) -> Measurement:
        process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"model": str(model.resolve()), "config": asdict(config)}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._crashed(model)
        if not self._answered_within(process, config.timeout_s):
            self.close()
            return Measurement(error=f"{model.name} did not answer within {config.timeout_s} s")
        line = process.stdout.readline()
        if not line:
            return self._crashed(model)
        answer = json.loads(line)
        return Measurement(tuple(answer.get("times_ms", ())), answer.get("error", ""))

    def _start(self) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        return self.process

    @staticmethod
    def _answered_within(process: subprocess.Popen[str], timeout_s: float) -> bool:
        with selectors.DefaultSelector() as selector:
            assert process.stdout is not None
            selector.register(process.stdout, selectors.EVENT_READ)
            return bool(selector.select(timeout_s))

    def _crashed(self, model: Path) -> Measurement:
        assert self.process is not None
        status = self.process.wait()
        self.log.seek(0)
        last = (self.log.read().strip().splitlines() or ["no message"])[-1]
        self.close()
        return Measurement(error=f"the measuring process ended with status {status} on {model.name}: {last[:300]}")

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
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            return Memory(error=f"{model.name} did not answer within {timeout_s} s")
        try:
            answer = json.loads(done.stdout)
            return Memory(answer["peak_memory_bytes"] / 1e6) if "error" not in answer else Memory(error=answer["error"])
        except (ValueError, KeyError, TypeError):
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return Memory(error=f"measuring {model.name} ended with status {done.returncode}: {last[:300]}")

    @contextmanager
    def session(self) -> Iterator[WorkerSession]:
        arguments = [self.profile.runtime, str(self.profile.threads), *map(str, self.cpus())]
        worker = WorkerSession([sys.executable, "-m", "hwnas.devices.worker", *arguments])
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
