"""Which paths of a super-network one weight step trains."""

import random
from collections.abc import Callable

from hwnas.spaces.space import Arch, Space

PathSampler = Callable[[Space, random.Random], list[Arch]]


def uniform(space: Space, rng: random.Random) -> list[Arch]:
    """One path, every choice with equal chance: Single Path One-Shot, https://arxiv.org/abs/1904.00420, section 3.2."""
    return [space.sample(rng)]


PATH_SAMPLERS: dict[str, PathSampler] = {"uniform": uniform}
