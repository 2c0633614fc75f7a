"""Architectures that keep hard limits of latency, size or memory: drawn, repaired, never searched for without end."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from hwnas.errors import UserError
from hwnas.spaces.space import Arch, Space

TRIES = 200  # draws before a candidate is repaired instead
REPAIRS = 2000  # single changes before a repair gives up


@dataclass(frozen=True)
class Limit:
    """A metric, what an architecture has of it, and the most that is allowed."""

    metric: str  # "latency_upper_ms"
    of: Callable[[Arch], float]
    most: float


@dataclass(frozen=True)
class Budget:
    """A space and what its networks may cost."""

    space: Space
    limits: tuple[Limit, ...]

    @property
    def by_metric(self) -> dict[str, float]:
        """The most that is allowed of each metric."""
        return {limit.metric: limit.most for limit in self.limits}

    def metrics(self, arch: Arch) -> dict[str, float]:
        """What the limits are about."""
        return {limit.metric: limit.of(arch) for limit in self.limits}

    def excess(self, arch: Arch) -> float:
        """How far the worst limit is exceeded, in limits; 0 or less where all are kept."""
        return max(limit.of(arch) / limit.most - 1 for limit in self.limits)

    def holds(self, arch: Arch) -> bool:
        """Whether every limit is kept, as predicted."""
        return self.excess(arch) <= 0

    def sample(self, rng: random.Random) -> Arch:
        """A random architecture within the limits: uniform where enough of the space is, else a repaired draw."""
        for _ in range(TRIES):
            arch = self.space.sample(rng)
            if self.holds(arch):
                return arch
        return self.repair(self.space.sample(rng), rng)

    def repair(self, arch: Arch, rng: random.Random) -> Arch:
        """`arch` with single random changes, none raising the worst excess, until it keeps the limits."""
        excess = self.excess(arch)
        for _ in range(REPAIRS):
            if excess <= 0:
                return arch
            changed = self.space.mutate(arch, rng, probability=0.0)
            changed_excess = self.excess(changed)
            if changed_excess <= excess:  # equal too: of two slots at the peak of the memory one change lowers none
                arch, excess = changed, changed_excess
        allowed = " and ".join(f"{limit.metric} of {limit.most:.4g}" for limit in self.limits)
        raise UserError(
            f"no network of {self.space.name} within {allowed} was found; "
            "run `hwnas feasible` for the smallest feasible budget"
        )
