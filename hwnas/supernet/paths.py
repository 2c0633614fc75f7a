"""Which paths of a super-network one weight step trains."""

import random
from collections.abc import Callable

from hwnas.spaces import extremes
from hwnas.spaces.space import Arch, Space

CostOf = Callable[[Arch], float]  # predicted latency or multiply-adds: only ratios count
PathSampler = Callable[[Space, random.Random, CostOf], list[Arch]]
MIDDLE = 2  # paths of the sandwich rule beside the largest and the smallest
BINS = 8  # of cost; the official trainer has 7 between 290 and 360 million multiply-adds
DRAWS = 10  # before a draw is moved into its bin instead: the outer bins hold next to no uniform draw
MOVES = 500  # single changes of such a draw


def uniform(space: Space, rng: random.Random, cost_of: CostOf) -> list[Arch]:
    """One path, every choice with equal chance: Single Path One-Shot, https://arxiv.org/abs/1904.00420, section 3.2."""
    return [space.sample(rng)]


def uniform_cost(space: Space, rng: random.Random, cost_of: CostOf) -> list[Arch]:
    """One path, every cost between the cheapest and the dearest network's with equal chance.

    As the official trainer of Single Path One-Shot: drawn again until the cost is in a bin that was drawn uniformly.
    Bounded: after some draws the last one is changed, a decision at a time, until it is in the bin or as near as that
    comes.
    """
    low, high = sorted(map(cost_of, extremes(space)))
    middle = low + (rng.randrange(BINS) + 0.5) / BINS * (high - low)
    half_width = 0.5 / BINS * (high - low)

    def distance(arch: Arch) -> float:
        return abs(cost_of(arch) - middle)

    for _ in range(DRAWS):
        arch = space.sample(rng)
        if distance(arch) <= half_width:
            return [arch]
    found = distance(arch)
    for _ in range(MOVES):
        if found <= half_width:
            break
        changed = space.mutate(arch, rng, probability=0.0)
        if (nearer := distance(changed)) <= found:
            arch, found = changed, nearer
    return [arch]


def fair(space: Space, rng: random.Random, cost_of: CostOf) -> list[Arch]:
    """As many paths as the widest decision has choices, each choice in one of them: FairNAS' strict fairness.

    https://arxiv.org/abs/1907.01845, algorithm 1. A narrower decision starts a new permutation when one is used up.
    """
    count = max(len(decision.choices) for decision in space.decisions)
    columns = [_permutations(len(decision.choices), count, rng) for decision in space.decisions]
    return list(zip(*columns, strict=True))


def _permutations(choices: int, count: int, rng: random.Random) -> list[int]:
    rounds = (rng.sample(range(choices), choices) for _ in range(-(-count // choices)))
    return [choice for order in rounds for choice in order][:count]


def sandwich(space: Space, rng: random.Random, cost_of: CostOf) -> list[Arch]:
    """The largest, the smallest and two between: BigNAS, https://arxiv.org/abs/2003.11142, section 3.1."""
    smallest, largest = extremes(space)
    return [largest, smallest, *(space.sample(rng) for _ in range(MIDDLE))]


PATH_SAMPLERS: dict[str, PathSampler] = {
    "uniform": uniform,
    "uniform_cost": uniform_cost,
    "fair": fair,
    "sandwich": sandwich,
}
