"""The measuring protocol: interleaved rounds until every row is settled, watched by a sentinel.

Every round goes through the rows in a new random order, which spreads a slow drift of the machine over all of them
alike, and in a new process: where one happens to place a model in memory shifts its latency for as long as it lives. A
row is measured until the confidence interval of its round medians is narrow. After every few rows, a third of them at
most, a sentinel, always the same model, is measured: where it differs from what it took before, so may its neighbours,
and they are measured again once it is as before, or a while has passed. Everything is decided from the table's own
records, so an interrupted sweep goes on as if it had not been.

A row that fails is written down, and the sweep goes on. Where several in a row get no answer, a row that was measured
before is tried: if that gets none either, the device hangs or is gone, and the sweep ends.
"""

import hashlib
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hwnas.devices import Device, Measurement, Session, Timing
from hwnas.errors import UserError
from hwnas.latency.table import LatencyTable, Span

Progress = Callable[[int, int, str], None]  # (done, total, what)
GATE_POLL_S = 1.0
SPANS = 3  # of every round at least, so that a sentinel has others to be compared with
WATCHED_ROWS = 2 * SPANS
MOST_SILENT = 3  # measurements in a row without an answer, all in one way
MOST_SILENT_AT_FIRST = 8  # of a device that never answered: the first rows may all be bad models


@dataclass
class Sweep:
    """One run of the protocol over the rows `keys`; `sentinel` is one of them."""

    keys: Sequence[str]
    sentinel: str
    file_of: Callable[[str], Path]
    table: LatencyTable
    timing: Timing
    device: Device
    session: Session
    seed: int
    progress: Progress
    failed: set[str] = field(default_factory=set)
    done: int = 0
    total: int = 0
    waited_s: float = 0.0
    silences: list[str] = field(default_factory=list)  # of the last measurements, since one was answered otherwise

    def __post_init__(self) -> None:
        self.id = hashlib.sha256("\n".join(sorted(self.keys)).encode()).hexdigest()[:8]

    def run(self) -> None:
        """All rounds; bounded by `max_rounds` and, in each, by `remeasure`."""
        for number in range(self.timing.max_rounds):
            due = [key for key in self._order(number) if self._is_due(key, number)]
            if due and number:
                self.session.renew()
            self.total = self.done + len(due) + len(self.keys) * max(0, self.timing.rounds - number - 1)
            for index, keys in enumerate(self._spans(due)):
                self._measure_span(number, index, keys)
        self._quarantine()

    def _order(self, number: int) -> list[str]:
        return random.Random(f"{self.seed}/{number}").sample(sorted(self.keys), len(self.keys))

    def _is_due(self, key: str, number: int) -> bool:
        """What earlier rounds found decides, whatever this one has measured already."""
        if key in self.failed:
            return False
        return number < self.timing.rounds or self.table.half_width_pct(key, number) > self.timing.settle_pct

    def _spans(self, due: Sequence[str]) -> Iterator[Sequence[str]]:
        length = self.timing.sentinel_every or len(due) or 1
        if self._can_be_watched():
            length = min(length, math.ceil(len(self.keys) / SPANS))
        return (due[start : start + length] for start in range(0, len(due), length))

    def _measure_span(self, number: int, index: int, keys: Sequence[str]) -> None:
        for attempt in range(1 + self.timing.remeasure):
            if not all(self.table.has_round(key, number, attempt) for key in keys):
                self._wait_for_gate()
            for position, key in enumerate(keys):
                self._measure(key, number, attempt)
                self.progress(self.done + position + 1, self.total, key)
            if not self._is_watched() or not self._drifts(Span(self.id, number, index, attempt)):
                break
            if attempt < self.timing.remeasure:
                self._wait_for_quiet()
        self.done += len(keys)

    def _measure(self, key: str, number: int, attempt: int) -> None:
        if key in self.failed or self.table.has_round(key, number, attempt):
            return
        measurement = self._time(key)
        self.table.add(key, number, measurement, attempt)
        if measurement.error:
            self.failed.add(key)
        if len(self.silences) >= MOST_SILENT:
            self._check_alive(measurement)

    def _time(self, key: str) -> Measurement:
        file = self.file_of(key)
        found = self.session.measure(file, self.timing.run_config())
        found = replace(found, error=found.error.replace(file.name, key))  # the file is gone when somebody reads it
        if found.silence not in self.silences:
            self.silences.clear()
        if found.silence:
            self.silences.append(found.silence)
        return found

    def _check_alive(self, last: Measurement) -> None:
        """UserError where a row that was measured before gets no answer any more, or none ever got one."""
        sound, silent = [key for key in self.keys if self._is_sound(key)], len(self.silences)
        if not sound and silent < MOST_SILENT_AT_FIRST:
            return
        if sound and not self._time(sound[-1]).silence:
            return
        told = f", nor did {sound[-1]}, which was measured before" if sound else ""
        complete = len(self.keys) - len(self.table.missing(self.keys, self.timing.rounds))
        raise UserError(
            f"{silent} measurements in a row {last.silence}{told}: the device hangs or is gone ({last.error}). "
            f"{complete} of {len(self.keys)} rows are measured in all rounds, {len(sound)} in some; all is kept in "
            f"{self.table.journal.path}: see to the device, then run the same command again to go on"
        )

    def _is_sound(self, key: str) -> bool:
        rounds = self.table.rounds(key).values()
        return key not in self.failed and not self.table.is_predicted(key) and any(not m.error for m in rounds)

    def _can_be_watched(self) -> bool:
        """Of very few rows, spans would be of one: the sentinel would take as long as they do."""
        return self.timing.sentinel_every > 0 and len(self.keys) >= WATCHED_ROWS

    def _is_watched(self) -> bool:
        return self._can_be_watched() and self.sentinel not in self.failed

    def _drifts(self, span: Span) -> bool:
        if span not in self.table.sentinels:
            measurement = self._time(self.sentinel)
            self.table.add_sentinel(self.sentinel, span, measurement)
        return self.table.drift_pct(span) > self.timing.drift_pct

    def _wait_for_gate(self) -> None:
        """Rests as the profile says, then until the device is cool and at speed, where it tells; bounded."""
        time.sleep(self.timing.cooldown_s)
        if not self.timing.gates():
            return
        deadline_s = time.monotonic() + self.timing.gate_timeout_s
        while not self.timing.admits(self.device.conditions()) and time.monotonic() < deadline_s:
            self.progress(self.done, self.total, "waiting until the device is cool and at speed")
            time.sleep(GATE_POLL_S)

    def _wait_for_quiet(self) -> None:
        """Until the sentinel is as before, or the sweep waited `drift_wait_s`: bursts of other work last seconds."""
        while self.waited_s < self.timing.drift_wait_s:
            start_s = time.monotonic()
            time.sleep(GATE_POLL_S)
            self.progress(self.done, self.total, "waiting until the sentinel is as before")
            measurement = self._time(self.sentinel)
            self.waited_s += time.monotonic() - start_s
            if self.table.off_pct(measurement, self.id) <= self.timing.drift_pct:
                return

    def _quarantine(self) -> None:
        for key in sorted(set(self.keys) - self.failed):
            width_pct = self.table.half_width_pct(key)
            if width_pct > self.timing.quarantine_pct:
                reason = f"did not settle: +-{width_pct:.0f} % after {len(self.table.rounds(key))} rounds"
                self.table.quarantine(key, reason)
