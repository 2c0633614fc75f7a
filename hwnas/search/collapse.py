"""Whether a search has collapsed: how far its choices have narrowed, and to what."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.spaces.chain import SKIP
from hwnas.spaces.operators import is_free
from hwnas.spaces.space import Arch, Space

Table = Sequence[Sequence[float]]  # of each decision the probabilities, or the frequencies, of its choices
SKIPS = (SKIP, "skip_connect")  # the second is what DARTS and NAS-Bench-201 call it
TAKEN_OVER = 0.6  # mean share of skips from which on a search counts as collapsed: seven choices begin at 0.14
DOMINANT = 0.8  # mean share of any other choice
UNASKED = 0.15  # by which a share is above that of random draws within the limits, which may ask for as much
CERTAIN = 0.1  # entropy below which nothing is left to choose


@dataclass(frozen=True, slots=True)
class Concentration:
    """How narrow the choices are at one moment; shares from 0 to 1."""

    skip_share: float  # mean over the decisions that offer a skip
    entropy: float  # mean over the decisions, 1 where all choices are equally likely
    dominant: str  # the name, offered by more than one decision, whose mean share is the largest
    dominant_share: float


def concentration(space: Space, table: Table) -> Concentration:
    """Of probabilities or frequencies."""
    skips = [(d, c) for d, choices in enumerate(skip_choices(space)) for c in choices]
    shares = choice_shares(space, table)
    dominant = max(shares, key=shares.__getitem__, default="")
    return Concentration(
        skip_share=sum(table[d][c] for d, c in skips) / max(1, len({d for d, _ in skips})),
        entropy=sum(map(_entropy, table)) / len(table),
        dominant=dominant,
        dominant_share=shares.get(dominant, 0.0),
    )


def skip_choices(space: Space) -> list[set[int]]:
    """Of each decision the choices that are called skip, or where nothing runs."""
    found = [{c for c, name in enumerate(d.choices) if name in SKIPS} for d in space.decisions]
    for slot in space.slots:
        own = [d for d in slot.decisions if d != space.resolution]  # images of the largest size are no skip
        if len(own) == 1:
            count = len(space.decisions[own[0]].choices)  # again at each resolution
            found[own[0]] |= {option % count for option, spec in enumerate(slot.options) if is_free(spec)}
    return found


def choice_shares(space: Space, table: Table) -> dict[str, float]:
    """The mean share of every name over the decisions that offer it, of names that more than one offers."""
    by_name: dict[str, list[float]] = {}
    for decision, shares in zip(space.decisions, table, strict=True):
        for name, share in zip(decision.choices, shares, strict=True):
            by_name.setdefault(name, []).append(share)
    return {name: sum(shares) / len(shares) for name, shares in by_name.items() if len(shares) > 1}


def _entropy(shares: Sequence[float]) -> float:
    return -sum(p * math.log(p) for p in shares if p > 0) / math.log(len(shares))


def frequencies(space: Space, archs: Sequence[Arch]) -> list[list[float]]:
    """How often the architectures make each choice."""
    counts = [[0.0] * len(d.choices) for d in space.decisions]
    for arch in archs:
        for d, choice in enumerate(arch):
            counts[d][choice] += 1 / len(archs)
    return counts


def alarms(history: Sequence[Concentration], drawn: Concentration, is_training: bool) -> list[str]:
    """What is wrong, a sentence each.

    drawn: of random draws within the same limits. is_training: of probabilities, which are to stay open for half of
    the time.
    """
    last, found = history[-1], list[str]()
    if last.skip_share > max(TAKEN_OVER, drawn.skip_share + UNASKED):
        found.append("Skips have taken over: the search has collapsed.")
    elif last.dominant_share > max(DOMINANT, drawn.dominant_share + UNASKED) and last.dominant not in SKIPS:
        found.append(f"{last.dominant} is chosen nearly everywhere: the search tells apart little else.")
    if is_training and any(moment.entropy < CERTAIN for moment in history[: len(history) // 2]):
        found.append("The probabilities were certain before half of the training: what came later chose nothing.")
    return found
