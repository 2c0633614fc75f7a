"""Metrics -> scores, and which candidates no other one dominates."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Metrics = Mapping[str, float]  # unit in the key: "accuracy" (0..1), "latency_ms", "macs", "params"
Scores = tuple[float, ...]  # larger is better; one entry per goal
Objective = Callable[[Metrics], Scores]
Candidate = TypeVar("Candidate")
SAME_LATENCY = 0.05  # relative difference up to which two measured latencies are about the same


def hard_limits(limits: Mapping[str, float]) -> Objective:
    """Accuracy within all limits, by metric; minus the largest excess, in limits, above one: below every accuracy."""

    def scores(metrics: Metrics) -> Scores:
        excess = max(metrics[name] / most - 1 for name, most in limits.items())
        return (metrics["accuracy"],) if excess <= 0 else (-excess,)

    return scores


def soft_budget(target_ms: float, exponent: float = -0.07) -> Objective:
    """MnasNet's accuracy * (latency / target)^w, https://arxiv.org/abs/1807.11626, equation 2.

    w = -0.07: doubling the latency is worth 5 % of relative accuracy.
    """
    return lambda metrics: (metrics["accuracy"] * (metrics["latency_ms"] / target_ms) ** exponent,)


def accuracy_and_latency(metrics: Metrics) -> Scores:
    """Both goals, for a Pareto front."""
    return (metrics["accuracy"], -metrics["latency_ms"])


def pareto_front(candidates: Sequence[Candidate], scores: Callable[[Candidate], Scores]) -> list[Candidate]:
    """The candidates that no other one equals or beats in every goal, best in the first goal first."""
    ordered = sorted(candidates, key=scores, reverse=True)
    front: list[Candidate] = []
    kept: list[Scores] = []
    for candidate in ordered:
        mine = scores(candidate)
        if not any(all(a >= b for a, b in zip(other, mine, strict=True)) for other in kept):
            front.append(candidate)
            kept.append(mine)
    return front
