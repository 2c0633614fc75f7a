"""How much of the budget is used by the network that a search landed on, and by the one that it delivers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hwnas.objective import quality, worth

Trial = Mapping[str, Any]  # a line of `trials.jsonl`


def landing_told(
    trials: Sequence[Trial],
    delivered: Trial,
    budget_ms: float,
    finalists: Sequence[Trial] = (),
    ties_from: float = math.inf,
) -> str:
    """A sentence with the figures of both; of the delivered one alone where no probabilities were trained.

    finalists: candidates among which training chose; ties_from: the likelihood from which multiply-adds did.
    """
    landed = next((trial for trial in trials if trial["strategy"] == "sampled"), None)
    told = f"What is delivered is predicted at {_use(delivered, budget_ms)}"
    if landed is None:
        return f"{told}."
    if list(landed["arch"]) == list(delivered["arch"]):
        return f"{told}: the network that the trained probabilities landed on."
    if _is_one_of(finalists, delivered):
        why = "a finalist, by its training"
    elif min(quality(landed), quality(delivered)) >= ties_from and delivered["macs"] > landed["macs"]:
        why = f"as likely as far as the super-network tells, with {_millions(delivered)} instead of {_millions(landed)}"
        why += " million multiply-adds"
    else:
        why = _by_rank(delivered, landed)
    return (
        f"The trained probabilities landed on a network that is predicted at {_use(landed, budget_ms)}. {told}: {why}."
    )


def _is_one_of(some: Sequence[Trial], trial: Trial) -> bool:
    return list(trial["arch"]) in [list(one["arch"]) for one in some]


def _millions(trial: Trial) -> str:
    return f"{trial['macs'] / 1e6:.3g}"


def _by_rank(delivered: Trial, landed: Trial) -> str:
    """But for finalists only measuring puts a network behind one that is worth less."""
    is_passed_over = worth(delivered) < worth(landed)
    why = "the first by rank that keeps the limits when measured" if is_passed_over else "another candidate"
    return f"{why}, ranked by {worth(delivered):.4f} against {worth(landed):.4f}"


def _use(trial: Trial, budget_ms: float) -> str:
    """`0.3508 ms (98.2 % of the budget with its margin)`: the margin is what `--confidence` asks for."""
    share_pct = 100 * trial["latency_upper_ms"] / budget_ms
    return f"{trial['latency_ms']:.4g} ms ({share_pct:.1f} % of the budget with its margin)"
