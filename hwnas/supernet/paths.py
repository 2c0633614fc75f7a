"""Which paths of a super-network one weight step trains."""

import random
from collections.abc import Callable

from hwnas.spaces import extremes
from hwnas.spaces.space import Arch, Space

PathSampler = Callable[[Space, random.Random], list[Arch]]
MIDDLE = 2  # paths of the sandwich rule beside the largest and the smallest


def uniform(space: Space, rng: random.Random) -> list[Arch]:
    """One path, every choice with equal chance: Single Path One-Shot, https://arxiv.org/abs/1904.00420, section 3.2."""
    return [space.sample(rng)]


def fair(space: Space, rng: random.Random) -> list[Arch]:
    """As many paths as the widest decision has choices, each choice in one of them: FairNAS' strict fairness.

    https://arxiv.org/abs/1907.01845, algorithm 1. A narrower decision starts a new permutation when one is used up.
    """
    count = max(len(decision.choices) for decision in space.decisions)
    columns = [_permutations(len(decision.choices), count, rng) for decision in space.decisions]
    return list(zip(*columns, strict=True))


def _permutations(choices: int, count: int, rng: random.Random) -> list[int]:
    rounds = (rng.sample(range(choices), choices) for _ in range(-(-count // choices)))
    return [choice for order in rounds for choice in order][:count]


def sandwich(space: Space, rng: random.Random) -> list[Arch]:
    """The largest, the smallest and two between: BigNAS, https://arxiv.org/abs/2003.11142, section 3.1."""
    smallest, largest = extremes(space)
    return [largest, smallest, *(space.sample(rng) for _ in range(MIDDLE))]


PATH_SAMPLERS: dict[str, PathSampler] = {"uniform": uniform, "fair": fair, "sandwich": sandwich}
