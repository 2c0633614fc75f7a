"""Many architectures at once, as arrays (n, decisions) of choices: drawn, crossed, mutated."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.spaces.space import Arch, Space

Archs = NDArray[np.uint8]  # (n, decisions); no decision has over 255 choices
Floats = NDArray[np.float64]
Result = TypeVar("Result")


def sizes_of(space: Space) -> NDArray[np.int64]:
    """(decisions,): how many choices each has."""
    return np.array([len(d.choices) for d in space.decisions])


def drawn(space: Space, count: int, rng: np.random.Generator) -> Archs:
    """Uniform architectures. -> (count, decisions)"""
    sizes = sizes_of(space)
    return (rng.random((count, len(sizes))) * sizes).astype(np.uint8)


def mutated(space: Space, archs: Archs, probability: float, rng: np.random.Generator) -> Archs:
    """Each decision redrawn with `probability`; of each row at least one changes, to another of its choices."""
    count, decisions = archs.shape
    redrawn = rng.random(archs.shape) < probability
    at_least = rng.integers(0, decisions, (count,))
    unchanged = ~redrawn.any(axis=1)
    redrawn[unchanged, at_least[unchanged]] = True
    sizes = sizes_of(space)
    further = 1 + (rng.random(archs.shape) * (sizes - 1)).astype(np.int64)
    return np.where(redrawn, (archs + further) % sizes, archs).astype(np.uint8)


def crossed(parents: Archs, count: int, rng: np.random.Generator) -> Archs:
    """Children of two different rows of `parents`, each decision from either. (parents, decisions) -> (count, same)"""
    mothers = rng.integers(0, len(parents), count)
    fathers = (mothers + rng.integers(1, len(parents), count)) % len(parents)
    return np.where(rng.random((count, parents.shape[1])) < 0.5, parents[mothers], parents[fathers])


def as_array(archs: ArrayLike | Sequence[Arch]) -> Archs:
    """Architectures, or a single one, as rows."""
    return np.atleast_2d(np.asarray(archs, dtype=np.uint8))


def as_archs(rows: Archs) -> list[Arch]:
    """Rows as architectures."""
    return list(map(tuple, rows.tolist()))


def one_by_one(function: Callable[[Arch], Result]) -> Callable[[Iterable[Arch]], Iterator[Result]]:
    """A function of one architecture as one of many, each result ready before the next architecture is begun."""
    return lambda archs: map(function, archs)
