"""Evolution under a hard constraint, as in Single Path One-Shot: https://arxiv.org/abs/1904.00420, algorithm 1."""

import random
from collections import deque
from dataclasses import dataclass

from hwnas.objective import Scores
from hwnas.search.constraint import Budget
from hwnas.spaces.space import Arch

TRIES = 100  # children bred before a random architecture takes their place


@dataclass(frozen=True, slots=True)
class EvolutionConfig:
    """The paper's: population 50, parents 10, half of the children by crossover, half by mutation with 0.1."""

    population: int = 50
    parents: int = 10
    mutation_probability: float = 0.1


class Evolution:
    """A random first generation, then children of the best so far; no architecture is asked for twice."""

    def __init__(self, budget: Budget, seed: int, config: EvolutionConfig | None = None) -> None:
        self.budget, self.rng, self.config = budget, random.Random(seed), config or EvolutionConfig()
        self.scores: dict[Arch, Scores] = {}
        self.queue: deque[Arch] = deque()
        self.seen: set[Arch] = set()

    def ask(self) -> Arch:
        if not self.queue:
            self._breed()
        return self.queue.popleft()

    def tell(self, arch: Arch, scores: Scores) -> None:
        self.scores[arch] = scores

    def _breed(self) -> None:
        """The next generation, from the best of all told so far."""
        best = sorted(self.scores, key=lambda arch: self.scores[arch], reverse=True)[: self.config.parents]
        for number in range(self.config.population):
            child = self._child(best, crossover=number % 2 == 0) if len(best) > 1 else None
            child = child or self._fresh()
            self.seen.add(child)
            self.queue.append(child)

    def _child(self, best: list[Arch], crossover: bool) -> Arch | None:
        for _ in range(TRIES):
            if crossover:
                mother, father = self.rng.sample(best, 2)
                child = tuple(self.rng.choice(pair) for pair in zip(mother, father, strict=True))
            else:
                child = self.budget.space.mutate(self.rng.choice(best), self.rng, self.config.mutation_probability)
            if child not in self.seen and self.budget.holds(child):
                return child
        return None

    def _fresh(self) -> Arch:
        arch = self.budget.sample(self.rng)
        for _ in range(TRIES):
            if arch not in self.seen:
                break
            arch = self.budget.sample(self.rng)
        return arch
