"""This host as a device: a fresh, pinned process for every round of a sweep."""

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hwnas.devices.device import Memory
from hwnas.devices.process import WorkerSession
from hwnas.devices.profile import Profile
from hwnas.errors import UserError, last_line
from hwnas.ondevice.facts import SYS, conditions_of, cores, cpu_model, governor, system, usable_cpus
from hwnas.runtimes import RUNTIMES

NOT_PINNED = "not pinned"  # as an identity has it


class LocalDevice:
    """The machine that runs this program."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def cpus(self) -> list[int]:
        """The cores to pin to; empty where the profile or the system does not pin."""
        return pinned(self.profile, usable_cpus())

    def describe(self) -> dict[str, str]:
        return {
            "device": "host",
            "soc": cpu_model(),
            "architecture": platform.machine(),
            "os": system(),
            "governor": governor(SYS, next(iter(self.cpus()), 0)),
            "cpus": ",".join(map(str, self.cpus())) or NOT_PINNED,
        }

    def runtime_version(self) -> str:
        return RUNTIMES[self.profile.runtime].version()

    def most_threads(self) -> int:
        return cores()

    def conditions(self) -> dict[str, float]:
        return conditions_of(SYS, self.cpus())

    def peak_memory(self, model: Path, timeout_s: float) -> Memory:
        arguments = [self.profile.runtime, str(self.profile.threads), str(model.resolve()), str(timeout_s)]
        command = [sys.executable, "-m", "hwnas.ondevice.memory", *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return Memory(error=f"{model.name} did not answer within {timeout_s:g} s")
        return memory_of(done, model.name)

    def command(self) -> list[str]:
        """What starts the process that measures."""
        arguments = [self.profile.runtime, str(self.profile.threads), *map(str, self.cpus())]
        return [sys.executable, "-m", "hwnas.ondevice.worker", *arguments]

    def session(self) -> WorkerSession:
        return WorkerSession(self.command())


def pinned(profile: Profile, usable: Sequence[int]) -> list[int]:
    """Of the cores that a process may use those to pin to: none where the profile or the system does not pin."""
    if profile.affinity == "none" or not usable:
        return []
    if profile.affinity == "auto":
        return list(usable[-profile.threads :])
    if not set(profile.affinity) <= set(usable):
        raise UserError(
            f"profile {profile.name} pins to cores {list(profile.affinity)}, this process may use {list(usable)}; "
            "change `affinity` in the profile"
        )
    return list(profile.affinity)


def memory_of(done: subprocess.CompletedProcess[str], name: str) -> Memory:
    """What the process told that loaded a model, or how it ended."""
    try:
        answer = json.loads(done.stdout)
        if "error" in answer:
            return Memory(error=answer["error"])
        return Memory(answer["peak_memory_bytes"] / 1e6, answer["load_ms"])
    except (ValueError, KeyError, TypeError):
        last = last_line(done.stderr) or "no message"
        return Memory(error=f"measuring {name} ended with status {done.returncode}: {last}")
