"""Metrics -> scores, and which candidates no other one dominates."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

Metrics = Mapping[str, float]  # unit in the key: "accuracy" (0..1), "latency_ms", "macs", "params"
Scores = tuple[float, ...]  # larger is better; one entry per goal
Objective = Callable[[Metrics], Scores]
LatencyLoss = Callable[[Any, Any], Any]  # (cross-entropy, expected milliseconds), scalar tensors -> scalar tensor
NS_PER_MS, MIN_NS = 1e6, 10.0
Candidate = TypeVar("Candidate")
Z_95 = 1.959964  # two-sided 95 % of the normal distribution
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


def absolute(target_ms: float, weight: float = 0.5) -> LatencyLoss:
    """Cross-entropy + weight * |latency / target - 1|: TuNAS' absolute reward as a loss, two-sided.

    https://arxiv.org/abs/2008.06120, section 3.2; there of accuracy, with 0.07: a point of accuracy is worth less
    than a unit of cross-entropy.
    """
    return lambda cross_entropy, expected_ms: cross_entropy + weight * abs(expected_ms / target_ms - 1)


def linear(target_ms: float, weight: float = 0.1) -> LatencyLoss:
    """Cross-entropy + weight * (latency - target) / target: ProxylessNAS' additive form, equation 6 of its paper."""
    return lambda cross_entropy, expected_ms: cross_entropy + weight * (expected_ms - target_ms) / target_ms


def log_product(target_ms: float, weight: float = 1.0, exponent: float = 0.6) -> LatencyLoss:
    """Cross-entropy * weight * (ln latency / ln target)^exponent: FBNet (https://arxiv.org/abs/1812.03443, equation 2).

    In nanoseconds. In milliseconds, as published, the logarithm changes its sign at 1 ms.
    """
    log_target = math.log(max(target_ms * NS_PER_MS, MIN_NS))

    def loss(cross_entropy: Any, expected_ms: Any) -> Any:
        return cross_entropy * weight * ((expected_ms * NS_PER_MS).clamp(min=MIN_NS).log() / log_target) ** exponent

    return loss


LATENCY_LOSSES: dict[str, Callable[[float], LatencyLoss]] = {
    "absolute": absolute,
    "linear": linear,
    "log_product": log_product,
}


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


def wilson_interval(right_share: float, images: int) -> tuple[float, float]:
    """95 % interval of an accuracy counted on `images` images (Wilson 1927)."""
    centre = right_share + Z_95**2 / (2 * images)
    half = Z_95 * (right_share * (1 - right_share) / images + Z_95**2 / (4 * images**2)) ** 0.5
    scale = 1 + Z_95**2 / images
    return (centre - half) / scale, (centre + half) / scale
