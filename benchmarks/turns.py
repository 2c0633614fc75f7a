"""Times that compare: both sides of a ratio take turns in one run, and the fastest repetition of each counts."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

WARM_UP = 1  # rounds that do not count
Side = TypeVar("Side")


def cpu_seconds_of(step: Callable[[], object]) -> float:
    """CPU time of this thread: what other processes do hardly shows in it."""
    start_s = time.thread_time()
    step()
    return time.thread_time() - start_s


def fastest_in_turn(sides: Mapping[str, Side], repeats: int, seconds_of: Callable[[Side], float]) -> dict[str, float]:
    """Seconds of each, the fastest of `repeats` rounds over all of them."""
    rounds = [{name: seconds_of(side) for name, side in sides.items()} for _ in range(WARM_UP + repeats)]
    return {name: min(r[name] for r in rounds[WARM_UP:]) for name in sides}
