"""Architectures that keep a hard latency budget: drawn, repaired, never searched for without end."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from hwnas.errors import UserError
from hwnas.spaces.space import Arch, Space

TRIES = 200  # draws before a candidate is repaired instead
REPAIRS = 2000  # single changes before a repair gives up


@dataclass(frozen=True)
class Budget:
    """A space and what its networks may cost."""

    space: Space
    latency_ms: Callable[[Arch], float]
    budget_ms: float

    def holds(self, arch: Arch) -> bool:
        """Whether the predicted latency is within the budget."""
        return self.latency_ms(arch) <= self.budget_ms

    def sample(self, rng: random.Random) -> Arch:
        """A random architecture within the budget: uniform where enough of the space is, else a repaired draw."""
        for _ in range(TRIES):
            arch = self.space.sample(rng)
            if self.holds(arch):
                return arch
        return self.repair(self.space.sample(rng), rng)

    def repair(self, arch: Arch, rng: random.Random) -> Arch:
        """`arch` with single random changes, each making it faster, until it keeps the budget."""
        latency_ms = self.latency_ms(arch)
        for _ in range(REPAIRS):
            if latency_ms <= self.budget_ms:
                return arch
            changed = self.space.mutate(arch, rng, probability=0.0)
            changed_ms = self.latency_ms(changed)
            if changed_ms < latency_ms:
                arch, latency_ms = changed, changed_ms
        raise UserError(
            f"no network of {self.space.name} within {self.budget_ms:.4g} ms was found; "
            "run `hwnas feasible` for the smallest feasible budget"
        )
