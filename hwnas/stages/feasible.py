"""feasible: can the limits be met at all, and by how much of the space? Before any training."""

import random
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError
from hwnas.search import Budget
from hwnas.search.populations import as_array
from hwnas.spaces import Space
from hwnas.stages.config import option
from hwnas.stages.limits import Archs, Bound, Floats, bounds, load_operator_cost
from hwnas.stages.predictor import load_predictor
from hwnas.stages.run import Run, say

SAMPLES = 20_000
USE = option("budget_use")
SWEEPS = 10  # over all decisions; one is enough for a sum


def run_stage(run: Run) -> None:
    """Writes `feasible.json`; UserError with the nearest feasible limit where one is not met."""
    space = run.space
    predictor = load_predictor(run, space)
    rng = random.Random(f"feasible/{run.config.seed}")
    archs = as_array([space.sample(rng) for _ in range(SAMPLES)])
    median_ms = float(np.median(predictor.latency_ms(archs)))
    smallest_ms = lowest(space, predictor.latency_ms, archs)
    largest_ms = highest(space, predictor.latency_ms, archs)
    cost = load_operator_cost(run)
    limited = bounds(run, predictor, _budget_ms(run, median_ms), cost)
    budget = Budget(space, tuple(bound.limit() for bound in limited))
    share = len(budget.within(archs)) / len(archs)
    say(
        f"{space.name} on {run.config.on}: smallest {smallest_ms:.4g} ms, median {median_ms:.4g} ms, largest "
        f"{largest_ms:.4g} ms; {100 * share:.3g} % of random networks keep {_told(limited)} with probability "
        f"{run.config.confidence:g}"
    )
    for bound in limited:
        _check(run, space, bound, archs)
    if not share:
        _check_together(budget, limited, rng)
    run.write(
        "feasible.json",
        {
            **({"operator_cost": asdict(cost)} if cost else {}),
            "budget_ms": limited[0].most,
            "limits": budget.by_metric,
            "budget_use": run.config.budget_use,
            "confidence": run.config.confidence,
            "smallest_ms": smallest_ms,
            "median_ms": median_ms,
            "largest_ms": largest_ms,
            "share_within": share,
            "samples": SAMPLES,
        },
    )


def _check_together(budget: Budget, limited: list[Bound], rng: random.Random) -> None:
    """UserError where nothing that keeps all limits at once is found."""
    try:
        budget.sample(rng)
    except UserError:
        options = [bound.option for bound in limited] + [USE] * any(bound.least for bound in limited)
        raise UserError(
            f"no network of {budget.space.name} was found that keeps {_told(limited)}; loosen {' or '.join(options)}"
        ) from None


def _told(limited: list[Bound]) -> str:
    return " and ".join(f"{bound.what} of {bound.limit().allowed} {bound.unit}" for bound in limited)


def _check(run: Run, space: Space, bound: Bound, archs: NDArray[np.uint8]) -> None:
    """UserError where no network keeps this limit, `archs` among them."""
    if bound.least:
        largest = highest(space, bound.upper, archs)
        if largest < bound.least:
            raise UserError(
                f"{USE} {run.config.budget_use:g} asks for a {bound.what} of at least {bound.least:.4g} {bound.unit}, "
                f"and the largest network of {space.name} takes {largest:.4g} {bound.unit}: choose a {bound.option} of "
                f"at most {largest / run.config.budget_use:.4g}, or in another --out a larger --width-mult or --space"
            )
    smallest = lowest(space, bound.upper, archs)
    if bound.most < smallest:
        raise UserError(
            f"{_with_article(bound.what)} of {bound.most:.4g} {bound.unit} is below the smallest network's "
            f"{smallest:.4g} {bound.unit}, kept with probability {run.config.confidence:g}; the nearest feasible "
            f"{bound.option} is {1.001 * smallest:.4g}: choose at least that, or in another --out a smaller "
            "--width-mult or --resolution"
        )


def _with_article(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def lowest(space: Space, cost: Callable[[Archs], Floats], archs: NDArray[np.uint8]) -> float:
    """The lowest cost of any network: exact for sums over slots with a decision each, a good one for others.

    From the cheapest of `archs` (n, decisions) every decision in turn takes its cheapest choice, until none changes.
    """
    costs = cost(archs)
    arch, found = archs[costs.argmin()], float(costs.min())
    for _ in range(SWEEPS):
        before = found
        for d, decision in enumerate(space.decisions):
            changed = np.repeat(arch[None], len(decision.choices), axis=0)
            changed[:, d] = range(len(decision.choices))
            costs = cost(changed)
            arch, found = changed[costs.argmin()], float(costs.min())
        if found >= before:
            break
    return found


def highest(space: Space, cost: Callable[[Archs], Floats], archs: NDArray[np.uint8]) -> float:
    """The highest cost of any network, found in the same way."""
    return -lowest(space, lambda archs: -cost(archs), archs)


def _budget_ms(run: Run, median_ms: float) -> float:
    if run.config.budget_ms is not None:
        return run.config.budget_ms
    if run.config.budget_of_median is not None:
        return run.config.budget_of_median * median_ms
    say(f"no --budget-ms and no --budget-of-median came: the budget is the median network's {median_ms:.4g} ms")
    return median_ms
