"""A search space as pure data: decisions to make, and the slots of the network that they fill. No torch here."""

import itertools
import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hwnas.spaces.joint import NO, YES, Joint, combined, joint, shortened

Arch = tuple[int, ...]  # arch[i] is the choice made at space.decisions[i]
ROW_KEY = re.compile(r"(?P<kind>\w+)-(?P<c>\d+)x(?P<h>\d+)x(?P<w>\d+)-(?P<out>\d+)-s(?P<s>\d+)(?P<args>(-[a-z]+\d+)*)")
ROW_ARG = re.compile(r"-([a-z]+)(\d+)")
ZERO = "zero"  # the kind of operator that carries nothing: as if it were not there
SIDE = "r"  # the argument that is the side of what comes out, in pixels, where no stride tells it


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One operator with every shape resolved. Equal specs run the same kernels, so they share one latency row."""

    kind: str  # a key of operators.KINDS
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
        if (side := dict(self.args).get(SIDE)) is not None:
            return (self.out_channels, side, side)
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

    Between the slots are nodes. Node 0 is the image, node n + 1 the one that slot n begins, unless it `writes` to an
    earlier one: what is written to one node is added up. `reads` are the nodes whose concatenation over channels is the
    input, for all options or for each; the node before by default. A chain needs neither.
    """

    options: tuple[OpSpec, ...]
    decisions: tuple[int, ...] = ()
    reads: tuple[tuple[int, ...], ...] = ()
    writes: int | None = None


@dataclass(frozen=True, slots=True)
class Wire:
    """Between which nodes an operator stands: those it reads, concatenated, and the one it is added to."""

    reads: tuple[int, ...]
    writes: int


