"""How fast the machine itself was at each moment of a sweep, from rows that were measured again and again.

log time = log latency of the row + log level of the machine, where the level changes slowly: on a shared host by some
percent within seconds. Both are found in turn by medians (Tukey's median polish, Exploratory Data Analysis 1977,
chapter 11), the level as a running one. A row's own times take no part in the level that it is corrected by, else a
row would explain its own noise away.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NEIGHBOURS = 6  # measurements before and as many after: 3 to 12 do about the same
LEAST = 4  # neighbours that tell a level
PASSES = 8


def levels(rows: Sequence[str], medians_ms: Sequence[float]) -> Floats:
    """(n,): how many times slower than usual the machine was at each of n measurements, in the order they were made.

    rows: which row each one is of. 1 where too few neighbours tell, or where a time is not above 0.
    """
    found, sound = np.ones(len(rows)), np.asarray(medians_ms, dtype=np.float64) > 0
    at = np.flatnonzero(sound)
    if len(at):
        _, row_of = np.unique(np.asarray(rows)[at], return_inverse=True)
        found[at] = np.exp(_log_levels(row_of, np.log(np.asarray(medians_ms, dtype=np.float64)[at])))
    return found


def _log_levels(row_of: NDArray[np.intp], log_ms: Floats) -> Floats:
    neighbours, tells = _neighbours(row_of)
    enough = tells.sum(axis=1) >= LEAST
    of_row = [np.flatnonzero(row_of == row) for row in range(row_of.max() + 1)]
    level = np.zeros(len(log_ms))
    for _ in range(PASSES if enough.any() else 0):
        latency = np.array([np.median((log_ms - level)[at]) for at in of_row])
        left = np.where(tells, (log_ms - latency[row_of])[neighbours], np.nan)
        level = np.zeros(len(log_ms))
        level[enough] = np.nanmedian(left[enough], axis=1)
        level -= level.mean()
    return level


def _neighbours(row_of: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """(n, 2 x NEIGHBOURS) each: the measurements around each one, and which of them are there and of another row."""
    steps = np.array([step for step in range(-NEIGHBOURS, NEIGHBOURS + 1) if step])
    at = np.arange(len(row_of))[:, None] + steps
    inside = (at >= 0) & (at < len(row_of))
    at = at.clip(0, len(row_of) - 1)
    return at, inside & (row_of[at] != row_of[:, None])
