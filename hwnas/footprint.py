"""Architecture -> megabytes: the file's size and the peak memory while it runs, from measured whole networks.

Both follow from shapes: what is stored for each weight and each layer, and the most activations that are alive at
once. What a runtime really takes for them (packed copies of weights, a constant, memory it gives back late) is fitted.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from hwnas.latency.additive import AdditiveCost, LargestCost, SlotCost
from hwnas.latency.intervals import RelativeErrors
from hwnas.spaces.layers import Conv, flat
from hwnas.spaces.macs import op_stored, peak_activations
from hwnas.spaces.operators import block
from hwnas.spaces.space import Arch, OpSpec, Space

Floats = NDArray[np.float64]
CONSTANT = "constant"
DEPTHWISE = re.compile(r"million_depthwise_k(\d+)")
TERMS: dict[str, Callable[[Space], SlotCost]] = {
    "million_stored": lambda space: AdditiveCost(space, lambda spec: op_stored(spec) / 1e6),
    "layers": lambda space: AdditiveCost(space, lambda spec: float(len(list(flat(block(spec).layers))))),
    "million_peak_activations": lambda space: LargestCost(space, peak_activations(space, 1e-6)),
}
METRICS = {"file_mb": "file size", "peak_memory_mb": "peak memory"}  # and in words; a megabyte has 1e6 bytes
MIN_NETWORKS = 2
LEAST = 1e-3  # of what is measured: a prediction of nothing at all has no logarithm


@dataclass(frozen=True)
class FootprintFit:
    """Megabytes = sum of weights x terms, none below 0; and what was said of each network while it was left out."""

    weights: dict[str, float]
    measured_mb: tuple[float, ...]
    left_out_mb: tuple[float, ...]

    @property
    def mape_pct(self) -> float:
        return 100 * float(np.abs(np.array(self.left_out_mb) / np.array(self.measured_mb) - 1).mean())

    def as_record(self) -> dict[str, Any]:
        """What `predictor.json` holds of it."""
        return {"weights": self.weights, "measured_mb": self.measured_mb, "left_out_mb": self.left_out_mb}


class FootprintPredictor:
    """Megabytes of many architectures at once."""

    def __init__(self, space: Space, weights: Mapping[str, float], errors: RelativeErrors) -> None:
        self.space, self.constant_mb, self.errors = space, weights.get(CONSTANT, 0.0), errors
        used = {name: weight for name, weight in weights.items() if name != CONSTANT and weight}
        self._costs = [(weight, _cost(space, name)) for name, weight in used.items()]

    @staticmethod
    def from_record(space: Space, record: Mapping[str, Any]) -> "FootprintPredictor":
        """From what `predictor.json` holds."""
        errors = RelativeErrors.of(record["measured_mb"], record["left_out_mb"])
        return FootprintPredictor(space, record["weights"], errors)

    def mb(self, archs: ArrayLike) -> Floats:
        """archs: (n, decisions) -> (n,) megabytes."""
        total = np.full(len(np.atleast_2d(np.asarray(archs))), self.constant_mb)
        for weight, cost in self._costs:
            total += weight * cost.of(archs)
        return total

    def upper_mb(self, archs: ArrayLike, probability: float) -> Floats:
        """archs: (n, decisions) -> (n,): what is measured is at most this with `probability`."""
        return max(1.0, self.errors.upper_factor(probability)) * self.mb(archs)


def _depthwise(spec: OpSpec) -> list[Conv]:
    return [layer for layer in flat(block(spec).layers) if isinstance(layer, Conv) and layer.depthwise]


def _names(space: Space) -> list[str]:
    """The terms for a space. Depthwise weights apart, by kernel: XNNPACK keeps those of 7 x 7 padded, 16 for one."""
    kernels = {layer.kernel for spec in space.all_ops() for layer in _depthwise(spec)}
    return [*TERMS, *(f"million_depthwise_k{kernel}" for kernel in sorted(kernels))]


def _cost(space: Space, name: str) -> SlotCost:
    if match := DEPTHWISE.fullmatch(name):
        kernel = int(match[1])
        return AdditiveCost(
            space, lambda spec: sum(x.in_channels * x.kernel**2 for x in _depthwise(spec) if x.kernel == kernel) / 1e6
        )
    return TERMS[name](space)


def fit_footprint(space: Space, archs: Sequence[Arch], measured_mb: ArrayLike) -> FootprintFit:
    """From at least two networks and their megabytes; relative errors are minimised."""
    measured = np.asarray(measured_mb, dtype=np.float64)
    if len(measured) < MIN_NETWORKS or len(measured) != len(archs):
        raise ValueError(f"{len(archs)} networks and {len(measured)} sizes came; as many of both and 2 are needed")
    names = _names(space)
    values = [_cost(space, name).of(archs) for name in names] + [np.ones(len(measured))]
    design = np.stack(values, axis=1) / measured[:, None]
    kept = [np.arange(len(measured)) != i for i in range(len(measured))]
    left_out = [measured[i] * max(LEAST, float(design[i] @ _weights(design[o]))) for i, o in enumerate(kept)]
    weights = dict(zip([*names, CONSTANT], _weights(design).tolist(), strict=True))
    return FootprintFit(weights, tuple(measured.tolist()), tuple(left_out))


def _weights(design: Floats) -> Floats:
    """Least squares to 1, no weight below 0; columns are brought to one length first."""
    lengths = np.maximum(np.sqrt((design**2).sum(axis=0)), np.finfo(np.float64).tiny)
    solution, _ = nnls(design / lengths, np.ones(len(design)))
    return np.asarray(solution / lengths, dtype=np.float64)
