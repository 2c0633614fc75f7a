"""Measuring again what breaks the budget: other work on a device comes in bursts, and only ever makes it slower."""

import time
from collections.abc import Callable
from typing import TypeVar

from hwnas.devices import Profile
from hwnas.stages.limits import TOLERANCE
from hwnas.stages.run import say

Found = TypeVar("Found")


def fastest(
    found: Found,
    again: Callable[[], Found],
    latency_ms: Callable[[Found], float],
    budget_ms: float,
    profile: Profile,
    times: int,
    what: str,
) -> Found:
    """`found`, or what a later sweep found if that is faster: at most so many more, while the budget is broken.

    what: `a candidate`, for the user, who is told of each.
    """
    wait_s = profile.timing.drift_wait_s
    for _ in range(times):
        now_ms = latency_ms(found)
        if now_ms <= TOLERANCE * budget_ms:
            break
        say(
            f"{what} takes {now_ms:.4g} ms, over the budget of {budget_ms:.4g} ms, so it is measured again in "
            f"{wait_s:g} s"
        )
        time.sleep(wait_s)
        found = min(found, again(), key=latency_ms)
    return found
