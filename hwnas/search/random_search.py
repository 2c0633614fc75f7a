"""Random search within the budget: what every other strategy must beat (https://arxiv.org/abs/1902.07638)."""

from collections import deque

import numpy as np

from hwnas.objective import Scores
from hwnas.search.constraint import Budget
from hwnas.search.populations import as_archs
from hwnas.spaces.space import Arch

TRIES = 50  # blocks of draws before a repetition is accepted
BLOCK = 64  # architectures drawn at a time


class RandomSearch:
    """Different random architectures, as long as the budget leaves some."""

    def __init__(self, budget: Budget, seed: int) -> None:
        self.budget, self.rng = budget, np.random.default_rng(seed)
        self.queue: deque[Arch] = deque()
        self.seen: set[Arch] = set()

    def ask(self) -> Arch:
        return self.ask_many(1)[0]

    def ask_many(self, most: int) -> list[Arch]:
        for _ in range(TRIES):
            if self.queue:
                break
            block = as_archs(self.budget.samples(BLOCK, self.rng))
            self.queue.extend(arch for arch in dict.fromkeys(block) if arch not in self.seen)
            self.seen.update(block)
        if not self.queue:
            self.queue.extend(block)
        return [self.queue.popleft() for _ in range(min(most, len(self.queue)))]

    def tell(self, arch: Arch, scores: Scores) -> None:
        return
