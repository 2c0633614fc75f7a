"""A board that ssh reaches, or a phone that adb does, as a device: the same processes measure there as on this host."""

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from hwnas.devices.carried import CARRIED, Kit, kit
from hwnas.devices.device import Measurement, Memory
from hwnas.devices.local import memory_of, pinned, told_cpus
from hwnas.devices.process import Rubbish, WorkerSession, parsed
from hwnas.devices.profile import Profile
from hwnas.devices.transports import Adb, Ssh, Transport, last_words, run_there
from hwnas.errors import UserError
from hwnas.ondevice.facts import CONDITIONS, NOT_TOLD
from hwnas.ondevice.timing import RunConfig
from hwnas.ondevice.worker import digest

TRANSPORTS: dict[str, Callable[[str], Transport]] = {"ssh": Ssh, "adb": Adb}
PYTHON = {"ssh": "python3", "adb": CARRIED}  # where a profile names none
SEND_TIMEOUT_S = 300.0  # of one model


class Facts(BaseModel):
    """What a device tells of itself."""

    described: dict[str, str]
    cpus: list[int]
    governors: dict[str, str]
    runtime_version: str
    error: str


class There(BaseModel, strict=True):
    """Whether a file is on the device, or why it could not be brought there."""

    there: bool = False
    error: str = ""


class RemoteDevice:
    """Another machine. It is connected to, and sent what it lacks, when it is first asked for something."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def _connected(self) -> tuple[Transport, Kit]:
        profile = self.profile
        return connected(profile.device, profile.address, profile.runtime, profile.python or PYTHON[profile.device])

    @functools.cached_property
    def _facts(self) -> Facts:
        told = self._told("hwnas.ondevice.facts", self.profile.runtime)
        try:
            return Facts.model_validate(told)
        except ValidationError as error:
            raise self._strange(str(told), str(error.errors(include_url=False)[0]["msg"])) from None

    def _told(self, module: str, *arguments: str) -> Any:
        """What a module that ends by itself prints there, as JSON."""
        transport, there = self._connected()
        done = run_there(transport, there.module(module, *arguments), self.profile.timing.timeout_s)
        if done.returncode != 0:
            raise UserError(
                f"Python on {transport.name} does not run what measures: {last_words(done)}; it needs numpy, PyYAML "
                f"and {self.profile.runtime} there, or, on arm64, `python: {CARRIED}` in the profile"
            )
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise self._strange(done.stdout, str(error)) from None

    def _strange(self, said: str, why: str) -> UserError:
        return UserError(f"{self._connected()[0].name} answered {said[:80]!r} when it was asked what it is ({why})")

    def cpus(self) -> list[int]:
        """The cores to pin to; empty where the profile or the device does not pin."""
        return pinned(self.profile, self._facts.cpus)

    def describe(self) -> dict[str, str]:
        cpus = self.cpus()
        governors = self._facts.governors
        first = str(cpus[0]) if cpus else next(iter(governors), "")
        return {**self._facts.described, "governor": governors.get(first, NOT_TOLD), "cpus": told_cpus(cpus)}

    def runtime_version(self) -> str:
        if self._facts.error:
            raise UserError(f"{self._connected()[0].name}: {self._facts.error}")
        return self._facts.runtime_version

    def most_threads(self) -> int:
        return len(self._facts.cpus) or 1

    def conditions(self) -> dict[str, float]:
        told = self._told("hwnas.ondevice.facts", CONDITIONS, *map(str, self.cpus()))
        return {str(name): float(value) for name, value in told.items()}

    def peak_memory(self, model: Path, timeout_s: float) -> Memory:
        transport, there = self._connected()
        with self.session() as session:
            try:
                place = session.place(model)
            except (OSError, EOFError, TimeoutError, Rubbish) as error:
                return Memory(error=f"{model.name} could not be sent to {transport.name}: {error or 'no answer'}")
        arguments = (self.profile.runtime, str(self.profile.threads), place)
        try:
            done = run_there(transport, there.module("hwnas.ondevice.memory", *arguments), timeout_s)
        except UserError as error:
            return Memory(error=f"{model.name}: {error}")
        return memory_of(done, model.name)

    @contextmanager
    def session(self) -> Iterator["RemoteSession"]:
        transport, there = self._connected()
        arguments = (self.profile.runtime, str(self.profile.threads), *map(str, self.cpus()))
        worker = RemoteSession(transport, there.module("hwnas.ondevice.worker", *arguments))
        try:
            yield worker
        finally:
            worker.close()
            worker.log.close()


class RemoteSession(WorkerSession):
    """A worker process there, which is sent the model files that it lacks."""

    def __init__(self, transport: Transport, command: list[str]) -> None:
        super().__init__(transport.command(command))
        self.transport = transport

    def measure(self, model: Path, config: RunConfig) -> Measurement:
        try:
            return super().measure(model, config)
        except OSError as error:
            return Measurement(error=f"{model.name} could not be read, or kept on {self.transport.name}: {error}")

    def place(self, model: Path) -> str:
        """Where the file is there. OSError where it cannot be read here or kept there."""
        content = model.read_bytes()
        path = f"{self.transport.folder}/models/{digest(content)}{model.suffix}"
        if not self._there({"file": path}):
            self._there({"file": path, "bytes": len(content)}, content)
        return path

    def _there(self, command: dict[str, Any], content: bytes = b"") -> bool:
        try:
            answer = parsed(self.ask(command, SEND_TIMEOUT_S, content), There)
        except TimeoutError:
            raise TimeoutError(f"{SEND_TIMEOUT_S:g} s while it was sent") from None
        if answer.error:
            raise OSError(answer.error)
        return answer.there


@functools.cache
def connected(kind: str, address: str, runtime: str, python: str) -> tuple[Transport, Kit]:
    """A device that answers and has what it needs, once for each in a process."""
    transport: Transport = TRANSPORTS[kind](address)
    transport.connect()
    return transport, kit(transport, runtime, python)
