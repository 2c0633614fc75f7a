"""Architectures that keep hard limits of latency, size or memory: drawn, repaired, never searched for without end."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hwnas.errors import UserError
from hwnas.search.populations import Archs, Floats, as_archs, as_array, drawn, mutated
from hwnas.spaces.space import Arch, Space

ROUNDS = 20  # of draws before candidates are repaired instead
DRAWS = 256  # architectures of a round, at least: so many cost hardly more than one
REPAIRS = 2000  # changes before a repair gives up: of one decision, and in turn of one or more, where one is no way out
WALKERS = 32  # that set out from an architecture to be repaired: one alone may end where no single change is better


@dataclass(frozen=True)
class Limit:
    """A metric, what architectures have of it, and the most and the least that are allowed."""

    metric: str  # "latency_upper_ms"
    of: Callable[[Archs], Floats]  # (n, decisions) -> (n,)
    most: float
    least: float = 0.0

    def excess(self, values: Floats) -> Floats:
        """How far values are outside of what is allowed, in limits; 0 or less within."""
        above = values / self.most - 1
        return np.maximum(above, (self.least - values) / self.most) if self.least else above

    @property
    def allowed(self) -> str:
        """`0.48 to 0.5`, or the most alone."""
        return f"{f'{self.least:.4g} to ' if self.least else ''}{self.most:.4g}"


@dataclass(frozen=True)
class Budget:
    """A space and what its networks may cost."""

    space: Space
    limits: tuple[Limit, ...]

    @property
    def by_metric(self) -> dict[str, float]:
        """The most that is allowed of each metric."""
        return {limit.metric: limit.most for limit in self.limits}

    def metrics_of(self, archs: ArrayLike | Sequence[Arch]) -> dict[str, Floats]:
        """What the limits are about: (n, decisions) -> (n,) each."""
        rows = as_array(archs)
        return {limit.metric: np.asarray(limit.of(rows)) for limit in self.limits}

    def metrics(self, arch: Arch) -> dict[str, float]:
        """The same of one architecture."""
        return {metric: float(values[0]) for metric, values in self.metrics_of(arch).items()}

    def excess(self, archs: ArrayLike | Sequence[Arch]) -> Floats:
        """How far the worst limit is not kept, in limits; 0 or less where all are. (n, decisions) -> (n,)"""
        found = self.metrics_of(archs)
        worst: Floats = np.max([limit.excess(found[limit.metric]) for limit in self.limits], axis=0)
        return worst

    def holds(self, arch: Arch) -> bool:
        """Whether every limit is kept, as predicted."""
        return bool(self.excess(arch)[0] <= 0)

    def within(self, archs: Archs) -> Archs:
        """The rows that keep every limit."""
        return archs[self.excess(archs) <= 0]

    def samples(self, count: int, rng: np.random.Generator) -> Archs:
        """Random architectures within the limits: uniform where enough of the space is, else repaired draws.

        -> (count, decisions), the same row more than once possible.
        """
        found = np.empty((0, len(self.space.decisions)), dtype=np.uint8)
        for _ in range(ROUNDS):
            if len(found) == count:
                break
            kept = self.within(drawn(self.space, max(count, DRAWS), rng))
            found = np.concatenate([found, kept])[:count]
        if missing := count - len(found):
            found = np.concatenate([found, self._repaired(drawn(self.space, max(missing, WALKERS), rng), missing, rng)])
        return found

    def sample(self, rng: random.Random) -> Arch:
        """One such architecture."""
        return as_archs(self.samples(1, np.random.default_rng(rng.getrandbits(64))))[0]

    def repair(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """`arch` with random changes, none raising the worst excess, until it keeps the limits."""
        return as_archs(self._repaired(np.repeat(as_array(arch), WALKERS, axis=0), 1, rng))[0]

    def _repaired(self, archs: Archs, wanted: int, rng: np.random.Generator) -> Archs:
        """So many rows that are mended, the same one more than once where fewer are. UserError where none is."""
        excess, several = self.excess(archs), 1 / len(self.space.decisions)
        for number in range(REPAIRS):
            (broken,) = np.nonzero(excess > 0)
            if len(archs) - len(broken) >= wanted:
                break
            changed = mutated(self.space, archs[broken], several * (number % 2), rng)
            changed_excess = self.excess(changed)
            better = changed_excess <= excess[broken]  # equal too: of two slots at the peak of memory one lowers none
            archs[broken[better]], excess[broken[better]] = changed[better], changed_excess[better]
        mended = archs[excess <= 0]
        if not len(mended):
            allowed = " and ".join(f"{limit.metric} of {limit.allowed}" for limit in self.limits)
            raise UserError(
                f"no network of {self.space.name} within {allowed} was found; "
                "run `hwnas feasible` for the smallest feasible budget"
            )
        more = rng.choice(len(mended), max(0, wanted - len(mended)))
        return np.concatenate([mended, mended[more]])[:wanted]
