"""What a line of a latency table may hold: whatever else stands there is damage, and is told."""

import math
from collections.abc import Mapping
from typing import Any

from hwnas.devices import Measurement
from hwnas.errors import shown

MEAN, PREDICTED = "mean_ms", "predicted_ms"  # in the summary of an imported row, and of one that was never measured


def text(record: Mapping[str, Any], name: str) -> str:
    """A text that is not empty; ValueError for anything else, and where it is not there."""
    found = record.get(name)
    if not isinstance(found, str) or not found:
        raise ValueError(f"{_told(record, name)}; allowed is a text")
    return found


def whole(record: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A whole number of at least 0; ValueError for anything else, and where it is not there and has no default."""
    found = record.get(name, default)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise ValueError(f"{_told(record, name)}; allowed is a whole number, 0 or more")
    return found


def measurement(record: Mapping[str, Any], differences: bool) -> Measurement:
    """The times of a row or a sentinel in milliseconds, or why there are none; ValueError where they can be no times.

    differences: any finite number may stand there. The mean that a foreign table tells may be 0.
    """
    least = -math.inf if differences else 0.0
    is_mean = MEAN in summary(record)
    times = record.get("times_ms", [])
    if not isinstance(times, list) or not all(_is_finite(t) and (t > least or (is_mean and t == 0)) for t in times):
        allowed = "finite numbers" + ("" if differences else " of 0 or more" if is_mean else " above 0")
        raise ValueError(f"{_told(record, 'times_ms')}; allowed is a list of {allowed}")
    return Measurement(tuple(map(float, times)), "" if times else str(record.get("error") or "no times"))


def summary(record: Mapping[str, Any]) -> Mapping[str, float]:
    """What a row tells beside its times; empty where it tells nothing; ValueError where it lacks what it is for."""
    found = record.get("summary", {})
    told = isinstance(found, Mapping) and (not found or MEAN in found or PREDICTED in found)
    if not told or not all(map(_is_finite, found.values())) or ("summary" in record and not found):
        raise ValueError(f"{_told(record, 'summary')}; allowed are finite numbers, {MEAN} or {PREDICTED} among them")
    return {name: float(value) for name, value in found.items()}


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _told(record: Mapping[str, Any], name: str) -> str:
    return f"{name} is {shown(record[name])}" if name in record else f"{name} is not there"
