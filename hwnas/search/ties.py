"""Candidates that a super-network cannot tell apart: of these the one that computes most is delivered.

As much as a network's own accuracy a likelihood by shared weights holds what these happen to do to it. Where two differ
by less than that, the likelier one is chance, and what is known of networks at large is the better guess: those that
compute more are more accurate. Breiman's rule of one standard error (Classification and Regression Trees, 1984, section
3.4.3) the other way round: there the smallest tree among the equals, as nothing else bounds its size; here all keep the
budget.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from hwnas.objective import pareto_front, quality, worth

Trial = dict[str, Any]  # a line of `trials.jsonl`
TIE_SHARE = 0.2  # of the spread; what is luck in it is 0.4 to 0.5 where the truth is known (docs/results.md)
LEAST = 1e-12  # likelihood that has a logarithm


def tie_width(drawn: Sequence[Trial], share: float) -> float:
    """Up to which difference of log-likelihood, in nats, candidates are as good: a share of random ones' deviation."""
    known = {tuple(trial["arch"]): math.log(max(quality(trial), LEAST)) for trial in drawn}
    return share * statistics.pstdev(known.values())


def tied(trials: Sequence[Trial], width: float) -> list[Trial]:
    """Those as good as the likeliest."""
    least = max(quality(trial) for trial in trials) * math.exp(-width)
    return [trial for trial in trials if quality(trial) >= least]


def largest_first(trials: Sequence[Trial]) -> list[Trial]:
    """The one of most multiply-adds, then the next that is faster, and so on: what to measure, until one is kept."""
    likely_first = sorted(trials, key=quality, reverse=True)
    return pareto_front(likely_first, lambda trial: (trial["macs"], -trial["latency_ms"]))


def by_preference(trials: Sequence[Trial], width: float | None = None) -> list[Trial]:
    """All, the one to be delivered first: those that tie by their multiply-adds, the others by worth.

    width: None where an objective decides, and nothing ties.
    """
    ordered = sorted(trials, key=lambda trial: (worth(trial), -trial["latency_ms"]), reverse=True)
    if width is None or not ordered:
        return ordered
    first = tied(ordered, width)
    return sorted(first, key=lambda trial: (trial["macs"], -trial["latency_ms"]), reverse=True) + ordered[len(first) :]
