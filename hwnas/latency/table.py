"""What was measured where: one JSON Lines file per profile, identity first."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hwnas.devices import Measurement, pooled
from hwnas.errors import UserError
from hwnas.storage import Journal

Identity = dict[str, str]
INFORMATIVE = {"hwnas", "utc", "os", "cpus", "governor", "profile"}  # told, but two tables may differ in them


class LatencyTable(Mapping[str, Measurement]):
    """Rows by key, all rounds pooled. Only sound rows count; failed ones are in `errors`."""

    def __init__(self, path: Path, identity: Identity, row: str = "op") -> None:
        """Opens the table for one identity, or starts it; UserError naming what differs for any other table."""
        self.journal, self.row = Journal(path), row
        self._rounds: dict[str, dict[int, Measurement]] = {}
        if self.journal.records:
            check_identity(path, self.journal.records[0], identity)
        else:
            self.journal.append(dict(identity))
        for record in self.journal.records[1:]:
            self._add(record)

    def _add(self, record: Mapping[str, Any]) -> None:
        try:
            measurement = Measurement(tuple(record.get("times_ms", ())), record.get("error", ""))
            self._rounds.setdefault(record[self.row], {})[int(record["round"])] = measurement
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{self.journal.path} has a row without {self.row!r} or round: {dict(record)}") from None

    def add(self, key: str, round_number: int, measurement: Measurement) -> None:
        """Writes one round of one row to the disk."""
        record: dict[str, Any] = {self.row: key, "round": round_number}
        record |= {"error": measurement.error} if measurement.error else {"times_ms": list(measurement.times_ms)}
        self.journal.append(record)
        self._add(record)

    def has_round(self, key: str, round_number: int) -> bool:
        """Whether this round of the row was measured soundly."""
        measurement = self._rounds.get(key, {}).get(round_number)
        return measurement is not None and not measurement.error

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
        return (key for key in self._rounds if key not in self.errors)

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
