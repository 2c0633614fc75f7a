"""What was measured where: one JSON Lines file per profile, identity first."""

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from hwnas.devices import Measurement, pooled
from hwnas.errors import UserError
from hwnas.latency.drift import levels
from hwnas.latency.record import PREDICTED, measurement, summary, text, whole
from hwnas.latency.trimmed import half_width_pct
from hwnas.storage import Journal, Record, write_text

Identity = dict[str, str]
ROWS = ("op", "network")  # what the rows of a table may be of: the name of their key
IDENTITY_KEYS = (  # what every table tells; "unknown" where an imported one cannot
    *("device", "soc", "architecture", "os", "governor", "cpus", "profile", "runtime", "runtime_version", "dtype"),
    *("threads", "delegate", "clock", "protocol", "batch", "space", "resolution", "hwnas", "utc"),
)
INFORMATIVE = {"hwnas", "utc", "profile"}  # told, but two tables may differ in them
UNTOLD = ("not told", "unknown", None)  # of a governor

NOISY_PCT = 5.0  # changes of the machine's speed from which on it counts as noisy, whatever the sentinel saw
JUDGES = 3  # sentinel measurements before the next one can be called drifting


@dataclass(frozen=True, slots=True)
class Span:
    """Some rows measured one after the other in a round of a sweep, and the attempt at it."""

    sweep: str
    round: int
    span: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Steadiness:
    """Half of the measured rows' 95 % intervals, and how many spans drifted, by how much."""

    median_half_width_pct: float  # infinite where rows were measured once
    max_half_width_pct: float
    drifting_spans: int  # in any of their attempts
    spans: int  # that a sentinel watched
    max_drift_pct: float
    level_pct: float  # standard deviation of the machine's speed, which is taken out
    predicted: int = 0  # rows that were not measured, and count in none of the above
    still_off: int = 0  # spans that drifted in their last attempt too

    def __str__(self) -> str:
        noisy = "the device was noisy: " if self.drifting_spans or self.level_pct > NOISY_PCT else ""
        return f"95 % intervals of the rows: {self._widths()}; {noisy}{self._watched()}"

    def _widths(self) -> str:
        most = self.max_half_width_pct
        at_most = f"+-{most:.1f} % at most" if math.isfinite(most) else "unknown where a row was measured once"
        widths = (
            f"+-{self.median_half_width_pct:.1f} % in the median, {at_most}, with "
            f"changes of the machine's speed of {self.level_pct:.1f} % taken out"
        )
        if not math.isfinite(self.median_half_width_pct):
            widths = "unknown, as they were not measured twice"
        if self.predicted:
            widths += f" ({self.predicted} more are predicted from another device's table, not measured)"
        return widths

    def _watched(self) -> str:
        if not self.spans:
            return "no sentinel watched"
        if not self.drifting_spans:
            return "no drift was seen"
        still = f"; {self.still_off} of them still off in the last attempt"
        again = still if self.still_off else ", which were measured again"
        return (
            f"the sentinel was off by up to {self.max_drift_pct:.0f} % in {self.drifting_spans} of {self.spans} "
            f"spans{again}"
        )


def _off_pct(now_ms: float, before_ms: Sequence[float]) -> float:
    sound_ms = [ms for ms in before_ms if not math.isnan(ms)]
    if len(sound_ms) < JUDGES or math.isnan(now_ms):
        return 0.0
    return 100 * abs(now_ms / statistics.median(sound_ms) - 1)


