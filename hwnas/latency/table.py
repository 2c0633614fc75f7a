"""What was measured where: one JSON Lines file per profile, identity first."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from hwnas.devices import Measurement, pooled
from hwnas.errors import UserError
from hwnas.storage import Journal, Record, write_text

Identity = dict[str, str]
ROWS = ("op", "network")  # what the rows of a table may be of: the name of their key
IDENTITY_KEYS = (  # what every table tells; "unknown" where an imported one cannot
    *("device", "soc", "architecture", "os", "governor", "cpus", "profile", "runtime", "runtime_version", "dtype"),
    *("threads", "clock", "batch", "space", "resolution", "hwnas", "utc"),
)
INFORMATIVE = {"hwnas", "utc", "os", "cpus", "governor", "profile"}  # told, but two tables may differ in them


class LatencyTable(Mapping[str, Measurement]):
    """Rows by key, all rounds pooled. Only sound rows count; failed ones are in `errors`."""

    def __init__(self, path: Path, identity: Identity, row: str = "op") -> None:
        """Opens the table for one identity; UserError naming what differs for any other table.

        A new file is begun by its first row: a table that nothing was measured into is no table.
        """
        self.journal, self.row, self._wanted = Journal(path), row, identity
        self._rounds: dict[str, dict[int, Measurement]] = {}
        self.summaries: dict[str, Mapping[str, float]] = {}  # of imported rows: mean_ms, and std_ms and count if told
        if self.journal.records:
            check_identity(path, self.journal.records[0], identity)
        for record in self.journal.records[1:]:
            self._add(record)

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

    def _add(self, record: Mapping[str, Any]) -> None:
        try:
            times_ms = tuple(map(float, record.get("times_ms", ())))
            measurement = Measurement(times_ms, "" if times_ms else str(record.get("error") or "no times"))
            key, number = str(record[self.row]), int(record["round"])
            if "summary" in record:
                self.summaries[key] = {name: float(value) for name, value in dict(record["summary"]).items()}
            self._rounds.setdefault(key, {})[number] = measurement
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{self.journal.path} has a row without {self.row!r} or round, or with times that are no "
                f"numbers: {dict(record)}; remove that line"
            ) from None

    def add(self, key: str, round_number: int, measurement: Measurement) -> None:
        """Writes one round of one row to the disk."""
        record: dict[str, Any] = {self.row: key, "round": round_number}
        record |= {"error": measurement.error} if measurement.error else {"times_ms": list(measurement.times_ms)}
        if not self.journal.records:
            self.journal.append(dict(self._wanted))
        self.journal.append(record)
        self._add(record)

    def has_round(self, key: str, round_number: int) -> bool:
        """Whether this round of the row was measured soundly."""
        measurement = self._rounds.get(key, {}).get(round_number)
        return measurement is not None and not measurement.error

    def rounds(self, key: str) -> Mapping[int, Measurement]:
        """Every round of a row, the failed ones too; empty for a row that is not there."""
        return self._rounds.get(key, {})

    def missing(self, keys: Iterable[str], rounds: int) -> list[str]:
        """The keys that lack a sound measurement in any of the rounds."""
        return [key for key in keys if not all(self.has_round(key, r) for r in range(rounds))]

    @property
    def errors(self) -> dict[str, str]:
        """What failed in every round it was tried, and why."""
        return {key: m.error for key in self._rounds if (m := pooled(list(self._rounds[key].values()))).error}

    def __getitem__(self, key: str) -> Measurement:
        measurement = pooled(list(self._rounds[key].values()))
        if measurement.error:
            raise KeyError(key)
        return measurement

    def __iter__(self) -> Iterator[str]:
        failed = self.errors
        return (key for key in self._rounds if key not in failed)

    def __len__(self) -> int:
        return len(self._rounds) - len(self.errors)


def check_identity(path: Path, found: Mapping[str, Any], wanted: Identity) -> None:
    """UserError, naming every difference, where a table was measured for anything else than what is wanted."""
    if "device" not in found:
        raise UserError(f"{path} does not start with the identity of a latency table; choose another file or delete it")
    differences = [
        f"{key} is {found.get(key)!r} there and {value!r} here"
        for key, value in wanted.items()
        if key not in INFORMATIVE and found.get(key) != value
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
