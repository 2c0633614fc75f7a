"""A search space as pure data: decisions to make, and the slots of the network that they fill. No torch here."""

import itertools
import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

Arch = tuple[int, ...]  # arch[i] is the choice made at space.decisions[i]
ROW_KEY = re.compile(r"(?P<kind>\w+)-(?P<c>\d+)x(?P<h>\d+)x(?P<w>\d+)-(?P<out>\d+)-s(?P<s>\d+)(?P<args>(-[a-z]+\d+)*)")
ROW_ARG = re.compile(r"-([a-z]+)(\d+)")


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One operator with every shape resolved. Equal specs run the same kernels, so they share one latency row."""

    kind: str  # a key of layers.KINDS
    in_shape: tuple[int, int, int]  # (C, H, W), batch left out
    out_channels: int
    stride: int = 1
    args: tuple[tuple[str, int], ...] = ()  # what only this kind has, sorted by name

    def __str__(self) -> str:
        """`ir-16x112x112-24-s2-e6-k3`: the row key of every latency table."""
        shape = "x".join(map(str, self.in_shape))
        return "-".join(
            [self.kind, shape, str(self.out_channels), f"s{self.stride}"] + [f"{k}{v}" for k, v in self.args]
        )

    @staticmethod
    def parse(key: str) -> "OpSpec":
        """The operator of a row key, of whatever kind: the inverse of `str`. ValueError where the key is none."""
        if not (match := ROW_KEY.fullmatch(key)):
            raise ValueError(f"{key!r} is no row key; one is ir-16x112x112-24-s2-e6-k3")
        channels, height, width, out_channels, stride = (int(match[n]) for n in ("c", "h", "w", "out", "s"))
        args = tuple((name, int(value)) for name, value in ROW_ARG.findall(match["args"]))
        return OpSpec(match["kind"], (channels, height, width), out_channels, stride, args)

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the output: odd kernels padded by half, so a stride divides and rounds up."""
        return (self.out_channels, -(-self.in_shape[1] // self.stride), -(-self.in_shape[2] // self.stride))


def op(kind: str, in_shape: tuple[int, int, int], out_channels: int, stride: int = 1, **args: int) -> OpSpec:
    """An OpSpec with its arguments in canonical order."""
    return OpSpec(kind, in_shape, out_channels, stride, tuple(sorted(args.items())))


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, never more than 10 % below (MobileNetV2's official rounding)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing to choose: at least two choices, by name."""

    name: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in the network.

    `options` is row-major over the choices of `decisions`: none for a fixed operator, one decision for the usual
    choice, several where one operator depends on several choices.
    """

    options: tuple[OpSpec, ...]
    decisions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Space:
    """Every network that may be built: a chain of slots, stem and head included, in execution order."""

    name: str
    input_shape: tuple[int, int, int]  # (C, H, W)
    num_classes: int
    decisions: tuple[Decision, ...]
    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        for decision in self.decisions:
            if len(decision.choices) < 2:
                raise ValueError(
                    f"decision {decision.name} of {self.name} has {len(decision.choices)} choice; "
                    "at least two are needed: write a single one as a fixed slot"
                )
        for number, slot in enumerate(self.slots):
            expected = math.prod(len(self.decisions[d].choices) for d in slot.decisions)
            if len(slot.options) != expected:
                raise ValueError(
                    f"slot {number} of {self.name} has {len(slot.options)} options, its decisions need {expected}"
                )

    @property
    def size(self) -> int:
        """How many architectures there are."""
        return math.prod(len(d.choices) for d in self.decisions)

    @property
    def stride(self) -> int:
        """Input pixels per pixel of the last feature map."""
        return math.prod(slot.options[0].stride for slot in self.slots)

    def option(self, slot: Slot, arch: Arch) -> int:
        """Which of `slot.options` the architecture picks."""
        index = 0
        for d in slot.decisions:
            index = index * len(self.decisions[d].choices) + arch[d]
        return index

    def ops(self, arch: Arch) -> list[OpSpec]:
        """The operators of one architecture, in execution order."""
        self.check(arch)
        return [slot.options[self.option(slot, arch)] for slot in self.slots]

    def all_ops(self) -> list[OpSpec]:
        """Every distinct operator of the space."""
        return list(dict.fromkeys(spec for slot in self.slots for spec in slot.options))

    def check(self, arch: Arch) -> None:
        """Raises ValueError, with both numbers, for anything that is not a point of the space."""
        if len(arch) != len(self.decisions):
            raise ValueError(f"{self.name} has {len(self.decisions)} decisions, the architecture has {len(arch)}")
        for choice, decision in zip(arch, self.decisions, strict=True):
            if not 0 <= choice < len(decision.choices):
                raise ValueError(
                    f"choice {choice} is outside the {len(decision.choices)} of {decision.name}: {decision.choices}"
                )

    def sample(self, rng: random.Random) -> Arch:
        """An architecture drawn uniformly."""
        return tuple(rng.randrange(len(d.choices)) for d in self.decisions)

    def mutate(self, arch: Arch, rng: random.Random, probability: float) -> Arch:
        """Each decision redrawn with `probability`; at least one always changes, to another of its choices."""
        redrawn = {i for i in range(len(arch)) if rng.random() < probability} or {rng.randrange(len(arch))}
        return tuple(
            rng.choice([c for c in range(len(d.choices)) if c != choice]) if i in redrawn else choice
            for i, (choice, d) in enumerate(zip(arch, self.decisions, strict=True))
        )

    def from_names(self, names: tuple[str, ...]) -> Arch:
        """The architecture whose choices have these names, one per decision."""
        if len(names) != len(self.decisions):
            raise ValueError(f"{self.name} has {len(self.decisions)} decisions, {len(names)} names came")
        return tuple(d.choices.index(name) for d, name in zip(self.decisions, names, strict=True))

    def to_names(self, arch: Arch) -> list[str]:
        """The names of the choices of `arch`, one per decision."""
        self.check(arch)
        return [d.choices[c] for d, c in zip(self.decisions, arch, strict=True)]

    def __iter__(self) -> Iterator[Arch]:
        return itertools.product(*(range(len(d.choices)) for d in self.decisions))