class LatencyTable(Mapping[str, Measurement]):
    """Rows by key: all rounds pooled, the machine's changing speed taken out; the file keeps the raw times.

    Only sound rows count; failed and quarantined ones are in `errors`.
    A predicted row counts with its prediction until it is measured.
    """

    def __init__(self, path: Path, identity: Identity, row: str = "op") -> None:
        """Opens the table for one identity; UserError naming what differs for any other table.

        A new file is begun by its first row: a table that nothing was measured into is no table.
        """
        self.journal, self.row, self._wanted = Journal(path), row, identity
        self._rounds: dict[str, dict[int, Measurement]] = {}
        self._attempts: dict[tuple[str, int], int] = {}
        self._quarantined: dict[str, str] = {}
        self._in_order: dict[tuple[str, int], None] = {}  # (row, round) as they were measured
        self._levels: dict[float, dict[tuple[str, int], float]] = {}  # by how many rounds they come from
        self.sentinels: dict[Span, float] = {}  # span -> median milliseconds of the sentinel, in the order measured
        # of imported rows: mean_ms, and std_ms and count if told; of predicted rows: predicted_ms, and count 0
        self.summaries: dict[str, Mapping[str, float]] = {}
        if self.journal.records:
            check_identity(path, self.journal.records[0], identity)
        for number, record in enumerate(self.journal.records[1:], start=2):
            self._add(record, number)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The table at `path`, of whatever identity it has: to look at, nothing is written."""
        records = Journal(path).records
        check_identity(path, records[0] if records else {}, {})
        return cls(path, {}, next((row for row in ROWS if len(records) > 1 and row in records[1]), ROWS[0]))

    @property
    def identity(self) -> Identity:
        """What the rows belong to."""
        found = self.journal.records[0] if self.journal.records else self._wanted
        return {key: str(value) for key, value in found.items()}

    def _add(self, record: Mapping[str, Any], line: int) -> None:
        try:
            if "sentinel" in record:
                numbers = (whole(record, name) for name in ("round", "span", "attempt"))
                span = Span(text(record, "sweep"), *numbers)
                self.sentinels[span] = measurement(record, differences=False).median_ms
            elif "quarantine" in record:
                key = text(record, self.row)
                self._rounds.pop(key, None)
                self._levels.clear()
                self._quarantined[key] = str(record["quarantine"])
            else:
                self._add_row(record)
        except ValueError as error:
            raise UserError(f"{self.journal.path}, line {line}, is damaged: {error}. Remove that line") from None

    def _add_row(self, record: Mapping[str, Any]) -> None:
        key, number, attempt = text(record, self.row), whole(record, "round"), whole(record, "attempt", 0)
        found, told = measurement(record, "values" in self.journal.records[0]), summary(record)
        if PREDICTED in told and key in self._rounds and not self.is_predicted(key):
            return  # what was measured counts, wherever in the file the prediction stands
        if told:
            self.summaries[key] = told
        elif self.is_predicted(key):
            del self.summaries[key], self._rounds[key]
        self._quarantined.pop(key, None)
        self._in_order.pop((key, number), None)
        self._in_order[key, number] = None
        self._levels.clear()
        self._rounds.setdefault(key, {})[number] = found
        self._attempts[key, number] = attempt

    def add(self, key: str, round_number: int, measured: Measurement, attempt: int = 0) -> None:
        """Writes one round of one row to the disk; a later attempt takes the place of an earlier one."""
        again = {"attempt": attempt} if attempt else {}
        self._write({self.row: key, "round": round_number, **again, **_told(measured)})

    def add_sentinel(self, key: str, span: Span, measured: Measurement) -> None:
        """Writes what the sentinel took after a span."""
        self._write({"sentinel": key, **asdict(span), **_told(measured)})

    def quarantine(self, key: str, reason: str) -> None:
        """Takes a row out of the table, by name; measured again, it starts anew."""
        self._write({self.row: key, "quarantine": reason})

    def is_quarantined(self, key: str) -> bool:
        """Whether a row would not settle, and was not measured anew since."""
        return key in self._quarantined

    def _write(self, record: Record) -> None:
        if not self.journal.records:
            self.journal.append(dict(self._wanted))
        self.journal.append(record)
        self._add(record, len(self.journal.records))

    def has_round(self, key: str, round_number: int, attempt: int = 0) -> bool:
        """Whether this round of the row was measured soundly, in this attempt or a later one."""
        measured = self._rounds.get(key, {}).get(round_number)
        if measured is None or measured.error or self.is_predicted(key):
            return False
        return self._attempts[key, round_number] >= attempt

    def is_predicted(self, key: str) -> bool:
        """Whether the row holds what another device's table lets expect, as nothing was measured."""
        return PREDICTED in self.summaries.get(key, {})

    def rounds(self, key: str) -> Mapping[int, Measurement]:
        """Every round of a row, the failed ones too; empty for a row that is not there."""
        return self._rounds.get(key, {})

    def fingerprint(self, key: str) -> str:
        """The same as long as a row's own times and summary are, whatever others tell of the machine's speed."""
        sound = sorted((number, m.times_ms) for number, m in self.rounds(key).items() if not m.error)
        told = json.dumps([sound, dict(self.summaries.get(key, {})), self._quarantined.get(key, "")])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def missing(self, keys: Iterable[str], rounds: int) -> list[str]:
        """The keys that lack a sound measurement in any of the rounds."""
        return [key for key in keys if not all(self.has_round(key, r) for r in range(rounds))]

    def is_settled(self, key: str, settle_pct: float, max_rounds: int) -> bool:
        """Whether a row needs no further round: its interval is narrow, or it had as many as are allowed."""
        rounds = sum(not m.error for m in self.rounds(key).values())
        return rounds >= max_rounds or self.half_width_pct(key) <= settle_pct

    def half_width_pct(self, key: str, rounds: float = math.inf) -> float:
        """Half of the 95 % confidence interval of the middle of round medians, relative; of the first `rounds` only.

        Rounds, not runs: what disturbs one run disturbs its neighbours too. Infinite below two rounds.
        """
        return half_width_pct([m.median_ms for m in self._levelled(key, rounds)])

    def _levelled(self, key: str, rounds: float = math.inf) -> list[Measurement]:
        """The sound rounds of a row, of the first `rounds`, as if the machine had been equally fast all the time."""
        level = self._levels_of(rounds)
        found = ((r, m) for r, m in self.rounds(key).items() if r < rounds and not m.error)
        return [Measurement(tuple(t / level.get((key, r), 1.0) for t in m.times_ms)) for r, m in found]

    def _levels_of(self, rounds: float) -> dict[tuple[str, int], float]:
        """How fast the machine was when each round was measured, by (row, round); from the first `rounds` alone."""
        if rounds not in self._levels:
            at = [(key, r) for key, r in self._in_order if r < rounds and self.has_round(key, r)]
            found = levels([key for key, _ in at], [self._rounds[key][r].median_ms for key, r in at])
            self._levels[rounds] = dict(zip(at, found.tolist(), strict=True))
        return self._levels[rounds]

    def drifts_pct(self) -> list[float]:
        """Of every attempt at a span, how far its sentinel was off."""
        return [self.drift_pct(span) for span in self.sentinels]

    def steadiness(self, keys: Iterable[str], drift_pct: float) -> "Steadiness":
        """How quiet the device was while these rows were measured."""
        found = list(keys)
        widths_pct = sorted(self.half_width_pct(key) for key in found if not self.is_predicted(key)) or [math.nan]
        attempts: dict[Span, list[float]] = {}
        for span in sorted(self.sentinels, key=lambda s: s.attempt):
            attempts.setdefault(replace(span, attempt=0), []).append(self.drift_pct(span))
        return Steadiness(
            statistics.median(widths_pct),
            widths_pct[-1],
            sum(max(found_pct) > drift_pct for found_pct in attempts.values()),
            len(attempts),
            max((pct for found_pct in attempts.values() for pct in found_pct if pct > drift_pct), default=0),
            100 * float(np.std(np.log(list(self._levels_of(math.inf).values()) or [1.0]))),
            sum(map(self.is_predicted, found)),
            sum(found_pct[-1] > drift_pct for found_pct in attempts.values()),
        )

    def drift_pct(self, span: Span) -> float:
        """How far the sentinel after a span was from the median of those before it; 0 while they are too few.

        Of the same sweep: another one, of other rows, may have another sentinel.
        """
        spans = [s for s in self.sentinels if s.sweep == span.sweep]
        return _off_pct(self.sentinels[span], [self.sentinels[s] for s in spans[: spans.index(span)]])

    def off_pct(self, sentinel: Measurement, sweep: str) -> float:
        """The same of a sentinel that is not written down: how far it is from all those of its sweep that are."""
        before_ms = [ms for span, ms in self.sentinels.items() if span.sweep == sweep]
        return _off_pct(math.nan if sentinel.error else sentinel.median_ms, before_ms)

    @property
    def errors(self) -> dict[str, str]:
        """What failed in every round it was tried, or would not settle, and why."""
        failed = {key: m.error for key in self._rounds if (m := pooled(list(self._rounds[key].values()))).error}
        return failed | self._quarantined

    def failure(self, key: str) -> str:
        """Why a row lacks a round, where one failed or it would not settle; empty where nothing did."""
        failed = [m.error for m in self.rounds(key).values() if m.error]
        return self._quarantined.get(key) or (failed[-1] if failed else "")

    def rows(self) -> Iterator[Record]:
        """The records that count: no sentinels, nothing quarantined, of each round the last attempt.

        Of a row that was measured, none that is predicted.
        """
        for record in self.journal.records[1:]:
            if "sentinel" not in record and "quarantine" not in record:
                key, number = str(record[self.row]), int(record["round"])
                outdated = PREDICTED in record.get("summary", {}) and not self.is_predicted(key)
                counts = number in self._rounds.get(key, {}) and not outdated
                if counts and self._attempts[key, number] == int(record.get("attempt", 0)):
                    yield record

    def quarantines(self) -> list[Record]:
        """A record for each row in quarantine, with its reason; before `rows` in a file, they yield to what counts."""
        return [{self.row: key, "quarantine": reason} for key, reason in self._quarantined.items()]

    def __getitem__(self, key: str) -> Measurement:
        if pooled(list(self._rounds[key].values())).error:
            raise KeyError(key)
        return pooled(self._levelled(key))

    def __iter__(self) -> Iterator[str]:
        failed = self.errors
        return (key for key in self._rounds if key not in failed)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _told(measured: Measurement) -> Record:
    return {"error": measured.error} if measured.error else {"times_ms": list(measured.times_ms)}


