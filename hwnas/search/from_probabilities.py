"""Candidates of a search that trained probabilities: the most likely architecture within the limits, and samples."""

import math
import random
from collections.abc import Callable, Sequence

from hwnas.objective import Scores
from hwnas.search.constraint import Budget
from hwnas.spaces.space import Arch

TRIES = 50  # samples before one that breaks a limit is repaired, or one is asked for again
SWEEPS = 20  # over all decisions, of a repair or an improvement
LANDED = 0.03  # of a limit that the first candidate may leave unused
NEVER = 1e-9  # probability below which a choice counts as this: its logarithm is kept finite


class FromProbabilities:
    """The most likely architecture that keeps the limits, then samples that do, none twice while there are others.

    draw: number -> a sample, where decisions depend on each other and `probabilities` are of each by itself.
    """

    def __init__(
        self,
        budget: Budget,
        seed: int,
        probabilities: Sequence[Sequence[float]],
        draw: Callable[[int], Arch] | None = None,
    ) -> None:
        self.budget, self.rng, self.probabilities, self.draw = budget, random.Random(seed), probabilities, draw
        self.logs = [[math.log(max(p, NEVER)) for p in choices] for choices in probabilities]
        self.seen: set[Arch] = set()

    def ask(self) -> Arch:
        arch = self._fresh() if self.seen else self.most_likely()
        self.seen.add(arch)
        return arch

    def tell(self, arch: Arch, scores: Scores) -> None:
        return

    def most_likely(self) -> Arch:
        """The likeliest choices, changed by as little likelihood as can be until they keep the limits, and use them.

        Each choice by itself being the likeliest, together they may be much faster than the probabilities let expect,
        on which the training landed: what the budget allows would be given away.
        """
        likeliest = tuple(max(range(len(c)), key=c.__getitem__) for c in self.logs)
        return self._improved(self._landed(self._within(likeliest)))

    def _fresh(self) -> Arch:
        for _ in range(TRIES):
            arch = self._sample()
            if not self.budget.holds(arch):
                arch = self._within(arch)
            if arch not in self.seen:
                return arch
        for _ in range(TRIES):  # the probabilities are nearly certain: anything else within the limits
            arch = self.budget.sample(self.rng)
            if arch not in self.seen:
                break
        return arch

    def _sample(self) -> Arch:
        if self.draw is not None:
            return self.draw(self.rng.getrandbits(32))
        return tuple(self.rng.choices(range(len(p)), weights=p)[0] for p in self.probabilities)

    def _changes(self, arch: Arch) -> list[Arch]:
        """Every architecture that differs in one decision."""
        return [
            (*arch[:d], c, *arch[d + 1 :]) for d, logs in enumerate(self.logs) for c in range(len(logs)) if c != arch[d]
        ]

    def _likelihood(self, arch: Arch) -> float:
        return sum(logs[c] for logs, c in zip(self.logs, arch, strict=True))

    def _within(self, arch: Arch) -> Arch:
        """One change after the other, each the one that costs least likelihood for what it saves."""
        excess = self.budget.excess(arch)
        for _ in range(SWEEPS * len(arch)):
            if excess <= 0:
                return arch
            likelihood = self._likelihood(arch)
            saving = [(self.budget.excess(other), other) for other in self._changes(arch)]
            saving = [(e, other) for e, other in saving if e < excess]
            if not saving:
                break
            excess, arch = min(
                saving, key=lambda found: max(likelihood - self._likelihood(found[1]), 0) / (excess - max(found[0], 0))
            )
        return self.budget.repair(arch, self.rng)

    def _landed(self, arch: Arch) -> Arch:
        """One change after the other that uses more of the limits, each the one that costs least for what it uses."""
        excess = self.budget.excess(arch)
        for _ in range(SWEEPS * len(arch)):
            if excess >= -LANDED:
                break
            likelihood = self._likelihood(arch)
            using = [(self.budget.excess(other), other) for other in self._changes(arch)]
            using = [(e, other) for e, other in using if excess < e <= 0]
            if not using:
                break
            excess, arch = min(using, key=lambda found: (likelihood - self._likelihood(found[1])) / (found[0] - excess))
        return arch

    def _improved(self, arch: Arch) -> Arch:
        """The likeliest single change that stays as near to the limits, as long as there is one."""
        least = min(-LANDED, self.budget.excess(arch))
        for _ in range(SWEEPS * len(arch)):
            better = [other for other in self._changes(arch) if self._likelihood(other) > self._likelihood(arch)]
            better = [other for other in better if least <= self.budget.excess(other) <= 0]
            if not better:
                return arch
            arch = max(better, key=self._likelihood)
        return arch
