"""What the networks of a run are held to: latency, and where options say so memory, size, or a cost of the user's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.footprint import METRICS, FootprintPredictor
from hwnas.latency.fitting import Fitted
from hwnas.objective import metric_of
from hwnas.search import Budget, Limit
from hwnas.spaces import Arch, Space
from hwnas.stages.config import RunConfig, option
from hwnas.stages.operator_costs import EXACT, OperatorCost, exact_cost, read_cost_table
from hwnas.stages.predictor import load_budget_ms, load_footprints, load_predictor
from hwnas.stages.run import Run
from hwnas.storage import read_json

Floats = NDArray[np.float64]
Archs = NDArray[np.uint8] | Sequence[Arch]
TOLERANCE_PCT = 3  # what is measured may be this much above a limit: measuring repeats no better
TOLERANCE = 1 + TOLERANCE_PCT / 100


@dataclass(frozen=True)
class Bound:
    """What is limited, by which option, what it is expected to be at most, and the most and the least of that."""

    metric: str  # as `trials.jsonl` has it
    what: str
    option: str
    upper: Callable[[Archs], Floats]  # (n, decisions) -> (n,)
    most: float
    unit: str
    least: float = 0.0

    def limit(self) -> Limit:
        """As a search is held to it."""
        return Limit(self.metric, self.upper, self.most, self.least)


def bounds(run: Run, predictor: Fitted, budget_ms: float, cost: OperatorCost | None) -> list[Bound]:
    """Everything that the run's options limit; what is kept with the probability `--confidence` counts.

    cost: that of `load_operator_cost`.
    """
    confidence = run.config.confidence

    def latency_ms(archs: Archs) -> Floats:
        return np.maximum(predictor.upper_ms(archs, confidence), predictor.latency_ms(archs))

    least_ms = run.config.budget_use * budget_ms
    found = [Bound(kept_as("latency_ms"), "latency", option("budget_ms"), latency_ms, budget_ms, "ms", least_ms)]
    footprints = load_footprints(run, predictor.space)
    for metric, what in METRICS.items():
        most = run.config.most(metric)
        if most is not None:
            upper_mb = _upper_mb(footprints[metric], run)
            found.append(Bound(kept_as(metric), what, option(f"max_{metric}"), upper_mb, most, "MB"))
    return found + _known_bounds(run, predictor.space, cost)


def _known_bounds(run: Run, space: Space, cost: OperatorCost | None) -> list[Bound]:
    """Of costs that need no prediction."""
    found = []
    for metric, (what, _) in EXACT.items():
        most = run.config.most(metric)
        if most is not None:
            found.append(Bound(metric, what, option(f"max_{metric}"), exact_cost(space, metric).of, most, "million"))
    most = run.config.max_cost
    if cost is not None and most is not None:
        what, _, unit = cost.metric.rpartition("_")
        words = what.replace("_", " ") or cost.metric
        found.append(Bound(cost.metric, words, option("max_cost"), cost.cost(space).of, most, unit))
    return found


def kept_as(metric: str) -> str:
    """The name of what is kept with a probability: `latency_upper_ms`; of what is known exactly its own."""
    what, _, unit = metric.rpartition("_")
    return f"{what}_upper_{unit}" if metric in ("latency_ms", *METRICS) else metric


def objective_metrics(run: Run) -> tuple[str, ...]:
    """What `--objective` names, as trials have it."""
    cost = load_operator_cost(run)
    return tuple(metric_of(name, cost.metric if cost else "") for name in run.config.objectives)


def load_operator_cost(run: Run) -> OperatorCost | None:
    """The user's cost, as `feasible` read it, or else its file; None where no option names one."""
    if run.config.cost_table is None:
        return None
    record = read_json(run.file("feasible.json")) if run.file("feasible.json").exists() else {}
    if known := record.get("operator_cost"):
        return OperatorCost(**known)
    return read_cost_table(Path(run.config.cost_table))


def _upper_mb(predictor: FootprintPredictor, run: Run) -> Callable[[Archs], Floats]:
    return lambda archs: predictor.upper_mb(archs, run.config.confidence)


def load_limits(run: Run, space: Space) -> Budget:
    """What the networks of the search are held to."""
    predictor = load_predictor(run, space)
    limited = bounds(run, predictor, load_budget_ms(run), load_operator_cost(run))
    return Budget(space, tuple(bound.limit() for bound in limited))


def broken_limit(config: RunConfig, budget_ms: float, latency_ms: float, footprint: Mapping[str, float]) -> str:
    """Which limit a measured network breaks by more than 3 %, as `0.31 ms is over 0.28 ms`; empty where none."""
    if latency_ms > TOLERANCE * budget_ms:
        return f"{latency_ms:.4g} ms is over {budget_ms:.4g} ms"
    for metric, what in METRICS.items():
        most_mb = config.most(metric)
        if most_mb is not None and footprint[metric] > TOLERANCE * most_mb:
            return f"a {what} of {footprint[metric]:.4g} MB is over {most_mb:.4g} MB"
    return ""
