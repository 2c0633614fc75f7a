"""Spaces all of whose networks others trained: what each gets, what it takes, and which are the same network.

Imports neither a device nor its packages: super-networks are also compared with these on machines without them.
"""

import csv
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from hwnas.latency import TablePredictor
from hwnas.latency.additive import AdditiveCost
from hwnas.resources import shipped
from hwnas.search import Budget, Limit
from hwnas.spaces import Arch, Space, SpaceConfig, build_space, op_macs
from hwnas.spaces.nas_bench_201 import from_string
from hwnas.spaces.operators import is_free

WITHIN = 0.3  # of a table's networks keep the limit
HOST = "host_cpu1_litert_fp32"
Values = Mapping[Arch, float]


@dataclass(frozen=True)
class Truth:
    """A space, what its networks get, and what they take."""

    space: Space
    accuracy: Values
    graphs: Mapping[Arch, Hashable]  # equal for architectures that are one network
    trainings: Mapping[Arch, Sequence[float]] = field(default_factory=dict)  # what each of several came to, if known

    def training(self, arch: Arch, number: int) -> float:
        """What one of its trainings came to."""
        return self.trainings[arch][number % len(self.trainings[arch])]

    def other_trainings(self, arch: Arch, number: int) -> float:
        """The mean of what the others came to."""
        own = number % len(self.trainings[arch])
        return float(np.mean([found for index, found in enumerate(self.trainings[arch]) if index != own]))

    @cached_property
    def predictor(self) -> TablePredictor:
        """The sum of the table of one core of a host that came with hwnas."""
        return host_predictor(self.space.name, HOST, self.space.input_shape[1])

    def budget(self) -> Budget:
        """The latency that `WITHIN` of the networks keep."""
        most_ms = float(np.quantile(self.predictor.latency_ms(list(self.accuracy)), WITHIN))
        return Budget(self.space, (Limit("latency_ms", self.predictor.latency_ms, most_ms),))

    def macs_budget(self, within: float = WITHIN) -> Budget:
        """The multiply-adds that so many of the networks keep; 1: all."""
        macs = AdditiveCost(self.space, op_macs)
        most = float(np.quantile(macs.of(list(self.accuracy)), within))
        return Budget(self.space, (Limit("macs", macs.of, most),))

    def within(self, budget: Budget) -> dict[Hashable, float]:
        """What every different network that keeps the limits gets."""
        archs = list(self.accuracy)
        kept = budget.excess(archs) <= 0
        return {self.graphs[arch]: self.accuracy[arch] for arch, keeps in zip(archs, kept, strict=True) if keeps}


def nas_bench_macro(data: Path) -> Truth:
    """6,561 chains on CIFAR-10, the mean of three trainings (https://arxiv.org/abs/2103.11922).

    3,969 of them differ: within a stage it does not matter where an identity stands.
    """
    space, names = build_space(SpaceConfig("nas_bench_macro", 32, 10)), ("skip", "k3e3", "k5e6")
    with (data / "nas_bench_macro/nas_bench_macro_cifar10.csv").open() as file:
        rows = list(csv.DictReader(file))
    archs = [space.from_names(tuple(names[int(digit)] for digit in row["arch"])) for row in rows]
    accuracy = {arch: float(row["mean_acc"]) / 100 for arch, row in zip(archs, rows, strict=True)}
    graphs = {arch: tuple(str(spec) for spec in space.ops(arch) if not is_free(spec)) for arch in archs}
    trainings = {
        arch: [float(row[f"acc{number}"]) / 100 for number in (1, 2, 3)] for arch, row in zip(archs, rows, strict=True)
    }
    return Truth(space, accuracy, graphs, trainings)


def nas_bench_201(data: Path) -> Truth:
    """15,625 cells on CIFAR-10, test accuracy after 200 epochs (https://arxiv.org/abs/2001.00326).

    6,466 of them differ, by the classes that come with the table.
    """
    space, folder = build_space(SpaceConfig("nas_bench_201", 32, 10)), data / "nasbench201"
    with (folder / "nb201_archs.csv").open() as file:
        archs = [from_string(space, row["arch_str"]) for row in csv.DictReader(file)]
    with np.load(folder / "nb201_accuracy.npz") as tables:
        found, graphs = (tables["test_acc_200ep"][:, 0] / 100).tolist(), tables["isomorph_class"].tolist()
    return Truth(space, dict(zip(archs, found, strict=True)), dict(zip(archs, graphs, strict=True)))


def host_predictor(name: str, device: str, resolution: int = 32) -> TablePredictor:
    """The sum of a shipped table's rows, which are of networks for 1,000 classes."""
    from hwnas.latency.table import LatencyTable  # here: it needs the devices' packages

    rows = LatencyTable.read(shipped("latency_tables") / f"{name}-{resolution}-{device}.jsonl")
    space = build_space(SpaceConfig(name, resolution, 1000))
    return TablePredictor(space, {key: row.median_ms for key, row in rows.items()})


TABLES: dict[str, Callable[[Path], Truth]] = {"nas_bench_macro": nas_bench_macro, "nas_bench_201": nas_bench_201}
