"""Metrics -> scores, and which candidates no other one dominates."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Metrics = Mapping[str, float]  # unit in the key: "accuracy", "likelihood" (0..1), "latency_ms", "macs", "params"
Scores = tuple[float, ...]  # larger is better; one entry per goal
Objective = Callable[[Metrics], Scores]
LatencyLoss = Callable[[Any, Any], Any]  # (cross-entropy, expected milliseconds), scalar tensors -> scalar tensor
PUBLISHED_TARGET_MS = 80.0  # of ProxylessNAS' code: what its logarithms were made for
LEAST_SHARE = 1e-3  # of its limit: what costs nothing at all is worth no more than that, and not without end
LEAST_UNITS = 2.0  # a fortieth of the target: faster is not rewarded, and the logarithm stays above 0
Candidate = TypeVar("Candidate")
SAME_LATENCY = 0.05  # relative difference up to which two measured latencies are about the same


def quality(metrics: Metrics) -> float:
    """What candidates are ranked by: the likelihood, exp(-cross-entropy), where it is known, else the accuracy.

    Both are between 0 and 1, but an image tells more of a network than whether it is right: a few hundred images rank
    by likelihood as well as some thousand by accuracy (docs/results.md).
    """
    return metrics["likelihood"] if "likelihood" in metrics else metrics["accuracy"]


def worth(metrics: Metrics) -> float:
    """What decides which candidate is delivered: what its run's objective gave it, else its quality."""
    return metrics["worth"] if "worth" in metrics else quality(metrics)


def hard_limits(limits: Mapping[str, float], aims: Collection[str] = ()) -> Objective:
    """Quality within all limits, by metric; minus the largest excess, in limits, above one: below every quality."""

    def scores(metrics: Metrics) -> Scores:
        excess = max(metrics[name] / most - 1 for name, most in limits.items())
        return (quality(metrics),) if excess <= 0 else (-excess,)

    return scores


def mnasnet_soft(limits: Mapping[str, float], aims: Collection[str] = ()) -> Objective:
    """MnasNet's accuracy * (latency / limit)^w, https://arxiv.org/abs/1807.11626, equation 2, w = -0.07 on both sides.

    Doubling the latency is worth 5 % of relative accuracy. aims: the metrics among `limits` that the exponent is of,
    one factor each; the first one without any. The others have only to be kept: what is below them costs nothing.
    """
    return _product(limits, aims, below=-0.07, above=-0.07)


def mnasnet_hard(limits: Mapping[str, float], aims: Collection[str] = ()) -> Objective:
    """The same with w = 0 below a limit and -1 above it (MnasNet, section 3.1)."""
    return _product(limits, aims, below=0.0, above=-1.0)


def tunas_absolute(limits: Mapping[str, float], aims: Collection[str] = (), beta: float = -0.10) -> Objective:
    """TuNAS' accuracy + beta * |latency / limit - 1|, https://arxiv.org/abs/2008.06120, section 3.2.

    beta as in the official code, whose default is -0.10; the paper's text has -0.07. aims: the metrics among `limits`
    that are aimed at from both sides, the first one without any; of the others only what is above them costs as much.
    """

    def scores(metrics: Metrics) -> Scores:
        aimed, kept = _shares(metrics, limits, aims)
        return (quality(metrics) + beta * sum([*(abs(s - 1) for s in aimed), *(max(s - 1, 0.0) for s in kept)]),)

    return scores


def _product(limits: Mapping[str, float], aims: Collection[str], below: float, above: float) -> Objective:
    def scores(metrics: Metrics) -> Scores:
        aimed, kept = _shares(metrics, limits, aims)
        powers = (max(share, LEAST_SHARE) ** (below if share <= 1 else above) for share in aimed)
        factors = [*powers, *(max(share, 1.0) ** above for share in kept)]
        return (quality(metrics) * math.prod(factors),)

    return scores


def _shares(metrics: Metrics, limits: Mapping[str, float], aims: Collection[str]) -> tuple[list[float], list[float]]:
    """Metrics over their limits: (those that are aimed at, the others)."""
    aimed = aims or tuple(limits)[:1]
    assert set(aimed) <= set(limits), f"aims {aimed} are not all of {tuple(limits)}"
    shares = {name: metrics[name] / most for name, most in limits.items()}
    return [s for name, s in shares.items() if name in aimed], [s for name, s in shares.items() if name not in aimed]


