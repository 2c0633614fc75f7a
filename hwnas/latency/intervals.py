"""How far off a prediction may be: conformal intervals from networks that took no part in their own prediction.

The score of a calibration network is the logarithm of measured over left-out predicted latency. A new network's score
is equally likely to fall anywhere among them (Vovk, Gammerman, Shafer 2005; leave-one-out as in the jackknife of
Barber et al., https://arxiv.org/abs/1905.02928), whatever their distribution.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from hwnas.errors import UserError
from hwnas.spaces.space import Arch, Space

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RelativeErrors:
    """Logarithms of measured / predicted, ascending."""

    log_ratios: tuple[float, ...]

    @staticmethod
    def of(measured_ms: ArrayLike, left_out_ms: ArrayLike) -> "RelativeErrors":
        """From calibration networks, each predicted without itself."""
        logs = np.log(np.asarray(measured_ms, dtype=np.float64) / np.asarray(left_out_ms, dtype=np.float64))
        return RelativeErrors(tuple(sorted(logs.tolist())))

    def factors(self, coverage: float) -> tuple[float, float]:
        """(low, high): measured / predicted lies between them with probability `coverage`."""
        width = self._rank_or_t(np.abs(self.log_ratios), coverage, two_sided=True)
        return math.exp(-width), math.exp(width)

    def upper_factor(self, probability: float) -> float:
        """measured / predicted is at most this with `probability`."""
        return math.exp(self._rank_or_t(np.asarray(self.log_ratios), probability, two_sided=False))

    def _rank_or_t(self, scores: Floats, probability: float, two_sided: bool) -> float:
        """The conformal quantile; Student's t where there are too few networks for it."""
        if not 0 < probability < 1:
            raise ValueError(f"a probability is between 0 and 1, {probability} came")
        rank = math.ceil((len(scores) + 1) * probability - 1e-9)
        if rank <= len(scores):
            return float(np.sort(scores)[max(rank, 1) - 1])
        return self._t_quantile(1 - (1 - probability) / 2 if two_sided else probability)

    def _t_quantile(self, probability: float) -> float:
        """Of the predictive distribution of one more score, were they normal around 0."""
        n = len(self.log_ratios)
        spread = math.sqrt(sum(x * x for x in self.log_ratios) / n) if n else math.inf
        return float(stats.t.ppf(probability, max(1, n - 1))) * spread * math.sqrt(1 + 1 / max(1, n))

    def probability_within(self, factors: ArrayLike, doubt: ArrayLike = 0.0) -> Floats:
        """P(measured / predicted <= factor) for each factor, (n,) -> (n,): the conformal rank, never 0 nor 1.

        doubt: standard deviation of a further, normal, relative error of each prediction.
        """
        logs = np.log(np.asarray(factors, dtype=np.float64))
        below = np.searchsorted(np.asarray(self.log_ratios), logs, "right").astype(np.float64)
        if np.any(doubt):
            further = np.broadcast_to(np.maximum(doubt, 1e-9), logs.shape)
            below = stats.norm.cdf((logs[:, None] - np.asarray(self.log_ratios)) / further[:, None]).sum(axis=1)
        return np.asarray((below + 0.5) / (len(self.log_ratios) + 1))


class ConformalBounds:
    """Intervals of a predictor from its errors; a predictor inherits this and has these attributes."""

    space: Space
    errors: RelativeErrors | None

    def latency_ms(self, archs: ArrayLike) -> Floats:
        """archs: (n, decisions) -> (n,) milliseconds."""
        raise NotImplementedError

    def arch_ms(self, arch: Arch) -> float:
        """The latency of one architecture; ValueError where it is no point of the space."""
        self.space.check(arch)
        return float(self.latency_ms([arch])[0])

    def doubt_ms(self, archs: ArrayLike) -> Floats | float:
        """archs: (n, decisions) -> (n,): standard deviation of what the networks in `errors` do not tell."""
        return 0.0

    def interval_ms(self, archs: ArrayLike, coverage: float) -> tuple[Floats, Floats]:
        """archs: (n, decisions) -> (n,), (n,): the measured latency lies between them with probability `coverage`.

        The doubt of guessed rows may reach below 0; nothing takes less than no time.
        """
        low, high = self._known_errors().factors(coverage)
        latency_ms = self.latency_ms(archs)
        more_ms = float(stats.norm.ppf((1 + coverage) / 2)) * self.doubt_ms(archs)
        return np.maximum(low * latency_ms - more_ms, 0.0), high * latency_ms + more_ms

    def upper_factor(self, probability: float) -> float:
        """measured / predicted latency is at most this with `probability`."""
        return self._known_errors().upper_factor(probability)

    def upper_ms(self, archs: ArrayLike, probability: float) -> Floats:
        """archs: (n, decisions) -> (n,): the measured latency is at most this with `probability`."""
        more_ms = float(stats.norm.ppf(probability)) * self.doubt_ms(archs)
        upper_ms: Floats = self.upper_factor(probability) * self.latency_ms(archs) + more_ms
        return upper_ms

    def probability_within(self, archs: ArrayLike, budget_ms: float) -> Floats:
        """archs: (n, decisions) -> (n,): probability that the measured latency is at most `budget_ms`."""
        return self._known_errors().probability_within(budget_ms / self.latency_ms(archs), self.relative_doubt(archs))

    def relative_doubt(self, archs: ArrayLike) -> Floats | float:
        """The same as a share of the latency."""
        doubt_ms = self.doubt_ms(archs)
        return doubt_ms / self.latency_ms(archs) if np.any(doubt_ms) else 0.0

    def _known_errors(self) -> RelativeErrors:
        if self.errors is None:
            raise UserError(
                f"the predictor of {self.space.name} was calibrated on no whole networks, so it has no intervals; "
                "run `hwnas fit`"
            )
        return self.errors