def chain_wires(count: int) -> list[Wire]:
    """Those of operators one after another."""
    return [Wire((number,), number + 1) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Step:
    """An operator of one architecture."""

    slot: int
    option: int
    spec: OpSpec
    wire: Wire


def sees_image(steps: Iterable[Step]) -> bool:
    """Whether the output of a network depends on its image: not where zero operators cut every path to it."""
    return any(0 in step.wire.reads for step in steps)


@dataclass(frozen=True)
class Operators(Sequence[OpSpec]):
    """Those of a network in execution order, and between which nodes they stand."""

    input_shape: tuple[int, int, int]
    specs: tuple[OpSpec, ...]
    wires: tuple[Wire, ...]

    def __len__(self) -> int:
        return len(self.specs)

    def __getitem__(self, index: Any) -> Any:
        return self.specs[index]


def chain_operators(specs: Sequence[OpSpec]) -> Operators:
    """Operators one after another as a network."""
    return Operators(specs[0].in_shape, tuple(specs), tuple(chain_wires(len(specs))))


@dataclass(frozen=True)
class Space:
    """Every network that may be built: slots in execution order, stem and head included.

    All that is written to a node comes before all that reads it. The last slot's node is the output.
    """

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
            if len(slot.reads) not in (0, 1, len(slot.options)):
                raise ValueError(
                    f"slot {number} of {self.name} has {len(slot.options)} options and reads {len(slot.reads)} times; "
                    "allowed is once for all or once for each"
                )

    @property
    def size(self) -> int:
        """How many architectures there are."""
        return math.prod(len(d.choices) for d in self.decisions)

    @cached_property
    def resolution(self) -> int | None:
        """The decision by which the first slot makes images of one size or another; None where it has no such choice.

        All slots behind it depend on that decision too, before others: their options are of the shapes that it makes.
        """
        first = self.slots[0]
        return first.decisions[0] if len({spec.out_shape for spec in first.options}) > 1 else None

    @property
    def stride(self) -> int:
        """Input pixels per pixel of the last feature map; of the largest images where their size is a choice."""
        strides = {0: 1}
        for number, slot in enumerate(self.slots):
            wire = self.wire(number, 0)
            strides[wire.writes] = strides[wire.reads[0]] * slot.options[0].stride
        return strides[self._target(len(self.slots) - 1)]

    def wire(self, number: int, option: int) -> Wire:
        """Between which nodes an option of a slot stands."""
        reads = self.slots[number].reads or ((self._target(number - 1),),)
        return Wire(reads[option if len(reads) > 1 else 0], self._target(number))

    @cached_property
    def shapes(self) -> dict[int, tuple[int, int, int]]:
        """(C, H, W) at each node; of the largest images where their size is a choice."""
        targets = {self._target(number): slot.options[0].out_shape for number, slot in enumerate(self.slots)}
        return {0: self.input_shape} | targets

    def _target(self, number: int) -> int:
        """The node to which a slot writes; the image before the first."""
        own = self.slots[number].writes if number >= 0 else None
        return number + 1 if own is None else own

    def option(self, slot: Slot, choices: Arch | Mapping[int, int]) -> int:
        """Which of `slot.options` is picked by an architecture, or by the choices at the slot's decisions."""
        index = 0
        for d in slot.decisions:
            index = index * len(self.decisions[d].choices) + choices[d]
        return index

    def ops(self, arch: Arch) -> Operators:
        """The operators of one architecture, in execution order. The last one alone where no image comes to it."""
        steps = self.steps(arch)
        if not sees_image(steps):
            return chain_operators([steps[-1].spec])
        return Operators(self.input_shape, tuple(step.spec for step in steps), tuple(step.wire for step in steps))

    def steps(self, arch: Arch) -> list[Step]:
        """The operators of one architecture, in execution order, and how they are wired.

        Without those that read nothing but zeros and those whose output nobody needs. Nothing may be left but the last
        one: a network of zero operators does not look at its input.
        """
        self.check(arch)
        running = [number for number, runs in enumerate(self.runs) if runs.at(arch)]
        options = [self.option(self.slots[number], arch) for number in running]
        return [
            Step(number, option, self.slots[number].options[option], self.wire(number, option))
            for number, option in zip(running, options, strict=True)
        ]

    @cached_property
    def runs(self) -> tuple[Joint, ...]:
        """Of each slot, by which choices it runs. The last one always does."""
        carries, needed, runs = self._carries(), {self._target(len(self.slots) - 1): YES}, list[Joint]()
        for number in reversed(range(len(self.slots))):
            wanted = needed.get(self._target(number), NO)
            last = number == len(self.slots) - 1
            runs.append(YES if last else shortened(combined(np.logical_and, [carries[number], wanted])))
            for node in self.may_read(number):
                asked = combined(np.logical_and, [runs[-1], self._reading(number, node)])
                needed[node] = shortened(combined(np.logical_or, [needed.get(node, NO), asked]))
        return tuple(reversed(runs))

    def slot_costs(self, cost_of: Callable[[OpSpec], float]) -> list[Joint]:
        """What each slot adds to a cost, by its choices and those by which it runs; one table for equal decisions."""
        known, tables = {spec: cost_of(spec) for spec in self.all_ops()}, dict[tuple[int, ...], Joint]()
        for number, slot in enumerate(self.slots):
            of_options = self.by_option(number, [known[spec] for spec in slot.options])
            table = combined(np.multiply, [of_options, self.runs[number]])
            same = tables.get(table.decisions)
            tables[table.decisions] = combined(np.add, [same, table]) if same else table
        return list(tables.values())

    def _carries(self) -> list[Joint]:
        """Of each slot, by which choices something comes out of it that is not zero by construction."""
        filled, carries = {0: YES}, list[Joint]()
        for number, slot in enumerate(self.slots):
            sources = [(filled[node], self._reading(number, node)) for node in self.may_read(number)]
            flows = [combined(np.logical_and, pair) for pair in sources]
            real = self.by_option(number, [spec.kind != ZERO for spec in slot.options])
            carries.append(shortened(combined(np.logical_and, [combined(np.logical_or, flows), real])))
            node = self._target(number)
            filled[node] = shortened(combined(np.logical_or, [filled.get(node, NO), carries[-1]]))
        return carries

    def may_read(self, number: int) -> list[int]:
        """The nodes that some option of a slot reads."""
        options = range(len(self.slots[number].options))
        return list(dict.fromkeys(node for option in options for node in self.wire(number, option).reads))

    def _reading(self, number: int, node: int) -> Joint:
        """By which choices a slot reads the node."""
        options = range(len(self.slots[number].options))
        return shortened(self.by_option(number, [node in self.wire(number, option).reads for option in options]))

    def by_option(self, number: int, values: Sequence[float]) -> Joint:
        """A value for each option of a slot, by the choices at its decisions."""
        sizes = [len(d.choices) for d in self.decisions]
        return joint(self.slots[number].decisions, sizes, values)

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
