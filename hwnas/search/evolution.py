"""Evolution under a hard constraint, as in Single Path One-Shot: https://arxiv.org/abs/1904.00420, algorithm 1."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwnas.objective import Scores
from hwnas.search.constraint import Budget
from hwnas.search.populations import Archs, as_archs, as_array, crossed, mutated
from hwnas.spaces.space import Arch

ROUNDS = 2  # of children bred before others take their place
BRED = 4  # children of a round per one that is wanted: some break a limit, some were there before


@dataclass(frozen=True, slots=True)
class EvolutionConfig:
    """The paper's: population 50, parents 10, half of the children by crossover, half by mutation with 0.1."""

    population: int = 50
    parents: int = 10
    mutation_probability: float = 0.1


class Evolution:
    """A random first generation, then children of the best so far; no architecture is asked for twice."""

    def __init__(self, budget: Budget, seed: int, config: EvolutionConfig | None = None) -> None:
        self.budget, self.rng, self.config = budget, np.random.default_rng(seed), config or EvolutionConfig()
        self.scores: dict[Arch, Scores] = {}  # of the best before this generation, best first, and of this one
        self.queue: deque[Arch] = deque()
        self.seen: set[Arch] = set()

    def ask(self) -> Arch:
        return self.ask_many(1)[0]

    def ask_many(self, most: int) -> list[Arch]:
        if not self.queue:
            self.queue.extend(self._generation())
        return [self.queue.popleft() for _ in range(min(most, len(self.queue)))]

    def tell(self, arch: Arch, scores: Scores) -> None:
        self.scores[arch] = scores

    def _generation(self) -> list[Arch]:
        """The next one, from the best of all told so far; where too few children are new, random ones."""
        ordered = sorted(self.scores.items(), key=lambda told: told[1], reverse=True)
        self.scores = dict(ordered[: self.config.parents])
        population, best = self.config.population, as_array(list(self.scores))
        found: list[Arch] = []
        if len(self.scores) > 1:
            found += self._new(lambda count: crossed(best, count, self.rng), population // 2)
            found += self._new(lambda count: self._mutants(best, count), population - len(found))
        found += self._new(lambda count: self.budget.samples(count, self.rng), population - len(found))
        repeated = as_archs(self.budget.samples(population - len(found), self.rng))  # nothing new is left
        return found + repeated

    def _mutants(self, best: Archs, count: int) -> Archs:
        chosen = best[self.rng.integers(0, len(best), count)]
        return mutated(self.budget.space, chosen, self.config.mutation_probability, self.rng)

    def _new(self, breed: Callable[[int], Archs], count: int) -> list[Arch]:
        """Up to `count` of those bred that keep the limits and were never asked for."""
        found: list[Arch] = []
        for _ in range(ROUNDS):
            if len(found) == count:
                break
            for arch in as_archs(self.budget.within(breed(BRED * (count - len(found))))):
                if arch not in self.seen and len(found) < count:
                    self.seen.add(arch)
                    found.append(arch)
        return found
