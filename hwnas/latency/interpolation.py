"""Rows that a table lacks, from those that it has: a guess, and how far off such guesses are.

log latency is linear in the logarithms of shapes, multiply-adds and bytes, for each kind of operator by itself; by
ridge regression, whose leave-one-out errors tell the doubt. Never used unasked: a measured row is better.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from hwnas.errors import UserError
from hwnas.spaces.macs import op_activations, op_macs, op_stored
from hwnas.spaces.space import OpSpec

Floats = NDArray[np.float64]
MIN_ROWS = 8  # of a kind, to guess another one from
ALPHAS = np.logspace(-4, 2, 13)  # of the ridge, on standardised columns
BYTES_PER_ELEMENT = 4  # a factor for all rows, whatever the precision: it changes nothing


@dataclass(frozen=True, slots=True)
class Guess:
    """A latency that was not measured."""

    latency_ms: float
    log_sd: float  # standard deviation of log(measured / guessed)

    @property
    def doubt(self) -> float:
        """The same as a share of the latency."""
        return math.expm1(self.log_sd)


def interpolate(op_ms: Mapping[str, float], missing: Iterable[OpSpec]) -> dict[str, Guess]:
    """The missing operators by their row keys; UserError where a kind has too few measured rows to tell."""
    by_kind: dict[str, list[OpSpec]] = {}
    for spec in missing:
        by_kind.setdefault(spec.kind, []).append(spec)
    known = [spec for key in op_ms if (spec := OpSpec.parse(key)).kind in by_kind and op_ms[key] > 0]
    found: dict[str, Guess] = {}
    for kind, wanted in by_kind.items():
        measured = [spec for spec in known if spec.kind == kind]
        if len(measured) < MIN_ROWS:
            raise UserError(
                f"{len(wanted)} operators of kind {kind} are missing, {wanted[0]} first, and the latency table has "
                f"{len(measured)} rows of that kind; at least {MIN_ROWS} are needed to interpolate: run `hwnas profile`"
            )
        found |= _of_kind(measured, [op_ms[str(spec)] for spec in measured], wanted)
    return found


def _of_kind(measured: Sequence[OpSpec], latencies_ms: Sequence[float], wanted: Sequence[OpSpec]) -> dict[str, Guess]:
    few = _counted(measured)
    x = np.array([_features(spec, few) for spec in (*measured, *wanted)])
    spread = x[: len(measured)].std(axis=0)
    x = (x - x[: len(measured)].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    known, asked = x[: len(measured)], x[len(measured) :]
    model = RidgeCV(ALPHAS, store_cv_results=True).fit(known, np.log(latencies_ms))
    squares = model.cv_results_[:, int(np.flatnonzero(model.alpha_ == ALPHAS)[0])]
    inverse = np.linalg.inv(known.T @ known + model.alpha_ * np.eye(known.shape[1]))
    log_sd = math.sqrt(float(squares.mean())) * np.sqrt(1 + np.einsum("nf,fg,ng->n", asked, inverse, asked))
    guesses_ms = np.exp(model.predict(asked))
    return {str(s): Guess(float(ms), float(sd)) for s, ms, sd in zip(wanted, guesses_ms, log_sd, strict=True)}


def _counted(specs: Sequence[OpSpec]) -> list[tuple[str, int]]:
    """Arguments that several operators share: kernels, expansions. Others, hidden channels say, are in the sizes."""
    found = Counter(pair for spec in specs for pair in spec.args)
    return sorted(pair for pair, count in found.items() if MIN_ROWS <= count < len(specs))


def _features(spec: OpSpec, few: Sequence[tuple[str, int]]) -> list[float]:
    """Logarithms of multiply-adds, bytes, channels, pixels and stride; the first and the last anew for each argument.

    Kernels are no matter of degree: a runtime has fast code for some sizes, and ten times slower code for the others.
    """
    channels, height, width = spec.in_shape
    moved_bytes = BYTES_PER_ELEMENT * (math.prod(spec.in_shape) + op_activations(spec) + op_stored(spec))
    sizes = (max(1, op_macs(spec)), moved_bytes, channels, spec.out_channels, spec.stride, height * width)
    logs = [math.log(size) for size in sizes]
    of_args = [value if pair in spec.args else 0.0 for pair in few for value in (1.0, logs[0], logs[-1])]
    return [*logs, *of_args]
