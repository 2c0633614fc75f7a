"""What a device does: say what it is, and time model files."""

import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hwnas.ondevice.timing import RunConfig

Silence = Literal["", "did not answer in time", "ended the measuring process"]  # a model's fault, or the device's


@dataclass(frozen=True, slots=True)
class Measurement:
    """Raw times of one model, or why there are none. A failed measurement is a value: a sweep outlives it."""

    times_ms: tuple[float, ...] = ()
    error: str = ""
    silence: Silence = ""  # where there was no answer: of several in a row the device may be the reason

    @property
    def median_ms(self) -> float:
        """NaN where the measurement failed."""
        return statistics.median(self.times_ms) if self.times_ms else math.nan

    def quantile_ms(self, share: float) -> float:
        """The time that `share` of the runs did not exceed (nearest rank); NaN where the measurement failed."""
        ordered = sorted(self.times_ms)
        rank = math.ceil(share * len(ordered) - 1e-9)
        return ordered[max(rank, 1) - 1] if ordered else math.nan


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak memory of one model, or why it is not known; how long it took to load, where the device tells."""

    peak_mb: float = math.nan  # of 1e6 bytes
    load_ms: float = math.nan  # in a process that has the runtime's library already
    error: str = ""


def pooled(measurements: Sequence[Measurement]) -> Measurement:
    """All rounds of one model as one measurement; failed only where every round failed."""
    times_ms = tuple(t for m in measurements for t in m.times_ms)
    return Measurement(times_ms) if times_ms else Measurement(error=measurements[-1].error if measurements else "none")


class Session(Protocol):
    """A device made ready for one sweep."""

    def measure(self, model: Path, config: RunConfig) -> Measurement:
        """Times a model file; never raises for a bad model or a timeout."""
        ...

    def renew(self) -> None:
        """What is measured next is measured by another process, with its models placed elsewhere in memory."""
        ...


def measure_in_turn(
    session: Session, paths: Mapping[str, Path], rounds: int, config: RunConfig
) -> dict[str, Measurement]:
    """All rounds of each file, by its key; one after the other in every round, as the machine may drift meanwhile."""
    found: dict[str, list[Measurement]] = {key: [] for key in paths}
    for number in range(rounds):
        if number:
            session.renew()
        for key, path in paths.items():
            found[key].append(session.measure(path, config))
    return {key: pooled(measurements) for key, measurements in found.items()}


class Device(Protocol):
    """Something that runs model files of one runtime."""

    def describe(self) -> dict[str, str]:
        """What the device is, as found: goes into the first line of every table."""
        ...

    def runtime_version(self) -> str:
        """Of the library that runs models there, e.g. "ai-edge-litert 2.3.0"; UserError where it is absent."""
        ...

    def most_threads(self) -> int:
        """As many as there are cores that a process may use."""
        ...

    def conditions(self) -> dict[str, float]:
        """Where the system tells: `temperature_c` of the hottest zone, `frequency_share` of the highest clock rate."""
        ...

    def peak_memory(self, model: Path, timeout_s: float) -> Memory:
        """What loading and running a model file takes beside the runtime itself; never raises for a bad model."""
        ...

    def session(self) -> AbstractContextManager[Session]:
        """Measures one model after the other, by a process or connection that `renew` replaces."""
        ...
