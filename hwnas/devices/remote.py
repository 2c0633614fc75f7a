"""A board that ssh reaches, or a phone that adb does, as a device: the same processes measure there as on this host."""

import functools
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from hwnas.devices.carried import Kit, kit
from hwnas.devices.device import Measurement, Memory
from hwnas.devices.local import NOT_PINNED, memory_of, pinned
from hwnas.devices.process import Rubbish, WorkerSession, parsed
from hwnas.devices.profile import Profile
from hwnas.devices.transports import CARRIED, TIMEOUT_S, TRANSPORTS, Transport, last_words, run_there
from hwnas.errors import UserError
from hwnas.ondevice.facts import CONDITIONS, NOT_TOLD
from hwnas.ondevice.timing import RunConfig
from hwnas.ondevice.worker import digest
from hwnas.runtimes.logits_worker import logits_told
from hwnas.runtimes.runtime import NotRun
from hwnas.storage import scratch

MODEL_TIMEOUT_S = 300.0  # of sending one
RECONNECT_S = 1.0  # after which a connection that was lost is tried again


class Facts(BaseModel):
    """What a device tells of itself."""

    described: dict[str, str]
    cores: int  # that a process may use
    cpus: list[int]  # the same by their numbers; none where the device does not pin
    governors: dict[str, str]
    runtime_version: str
    error: str


class There(BaseModel, strict=True):
    """Whether a file is on the device, or why it could not be brought there."""

    there: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Connection:
    """A device that answers, has what it needs, and told what it is."""

    transport: Transport
    kit: Kit
    facts: Facts

    @classmethod
    def to(cls, transport: Transport, runtime: str, python: str) -> Self:
        """Sends there what is lacking. UserError where the device cannot be used."""
        there = kit(transport, runtime, python)
        told = asked(transport, there, runtime)
        try:
            return cls(transport, there, Facts.model_validate(told))
        except ValidationError as error:
            raise strange(transport, str(told), str(error.errors(include_url=False)[0]["msg"])) from None


def asked(transport: Transport, there: Kit, *arguments: str) -> Any:
    """What `ondevice.facts` prints there."""
    done = run_there(transport, there.module("hwnas.ondevice.facts", *arguments))
    if done.returncode != 0:
        raise UserError(
            f"Python on {transport.name} does not run what measures: {last_words(done)}; it needs numpy, PyYAML and "
            f"the profile's runtime there, or, on arm64, `python: {CARRIED}` in the profile"
        )
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise strange(transport, done.stdout, str(error)) from None


def strange(transport: Transport, said: str, why: str) -> UserError:
    """An answer that is none."""
    return UserError(f"{transport.name} answered {said[:80]!r} when it was asked what it is ({why})")


@functools.cache
def reached(kind: str, address: str, folder: str) -> Transport:
    """One for each device in a process: all that is measured is measured on the same one."""
    transport: Transport = TRANSPORTS[kind](address, folder)
    transport.connect()
    said = run_there(transport, ["true"]).stdout.strip()
    if said:
        raise UserError(
            f"the shell of {transport.name} prints {said[:80]!r} before anything else; what its startup files say must "
            "be for terminals only"
        )
    return transport


@functools.cache
def connected(kind: str, address: str, folder: str, runtime: str, python: str) -> Connection:
    """One for each device and runtime in a process."""
    return Connection.to(reached(kind, address, folder), runtime, python)


def forget_connections() -> None:
    """What is asked next connects anew."""
    reached.cache_clear()
    connected.cache_clear()


