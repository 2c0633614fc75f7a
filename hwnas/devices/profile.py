"""How to measure on a device: the YAML files of profiles/."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from hwnas.devices.transports import TRANSPORTS
from hwnas.errors import UserError, shown
from hwnas.ondevice.timing import Clock, RunConfig
from hwnas.resources import find
from hwnas.runtimes.runtime import Dtype
from hwnas.yaml_files import read_yaml

GATES = {"max_temperature_c": "temperature_c", "min_frequency_share": "frequency_share"}  # what each needs told
NAME = re.compile(r"(?!-)[A-Za-z0-9._:@%/\[\]+() -]+")  # of a machine or a program, and of no option
Cores = Annotated[tuple[Annotated[int, Field(ge=0, strict=True)], ...], Field(min_length=1)]


class Timing(BaseModel):
    """The measuring protocol."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)  # true is no number

    rounds: Annotated[int, Field(ge=1, le=1000)] = 4
    max_rounds: Annotated[int, Field(ge=1, le=1000)] = 16
    settle_pct: Annotated[float, Field(gt=0, le=100)] = 1.5
    quarantine_pct: Annotated[float, Field(gt=0, le=1000)] = 15.0
    sentinel_every: Annotated[int, Field(ge=0, le=10_000)] = 24
    drift_pct: Annotated[float, Field(gt=0, le=1000)] = 5.0
    remeasure: Annotated[int, Field(ge=0, le=10)] = 2
    drift_wait_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    warmup_runs: Annotated[int, Field(ge=0, le=1000)] = 3
    warmup_ms: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    runs: Annotated[int, Field(ge=1, le=10_000)] = 12
    min_sample_ms: Annotated[float, Field(ge=0, le=1000)] = 0.2
    clock: Clock = "wall"
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    cooldown_s: Annotated[float, Field(ge=0, le=600)] = 0.0
    max_temperature_c: Annotated[float, Field(gt=0, le=150)] | None = None
    min_frequency_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    gate_timeout_s: Annotated[float, Field(ge=0, le=3600)] = 120.0

    def model_post_init(self, context: object) -> None:
        """The least number of rounds is not more than the most."""
        if self.rounds > self.max_rounds:
            raise ValueError(f"rounds is {self.rounds}, above max_rounds, {self.max_rounds}")

    def admits(self, conditions: Mapping[str, float]) -> bool:
        """Whether the device is cool and at speed enough; what it does not tell does not count."""
        too_hot = self.max_temperature_c is not None and conditions.get("temperature_c", 0.0) > self.max_temperature_c
        return not too_hot and conditions.get("frequency_share", 1.0) >= self.min_frequency_share

    def gates(self) -> list[str]:
        """The keys that make a span wait until the device's conditions are as they should be."""
        return [key for key in GATES if getattr(self, key)]

    def untold(self, conditions: Mapping[str, float]) -> list[str]:
        """The keys of gates that have no effect, as the device does not tell what they need."""
        return [key for key in self.gates() if GATES[key] not in conditions]

    def run_config(self) -> RunConfig:
        """One round's share of the protocol."""
        return RunConfig(
            self.warmup_runs, self.runs, self.min_sample_ms, self.clock, self.timeout_s, warmup_ms=self.warmup_ms
        )


class Profile(BaseModel):
    """Device, runtime and protocol: what a latency belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str  # the file's stem
    device: Literal["host", "ssh", "adb", "fake"]
    address: Annotated[str, Field(strict=True)] = ""  # ssh: where; adb: the serial number, where several are connected
    python: Annotated[str, Field(strict=True)] = ""  # ssh, adb: a program there, or the one that is brought
    folder: Annotated[str, Field(strict=True)] = ""  # ssh, adb: there, for what hwnas brings and keeps
    runtime: Literal["litert", "ort", "fake"]
    dtype: Dtype
    threads: Annotated[int, Field(ge=1, le=256, strict=True)]
    affinity: Literal["auto", "none"] | Cores = "auto"  # auto: as many cores as threads, the last ones
    timing: Timing = Timing()

    @property
    def is_elsewhere(self) -> bool:
        """Whether models run on another machine than this one."""
        return self.device in TRANSPORTS

    def model_post_init(self, context: object) -> None:
        """What the fields cannot tell each for itself."""
        if (self.device == "fake") != (self.runtime == "fake"):
            raise ValueError(f"device {self.device} cannot run {self.runtime}: the fake device has the fake runtime")
        if self.device == "ssh" and not self.address:
            raise ValueError("device ssh needs an address: host, user@host or ssh://user@host:port")
        named = {key: getattr(self, key) for key in ("address", "python", "folder") if getattr(self, key)}
        if named and not self.is_elsewhere:
            raise ValueError(
                f"device {self.device} has no {' and no '.join(named)}: only {' and '.join(TRANSPORTS)} have"
            )
        for key, value in named.items():
            if not NAME.fullmatch(value):
                raise ValueError(f"{key} {shown(value)} came; allowed: letters, digits, blanks and ._:@%/[]()+-")
        if self.timing.clock == "thread_cpu" and self.threads > 1:
            # a thread's own clock sees nothing of what other threads did
            raise ValueError(f"clock thread_cpu measures one thread, the profile has {self.threads}: use clock: wall")


def load_profile(name: str) -> Profile:
    """The profile of a path or a name; UserError with every complaint in one line."""
    path = find("profiles", name, ".yaml")
    content = read_yaml(path, "profile")
    if not isinstance(content, dict):
        raise UserError(f"profile {path} must hold keys and values; copy one from profiles/ to start")
    return _validated(content, path)


def _validated(content: dict[str, object], path: Path) -> Profile:
    try:
        return Profile.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        complaints = [_complaint(e) for e in error.errors()]
        allowed = ", ".join(f for f in Profile.model_fields if f != "name")
        raise UserError(
            f"profile {path}: {'; '.join(complaints)}. Keys: {allowed}; timing: {', '.join(Timing.model_fields)}"
        ) from None


def _complaint(error: ErrorDetails) -> str:
    """Where it is, what is allowed and what came."""
    where = ".".join(str(part) for part in error["loc"] if "[" not in str(part)) or "profile"
    if error["type"] == "value_error":  # of our own checks, which tell what came
        return f"{where}: {error['ctx']['error']}"
    if error["type"] == "missing":
        return f"{where}: {error['msg']}"
    quotes = ", in quotes" if error["type"] == "string_type" and isinstance(error["input"], int | float) else ""
    return f"{where}: {error['msg']}{quotes} ({shown(error['input'])} came)"
