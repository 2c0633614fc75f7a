"""Measuring again what breaks the budget: other work on a device comes in bursts, and only ever makes it slower.

A sentinel tells the device from the network: one of those that the predictor was fitted on, measured beside what is
judged. While it takes so much longer than it took then that this alone breaks the budget, nothing is decided.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hwnas.devices import Measurement, Profile
from hwnas.errors import UserError
from hwnas.stages.limits import TOLERANCE
from hwnas.stages.networks import NetworkId, measure_together
from hwnas.stages.run import Run, say

PATIENCE = 10  # sweeps more, while the device is to blame
JUDGED, SENTINEL = "winner", "sentinel"  # labels in a sweep


@dataclass(frozen=True)
class Seen:
    """What is judged, as one sweep measured it; all: of every label.

    slowdown: how many times as long as when the predictor was fitted the sentinel took; 1 where it was not measured.
    """

    all: Mapping[str, Measurement]
    slowdown: float = 1.0

    @property
    def ms(self) -> float:
        """Median latency of what is judged."""
        return self.all[JUDGED].median_ms


@dataclass(frozen=True)
class Sentinel:
    """A network and its median when the predictor was fitted, of which the budget is a latency."""

    network: NetworkId
    then_ms: float

    def sweep(self, files: Mapping[str, Path], networks: Mapping[str, NetworkId], profile: Profile) -> Seen:
        """Files and networks, JUDGED among them, measured together with this one."""
        measured = measure_together(files, profile, {**networks, SENTINEL: self.network})
        return Seen(measured, measured[SENTINEL].median_ms / self.then_ms)


def sentinel_of(run: Run, network: NetworkId, near_ms: float) -> Sentinel:
    """Of the networks that the run's predictor was fitted on the one whose latency is nearest.

    network: any of the run's own space.
    """
    fitted = run.needs("predictor.json", "fit")["networks"]
    nearest = min(fitted, key=lambda record: abs(record["measured_ms"] - near_ms))
    return Sentinel(replace(network, arch=tuple(nearest["arch"])), float(nearest["measured_ms"]))


def settled(first: Seen, again: Callable[[], Seen], budget_ms: float, profile: Profile, times: int, what: str) -> Seen:
    """`first`, or of more sweeps the fastest: at most so many while the budget is broken, and a while apart.

    what: `a candidate`, for the user, who is told of each. UserError where the device stays so slow that it breaks
    the budget, whatever is measured.
    """
    found, last, wait_s = first, first, profile.timing.drift_wait_s
    for number in range(PATIENCE + 1):
        is_slow = _is_slow(last, budget_ms, profile)
        if found.ms <= TOLERANCE * budget_ms or number >= (PATIENCE if is_slow else times):
            break
        say(
            f"{what} takes {found.ms:.4g} ms, over the budget of {budget_ms:.4g} ms{f', but {_slow(last)}' * is_slow}, "
            f"so it is measured again in {wait_s:g} s"
        )
        time.sleep(wait_s)
        last = again()
        found = min(found, last, key=lambda sweep: sweep.ms)
    if is_slow:
        raise UserError(
            f"{what} takes {found.ms:.4g} ms, over the budget of {budget_ms:.4g} ms, but {_slow(last)}, so nothing is "
            "decided: let the device come to rest, then run the same command again; if it stays as slow, what was "
            "measured of it no longer holds: begin a run with another --out"
        )
    return found


def _is_slow(sweep: Seen, budget_ms: float, profile: Profile) -> bool:
    """Whether the device breaks the budget, and not the network."""
    drifts = sweep.slowdown > 1 + profile.timing.drift_pct / 100
    return drifts and sweep.ms / sweep.slowdown <= TOLERANCE * budget_ms < sweep.ms


def _slow(sweep: Seen) -> str:
    return f"the device is {sweep.slowdown:.2f} times as slow as when the predictor was fitted"
