"""feasible: can the budget be met at all, and by how much of the space? Before any training."""

import random

import numpy as np

from hwnas.errors import UserError
from hwnas.latency import fastest_and_slowest
from hwnas.latency.fitting import base_of
from hwnas.latency.predictors import archs_array
from hwnas.stages.predictor import load_predictor
from hwnas.stages.run import Run, say

SAMPLES = 20_000
NO_BUDGET = "no budget came; give --budget-ms, or --budget-of-median as a share of the median network's latency"


def run_stage(run: Run) -> None:
    """Writes `feasible.json`; UserError with the nearest feasible budget where none is met."""
    space = run.space
    predictor = load_predictor(run, space)
    rng = random.Random(f"feasible/{run.config.seed}")
    random_ms = predictor.latency_ms(archs_array([space.sample(rng) for _ in range(SAMPLES)]))
    smallest_ms, largest_ms = map(predictor.arch_ms, fastest_and_slowest(base_of(predictor)))
    median_ms = float(np.median(random_ms))
    budget_ms, confidence = _budget_ms(run, median_ms), run.config.confidence
    margin = max(1.0, predictor.upper_factor(confidence))
    limit_ms = budget_ms / margin
    share = float((random_ms <= limit_ms).mean())
    say(
        f"{space.name} on {run.config.on}: smallest {smallest_ms:.4g} ms, median {median_ms:.4g} ms, largest "
        f"{largest_ms:.4g} ms; {100 * share:.3g} % of random networks keep {budget_ms:.4g} ms with probability "
        f"{confidence:g}: those predicted within {limit_ms:.4g} ms"
    )
    if limit_ms < smallest_ms:
        raise UserError(
            f"a budget of {budget_ms:.4g} ms is below the smallest network's {smallest_ms * margin:.4g} ms (predicted "
            f"{smallest_ms:.4g} ms, kept with probability {confidence:g}); the nearest feasible budget is "
            f"{smallest_ms * margin * 1.001:.4g} ms: choose at least that, or a smaller --width-mult or --resolution "
            "in another --out"
        )
    run.write(
        "feasible.json",
        {
            "budget_ms": budget_ms,
            "limit_ms": limit_ms,
            "confidence": confidence,
            "smallest_ms": smallest_ms,
            "median_ms": median_ms,
            "largest_ms": largest_ms,
            "share_within": share,
            "samples": SAMPLES,
        },
    )


def _budget_ms(run: Run, median_ms: float) -> float:
    if run.config.budget_ms is not None:
        return run.config.budget_ms
    if run.config.budget_of_median is not None:
        return run.config.budget_of_median * median_ms
    raise UserError(NO_BUDGET)
