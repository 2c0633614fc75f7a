"""Additive models -> rows: what they tell are differences between the options of a layer, and one constant.

A sum over layers does not tell how much of the constant each fixed operator takes, nor the time of a layer that every
network has. So a row holds the difference to skipping its layer, or to the fastest option where there is no skip; and
the row of the first convolution, which every network runs once, holds all the rest. Sums are those of the model.
"""

import statistics
from collections.abc import Iterable, Mapping

from hwnas.latency.importers.imported import Row
from hwnas.spaces import OpSpec

SKIPPING = "skipping the layer"


def values_told(relative_to: str) -> str:
    """What `show` says of the rows of such a table."""
    return f"differences to {relative_to}; the first convolution holds the constant, the other fixed operators 0"


def difference_rows(layers: Iterable[Mapping[OpSpec, float]]) -> list[Row]:
    """A row per operator: the mean over the layers that share it, and how far these differ."""
    found: dict[str, list[float]] = {}
    for layer in layers:
        for spec, difference_ms in layer.items():
            found.setdefault(str(spec), []).append(difference_ms)
    return [
        Row(key, statistics.fmean(ms), statistics.stdev(ms) if len(ms) > 1 else None, len(ms))
        for key, ms in found.items()
    ]


def constant_rows(constant_ms: float, first: OpSpec, *others: OpSpec) -> list[Row]:
    """The rows of the operators that every network has."""
    return [Row(str(first), constant_ms), *(Row(str(spec), 0.0) for spec in others)]
