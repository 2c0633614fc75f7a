"""Costs that add up over operators and are not measured here: multiply-adds, parameters, or a column of the user's.

The column is a CSV file, `operator,energy_mj` and a line an operator: what a power meter told, for example. The name of
its second column is the metric's, with the unit at its end.
"""

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import UserError
from hwnas.footprint import METRICS
from hwnas.latency.additive import AdditiveCost
from hwnas.spaces import OpSpec, Space, op_macs, op_params
from hwnas.spaces.operators import is_free

EXACT: dict[str, tuple[str, Callable[[OpSpec], int]]] = {
    "million_macs": ("number of multiply-adds", op_macs),
    "million_params": ("number of parameters", op_params),
}
KEY_COLUMN = "operator"
TRIAL_FIELDS = frozenset(  # what a line of trials.jsonl holds beside the user's cost
    [
        *("strategy", "arch", "accuracy", "likelihood", "worth", "latency_ms", "latency_upper_ms", "macs", "params"),
        *(*EXACT, *METRICS),
    ]
)
SHOWN = 3  # of the operators that a file lacks


@dataclass(frozen=True)
class OperatorCost:
    """A metric of the user's, and what each operator has of it, by its name."""

    metric: str  # "energy_mj"
    of: Mapping[str, float]

    def cost(self, space: Space) -> AdditiveCost:
        """Of whole networks; UserError naming operators of the space that are not known."""
        needed = [str(spec) for spec in space.all_ops() if not is_free(spec)]
        if missing := [name for name in needed if name not in self.of]:
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            raise UserError(
                f"--cost-table tells no {self.metric} of {', '.join(missing[:SHOWN])}{more} of {space.name}'s "
                f"{len(needed)} operators; add a line for each: table.jsonl of the run has their names"
            )
        return AdditiveCost(space, lambda spec: self.of.get(str(spec), 0.0))


def exact_cost(space: Space, metric: str) -> AdditiveCost:
    """Millions of what `EXACT` counts."""
    _, count = EXACT[metric]
    return AdditiveCost(space, lambda spec: count(spec) / 1e6)


def read_cost_table(path: Path) -> OperatorCost:
    """UserError naming the line that is none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--cost-table {path} cannot be read: {error}") from None
    header = lines[0] if lines else []
    if len(header) != 2 or header[0] != KEY_COLUMN or not header[1].isidentifier():
        raise UserError(
            f"--cost-table {path} begins with {','.join(header)!r}; allowed is {KEY_COLUMN!r}, a comma and the name of "
            "the cost with its unit, as in operator,energy_mj"
        )
    if header[1] in TRIAL_FIELDS:
        raise UserError(
            f"--cost-table {path} calls its cost {header[1]!r}, as hwnas calls something of its own; rename that column"
        )
    return OperatorCost(header[1], dict(_line(path, line) for line in lines[1:]))


def _line(path: Path, line: list[str]) -> tuple[str, float]:
    try:
        key, value = line[0], float(line[1])
    except (IndexError, ValueError):
        value = math.nan
    if len(line) != 2 or not 0 <= value < math.inf:
        raise UserError(f"--cost-table {path} has the line {','.join(line)!r}; allowed is an operator and a number")
    return key, value