def differs(key: str, a: object, b: object) -> bool:
    """Whether two tables are of different things, by what they tell under `key`.

    Of the system its name counts, as a new kernel comes every week; of a host's cores how many a run is pinned to, not
    which; the governor where both tell it.
    """
    if key == "os":
        return str(a).split()[:1] != str(b).split()[:1]
    if key == "cpus":
        return _pinned_to(a) != _pinned_to(b)
    if key == "governor":
        return a != b and a not in UNTOLD and b not in UNTOLD
    return key not in INFORMATIVE and a != b


def _pinned_to(cpus: object) -> int | str:
    """How many cores; which ones, where they are told by name, as those of phones differ from each other."""
    words = str(cpus).split(",")
    return len(words) if all(word.isdigit() for word in words) else str(cpus)


def check_identity(path: Path, found: Mapping[str, Any], wanted: Identity) -> None:
    """UserError, naming every difference, where a table was measured for anything else than what is wanted."""
    if "device" not in found:
        raise UserError(f"{path} does not start with the identity of a latency table; choose another file or delete it")
    differences = [
        f"{key} is {found.get(key)!r} there and {value!r} here"
        for key, value in wanted.items()
        if differs(key, found.get(key), value)
    ]
    if differences:
        raise UserError(
            f"the latency table {path} is of something else: {'; '.join(differences)}. "
            "Choose the table that fits, or another file to measure into"
        )


def write_new_table(path: Path, identity: Identity, records: Iterable[Record]) -> None:
    """A whole table at once, complete or not at all; UserError where there is a file already."""
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten; choose another --out")
    write_text(path, "".join(json.dumps(record) + "\n" for record in (identity, *records)))