class RemoteDevice:
    """Another machine. It is connected to, and sent what it lacks, when it is first asked for something."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    @property
    def _connection(self) -> Connection:
        profile = self.profile
        python = profile.python or TRANSPORTS[profile.device].python
        return connected(profile.device, profile.address, profile.folder, profile.runtime, python)

    def cpus(self) -> list[int]:
        """The cores to pin to; empty where the profile or the device does not pin."""
        return pinned(self.profile, self._connection.facts.cpus)

    def describe(self) -> dict[str, str]:
        cpus, facts = self.cpus(), self._connection.facts
        governors = facts.governors
        first = str(cpus[0]) if cpus else next(iter(governors), "")
        named = ",".join(f"core {cpu}" for cpu in cpus) or NOT_PINNED  # those of a phone are not alike
        return {**facts.described, "governor": governors.get(first, NOT_TOLD), "cpus": named}

    def runtime_version(self) -> str:
        connection = self._connection
        if connection.facts.error:
            raise UserError(f"{connection.transport.name}: {connection.facts.error}")
        return connection.facts.runtime_version

    def most_threads(self) -> int:
        return self._connection.facts.cores

    def conditions(self) -> dict[str, float]:
        connection = self._connection
        try:
            told = asked(connection.transport, connection.kit, CONDITIONS, *map(str, self.cpus()))
        except UserError:  # whatever is measured next will tell of a connection that is lost
            return {}
        return {str(name): float(value) for name, value in told.items()}

    def peak_memory(self, model: Path, timeout_s: float) -> Memory:
        [place], profile = self._sent([model]), self.profile
        arguments = [profile.runtime, str(profile.threads), place, f"{timeout_s:g}", *map(str, self.cpus())]
        return memory_of(self._run("hwnas.ondevice.memory", arguments, timeout_s), model.name)

    def logits(self, model: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, C, H, W) -> (n, outputs), image by image, as the device computes them. NotRun where it does not."""
        timeout_s = self.profile.timing.timeout_s * len(images)
        with scratch() as folder:
            np.save(folder / "images.npy", images)
            places = self._sent([model, folder / "images.npy"])
        arguments = [self.profile.runtime, *places, f"{timeout_s:g}"]
        done = self._run("hwnas.runtimes.logits_worker", arguments, timeout_s)
        if done.returncode != 0:
            raise NotRun(f"ended with status {done.returncode}: {last_words(done)}")
        return logits_told(done.stdout)

    def _run(self, module: str, arguments: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        """A module that ends by itself after the time, at the latest. UserError where the connection ends before."""
        connection = self._connection
        return run_there(connection.transport, connection.kit.module(module, *arguments), timeout_s + TIMEOUT_S)

    def _sent(self, files: Sequence[Path]) -> list[str]:
        """Where these are there. UserError where they do not get there, which is no fault of theirs."""
        with self.session() as session:
            try:
                return [session.place(file, TIMEOUT_S) for file in files]
            except (OSError, EOFError, Rubbish) as error:
                is_lost = isinstance(error, EOFError | BrokenPipeError)
                why = f"the connection {session.ending('before')}" if is_lost else str(error) or "no answer in time"
                raise UserError(
                    f"{files[0].name} could not be sent to {self._connection.transport.name}: {why}; see to the "
                    "device, then run the same command again"
                ) from None

    def session(self) -> "RemoteSession":
        connection = self._connection
        arguments = (self.profile.runtime, str(self.profile.threads), *map(str, self.cpus()))
        return RemoteSession(connection.transport, connection.kit.module("hwnas.ondevice.worker", *arguments))


class NotKept(OSError):
    """The device has no place for a file, or may not write."""


class RemoteSession(WorkerSession):
    """A worker process there, which is sent the model files that it lacks."""

    def __init__(self, transport: Transport, command: list[str]) -> None:
        super().__init__(transport.command(command))
        self.transport = transport

    def measure(self, model: Path, config: RunConfig) -> Measurement:
        """UserError where the device cannot keep the model, or is reached no more.

        A process that ended is tried once more, as a connection may be lost for a moment.
        """
        found = self._measured(model, config)
        if found.silence == "ended the measuring process":
            time.sleep(RECONNECT_S)
            found = self._measured(model, config)
        if found.silence == "ended the measuring process":
            run_there(self.transport, ["true"])  # else the model did it
        return found

    def _measured(self, model: Path, config: RunConfig) -> Measurement:
        try:
            return super().measure(model, config)
        except NotKept as error:
            raise UserError(f"{self.transport.name} could not keep {model.name}: {error}; see to its space") from None
        except OSError as error:
            return Measurement(error=f"{model.name} could not be read: {error.strerror or error}")

    def place(self, model: Path, timeout_s: float) -> str:
        """Where the file is there. OSError where it cannot be read here, NotKept where it cannot be kept there."""
        content = model.read_bytes()
        path = f"{self.transport.folder}/models/{digest(content)}{model.suffix}"
        if not self._there({"file": path}, timeout_s):
            try:
                self._there({"file": path, "bytes": len(content)}, MODEL_TIMEOUT_S, content)
            except TimeoutError:
                raise TimeoutError(f"{MODEL_TIMEOUT_S:g} s while it was sent") from None
        return path

    def _there(self, command: dict[str, Any], timeout_s: float, content: bytes = b"") -> bool:
        answer = parsed(self.ask(command, timeout_s, content), There)
        if answer.error:
            raise NotKept(answer.error)
        return answer.there