NONE = "none"  # in place of a list
HARD, HARD_ABOVE = "hard", "mnasnet-hard"  # rewards by which what is within its limits costs nothing
REWARDS: dict[str, Callable[[Mapping[str, float], Collection[str]], Objective]] = {
    HARD: hard_limits,
    "mnasnet-soft": mnasnet_soft,
    HARD_ABOVE: mnasnet_hard,
    "tunas-absolute": tunas_absolute,
}


def absolute(target_ms: float, weight: float) -> LatencyLoss:
    """Cross-entropy + weight * |latency / target - 1|: TuNAS' absolute reward as a loss, two-sided.

    https://arxiv.org/abs/2008.06120, section 3.2; there of accuracy, with a smaller weight: a point of accuracy is
    worth less than a unit of cross-entropy.
    """
    return lambda cross_entropy, expected_ms: cross_entropy + weight * abs(expected_ms / target_ms - 1)


def linear(target_ms: float, weight: float) -> LatencyLoss:
    """Cross-entropy + weight * (latency - target) / target: ProxylessNAS' additive form, equation 6 of its paper."""
    return lambda cross_entropy, expected_ms: cross_entropy + weight * (expected_ms - target_ms) / target_ms


def log_product(target_ms: float, exponent: float) -> LatencyLoss:
    """Cross-entropy * (ln latency / ln target)^exponent: ProxylessNAS' official code, with a target; FBNet, without.

    https://arxiv.org/abs/1812.03443, equation 2, whose ln target is a constant of its weight. As published both are in
    milliseconds: the same network at the same share of its target then costs more or less with the device, and below
    1 ms the logarithm is negative and has no power. Here the unit is the target's PUBLISHED_TARGET_MS-th part: the
    published form where the target is that, and the same function of latency / target everywhere else. A weight before
    it all would scale the gradient alone, which Adam divides out.
    """

    def loss(cross_entropy: Any, expected_ms: Any) -> Any:
        units = (expected_ms * (PUBLISHED_TARGET_MS / target_ms)).clamp(min=LEAST_UNITS)
        return cross_entropy * (units.log() / math.log(PUBLISHED_TARGET_MS)) ** exponent

    return loss


@dataclass(frozen=True, slots=True)
class LatencyForm:
    """A published loss, the name of its one number, and that number where none is chosen."""

    of: Callable[[float, float], LatencyLoss]  # (target in milliseconds, the number)
    number: Literal["weight", "exponent"]
    default: float
    is_sum: bool = True  # else a product, which needs a cross-entropy: REINFORCE's loss has a gradient but no value


ADAPTIVE = "adaptive"  # a weight that is adapted while training: supernet/architecture.py
LATENCY_LOSSES: dict[str, LatencyForm] = {
    "linear": LatencyForm(linear, "weight", 0.1),  # ProxylessNAS' code
    "absolute": LatencyForm(absolute, "weight", 0.5),
    "log-product": LatencyForm(log_product, "exponent", 0.6, is_sum=False),  # FBNet's; ProxylessNAS' code has 0.3 too
}
LOSSES = (ADAPTIVE, *LATENCY_LOSSES)


LATENCY, COST = "latency", "cost"  # as `--objective` spells what no `--max-...` spells, and what a user's file names


def metric_of(aim: str, cost_metric: str = "") -> str:
    """The metric of a trial that `--objective` means: `file_mb` for file-mb. cost_metric: what the user's cost is."""
    return {LATENCY: "latency_ms", COST: cost_metric}.get(aim) or aim.replace("-", "_")


def goals(costs: Sequence[str] = ()) -> Callable[[Metrics], Scores]:
    """What a Pareto front is of, the first goal first: worth, quality, latency, and further metrics to be small."""

    def scores(metrics: Metrics) -> Scores:
        small = dict.fromkeys(("latency_ms", *costs))
        return (worth(metrics), quality(metrics), *(-metrics[name] for name in small))

    return scores


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


def named(listed: str | None) -> tuple[str, ...]:
    """What an option lists by commas, each once; empty where it is not given, or `none`."""
    return (
        ()
        if listed == NONE
        else tuple(dict.fromkeys(name.strip() for name in (listed or "").split(",") if name.strip()))
    )
