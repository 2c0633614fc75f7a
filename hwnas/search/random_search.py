"""Random search within the budget: what every other strategy must beat (https://arxiv.org/abs/1902.07638)."""

import random

from hwnas.objective import Scores
from hwnas.search.constraint import Budget
from hwnas.spaces.space import Arch

TRIES = 50  # draws before a repetition is accepted


class RandomSearch:
    """Different random architectures, as long as the budget leaves some."""

    def __init__(self, budget: Budget, seed: int) -> None:
        self.budget, self.rng = budget, random.Random(seed)
        self.seen: set[Arch] = set()

    def ask(self) -> Arch:
        arch = self.budget.sample(self.rng)
        for _ in range(TRIES):
            if arch not in self.seen:
                break
            arch = self.budget.sample(self.rng)
        return arch

    def tell(self, arch: Arch, scores: Scores) -> None:
        self.seen.add(arch)
