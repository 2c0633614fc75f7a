"""Candidates of a search that trained probabilities: the most likely architecture within the limits, and samples."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hwnas.objective import Scores
from hwnas.search.constraint import Budget
from hwnas.search.populations import Archs, Floats, as_archs, as_array, sizes_of
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
        self.budget, self.rng, self.draw = budget, np.random.default_rng(seed), draw
        self.sizes = sizes = sizes_of(budget.space)
        self.probabilities = np.zeros((len(sizes), sizes.max()))  # (decisions, choices of the widest)
        for row, choices in zip(self.probabilities, probabilities, strict=True):
            row[: len(choices)] = choices
        self.logs = np.log(np.maximum(self.probabilities, NEVER))
        self.single = np.argwhere(np.arange(sizes.max()) < sizes[:, None])  # every (decision, choice)
        self.seen: set[Arch] = set()

    def ask(self) -> Arch:
        arch = self._fresh() if self.seen else self.most_likely()
        self.seen.add(arch)
        return arch

    def ask_many(self, most: int) -> list[Arch]:
        return [self.ask() for _ in range(most)]

    def tell(self, arch: Arch, scores: Scores) -> None:
        return

    def most_likely(self) -> Arch:
        """The likeliest choices, changed by as little likelihood as can be until they keep the limits, and use them.

        Each choice by itself being the likeliest, together they may be much faster than the probabilities let expect,
        on which the training landed: what the budget allows would be given away.
        """
        (likeliest,) = as_archs(as_array(self.logs.argmax(axis=1)))
        return self._improved(self._landed(self._within(likeliest)))

    def _fresh(self) -> Arch:
        for arch in self._samples(TRIES):
            kept = arch if self.budget.holds(arch) else self._within(arch)
            if kept not in self.seen:
                return kept
        others = as_archs(self.budget.samples(TRIES, self.rng))  # nearly certain: anything else within the limits
        return next((arch for arch in others if arch not in self.seen), others[-1])

    def _samples(self, count: int) -> Iterator[Arch]:
        if self.draw is not None:
            return map(self.draw, self.rng.integers(0, 2**32, count).tolist())
        below = self.probabilities.cumsum(axis=1)
        drawn = self.rng.random((count, len(below), 1)) * below[:, -1:]
        return iter(as_archs(as_array(np.minimum((drawn >= below).sum(axis=2), self.sizes - 1))))

    def _changes(self, arch: Arch) -> tuple[Archs, Floats, Floats]:
        """Every architecture that differs in one decision, its excess, and how much likelier it is than `arch`."""
        decisions, choices = self.single[self.single[:, 1] != np.array(arch)[self.single[:, 0]]].T
        archs = np.repeat(as_array(arch), len(decisions), axis=0)
        archs[np.arange(len(archs)), decisions] = choices
        gain = self.logs[decisions, choices] - self.logs[decisions, np.array(arch)[decisions]]
        return archs, self.budget.excess(archs), gain

    def _within(self, arch: Arch) -> Arch:
        """One change after the other, each the one that costs least likelihood for what it saves."""
        excess = float(self.budget.excess(arch)[0])
        for _ in range(SWEEPS * len(arch)):
            if excess <= 0:
                return arch
            archs, excesses, gain = self._changes(arch)
            saved = np.maximum(excess - np.maximum(excesses, 0), NEVER)
            price = np.where(excesses < excess, np.maximum(-gain, 0) / saved, np.inf)
            arch, excess, found = _cheapest(archs, excesses, price, arch, excess)
            if not found:
                break
        return self.budget.repair(arch, self.rng)

    def _landed(self, arch: Arch) -> Arch:
        """One change after the other that uses more of the limits, each the one that costs least for what it uses."""
        excess, found = float(self.budget.excess(arch)[0]), True
        for _ in range(SWEEPS * len(arch)):
            if excess >= -LANDED or not found:
                break
            archs, excesses, gain = self._changes(arch)
            uses_more = (excess < excesses) & (excesses <= 0)
            price = np.where(uses_more, -gain / np.where(uses_more, excesses - excess, 1), np.inf)
            arch, excess, found = _cheapest(archs, excesses, price, arch, excess)
        return arch

    def _improved(self, arch: Arch) -> Arch:
        """The likeliest single change that stays as near to the limits, as long as there is one."""
        excess = float(self.budget.excess(arch)[0])
        least, found = min(-LANDED, excess), True
        for _ in range(SWEEPS * len(arch)):
            if not found:
                break
            archs, excesses, gain = self._changes(arch)
            near = (least <= excesses) & (excesses <= 0) & (gain > 0)
            arch, excess, found = _cheapest(archs, excesses, np.where(near, -gain, np.inf), arch, excess)
        return arch


def _cheapest(archs: Archs, excesses: Floats, prices: Floats, arch: Arch, excess: float) -> tuple[Arch, float, bool]:
    """(The row of the lowest price, its excess, True); `arch` and `excess` again and False where no price is finite."""
    best = int(prices.argmin())
    if not np.isfinite(prices[best]):
        return arch, excess, False
    return as_archs(archs[best : best + 1])[0], float(excesses[best]), True
