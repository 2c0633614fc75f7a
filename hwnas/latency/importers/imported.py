"""What an importer returns, and how it reads the peer's file: every mistake in one is a UserError of one line."""

import csv
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from hwnas import __version__
from hwnas.errors import UserError
from hwnas.latency.table import IDENTITY_KEYS, Identity
from hwnas.storage import Record

SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is the same, eight times as fast


@dataclass(frozen=True, slots=True)
class Row:
    """One operator as its source tells it."""

    key: str
    mean_ms: float
    std_ms: float | None = None
    count: int | None = None  # how many values the mean is of

    def as_record(self) -> Record:
        """The row of a latency table: the mean stands for the raw times, which the source does not give."""
        told = {"mean_ms": self.mean_ms, "std_ms": self.std_ms, "count": self.count}
        summary = {name: value for name, value in told.items() if value is not None}
        return {"op": self.key, "round": 0, "times_ms": [self.mean_ms], "summary": summary}


@dataclass(frozen=True, slots=True)
class Imported:
    """A peer's table in our terms."""

    identity: Identity
    rows: Sequence[Row]


def foreign_identity(source: str, path: Path, **told: str) -> Identity:
    """The identity of an imported table: "unknown" for everything that its source does not tell."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        **dict.fromkeys(IDENTITY_KEYS, "unknown"),
        **{"batch": "1", "hwnas": __version__, "utc": datetime.now(UTC).isoformat(timespec="seconds")},
        **told,
        "source": f"{source}; file {path.name}, sha256 {sha256}",
    }


def malformed(path: Path, what: str, allowed: str) -> UserError:
    """An error about the content of the file to import."""
    return UserError(f"{path} {what}; allowed is {allowed}. Check FORMAT, or correct the file")


def read_text(path: Path) -> str:
    """The text of the file."""
    if not path.is_file():
        raise UserError(f"{path} is not a file; give the path of the file to import")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise malformed(path, "is not text", "a UTF-8 text file") from None


def read_yaml(path: Path) -> Mapping[str, Any]:
    """The mapping that a YAML file holds."""
    text = read_text(path)
    try:
        content = SAFE_LOADER(text).get_single_data()
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise malformed(path, f"is not valid YAML ({' '.join(str(error).split())})", "a YAML mapping") from None
    return _mapping(path, content, "YAML")


def read_json_mapping(path: Path) -> Mapping[str, Any]:
    """The object that a JSON file holds."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise malformed(path, f"is not valid JSON ({error})", "a JSON object") from None
    return _mapping(path, content, "JSON")


def _mapping(path: Path, content: object, language: str) -> Mapping[str, Any]:
    if not isinstance(content, dict) or not content:
        raise malformed(path, f"holds {type(content).__name__}, not keys and values", f"a {language} mapping")
    return {str(key): value for key, value in content.items()}


def read_csv(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a heading, which must name `columns`."""
    try:
        reader = csv.DictReader(read_text(path).splitlines(), strict=True)
        rows = list(reader)
    except csv.Error as error:
        raise malformed(path, f"is not valid CSV ({error})", "a heading and rows of as many columns") from None
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise malformed(path, f"lacks the columns {', '.join(missing)}", f"a CSV with {', '.join(columns)}")
    if not rows:
        raise malformed(path, "has no rows", "at least one")
    return rows


def number(path: Path, where: str, value: object, least: float = -math.inf) -> float:
    """A finite number of at least `least`, from a number or the text of one."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found) or found < least:
        bound = "" if least == -math.inf else f" of {least:g} or more"
        raise malformed(path, f"has {value!r} at {where}", f"a number{bound}")
    return found


def whole(path: Path, where: str, value: object, least: int = 0) -> int:
    """A whole number of at least `least`."""
    found = number(path, where, value, least)
    if found != int(found):
        raise malformed(path, f"has {value!r} at {where}", "a whole number")
    return int(found)


def chosen_device(path: Path, device: str | None, known: Sequence[str]) -> str:
    """The device of a file that holds several."""
    if device in known:
        return str(device)
    came = f"--device is {device!r}" if device else "no --device came"
    raise UserError(f"{path} holds the devices {', '.join(known)} and {came}; choose one of them by --device")
