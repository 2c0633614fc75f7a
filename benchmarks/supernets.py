"""Super-networks of spaces whose true accuracies are known: trained, and asked, by the functions of `hwnas search`.

For rank.py and ablation.py. Imports neither a device nor its packages.
"""

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pieces import Clock, write_images
from truth import Truth

from hwnas.datasets import Splits
from hwnas.errors import UserError
from hwnas.nn import Compute
from hwnas.nn.compute import Precision
from hwnas.objective import Metrics, hard_limits
from hwnas.search import (
    METHODS,
    TIE_SHARE,
    Budget,
    Evolution,
    EvolutionConfig,
    Paths,
    RandomSearch,
    Strategy,
    by_preference,
    search,
    tie_width,
)
from hwnas.spaces import Arch, Space, macs
from hwnas.stages.computing import load_compute, workers
from hwnas.stages.run import Run, open_run
from hwnas.stages.search import RECALIBRATION_BATCH
from hwnas.storage import Journal, Record, read_json, write_json
from hwnas.supernet import PATH_SAMPLERS, PathJudge, calibration_batches, supernet_training
from hwnas.train import Judged

SAMPLERS = {name: m.trains for name, m in METHODS.items() if isinstance(m.trains, Paths) and m.evolves}
TEST_IMAGES = 10  # of each class: a data set has a test part, at which nothing here looks
CHECKPOINT_EVERY_S = 20.0


@dataclass(frozen=True)
class Settings:
    """What a super-network is and how it learns: the same for all that are compared."""

    space: str
    width_mult: float
    resolution: int
    images: int  # to train on; 0: all that are not held out
    evaluation_images: int  # held out: architectures are told apart by them
    epochs: int  # of a sampler of one path a step; the others have as many path-steps in fewer epochs
    batch_size: int
    lr: float | None  # None: the product's
    recalibration_batches: int
    precision: Precision = "auto"

    def keep(self, out: Path) -> None:
        """Writes them into `out`; UserError where what is there came of others."""
        file, own = out / f"{self.space}.json", asdict(self)
        then = asdict(settings_in(out, self.space)) if file.exists() else own
        for name, value in own.items():
            if then[name] != value:
                raise UserError(
                    f"--{name.replace('_', '-')} is {value} now but {then[name]} in {file}; choose another --out"
                )
        write_json(file, own)

    def epochs_of(self, space: Space, sampler: str) -> int:
        """So many that every sampler has equally many path-steps; UserError where that is no whole number."""
        paths = len(PATH_SAMPLERS[SAMPLERS[sampler].sampler](space, random.Random(0), lambda arch: 1.0))
        if self.epochs % paths:
            raise UserError(
                f"--epochs is {self.epochs}, but {sampler} trains {paths} paths a step; give a multiple of "
                "that, 60 for all samplers say"
            )
        return self.epochs // paths


def settings_in(out: Path, space: str) -> Settings:
    """Those of the super-networks that are in a folder; UserError where there are none."""
    file = out / f"{space}.json"
    if not file.exists():
        raise UserError(f"{file} is not there; run benchmarks/rank.py --out {out} first")
    return Settings(**read_json(file))


# Images


def write_subset(source: Path, to: Path, images: int, held_out: int) -> None:
    """A .npz as hwnas reads it, of some images of another one, equally many of each class.

    `images` to train on, 0 for all, and `held_out` others to choose architectures by; both are of the source's
    training part.
    """
    with np.load(source, allow_pickle=False) as arrays:
        label, is_test, classes = arrays["label"], arrays["is_test"].astype(bool), len(arrays["classes"])
    chosen, is_held_out = _chosen(label, is_test, images // classes, held_out // classes)
    write_images(source, to, chosen, is_val=is_held_out)


def _chosen(
    label: NDArray[np.int64], is_test: NDArray[np.bool_], images: int, held_out: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """(numbers of the images, which of them are held out); `images` and `held_out` are of each class."""
    rng, kept, held = np.random.default_rng(0), list[NDArray[np.intp]](), list[NDArray[np.intp]]()
    for each in np.unique(label):
        train = rng.permutation(np.flatnonzero((label == each) & ~is_test))
        held.append(train[:held_out])
        kept.append(train[held_out : held_out + images if images else None])
        kept.append(np.flatnonzero((label == each) & is_test)[:TEST_IMAGES])
    chosen = np.sort(np.concatenate([*kept, *held]))
    return chosen, np.isin(chosen, np.concatenate(held))


# Training


@dataclass(frozen=True)
class Place:
    """The folder of all super-networks of a space and a seed: their images, and how they are computed."""

    run: Run
    splits: Splits
    space: Space
    compute: Compute

    def journal(self, sampler: str) -> Journal:
        """What the super-network of a sampler said of architectures."""
        return Journal(self.run.file(f"{sampler}/accuracies.jsonl"))


def open_place(out: Path, data: Path, settings: Settings, seed: int) -> Place:
    """The images are decoded on the first call, and the settings of the hardware measured."""
    folder, images = out / f"{settings.space}-seed{seed}", out / f"{settings.space}-images.npz"
    if not (folder / "config.json").exists():
        if not images.exists():
            source = data / "cifar10_jpeg/cifar10_jpeg.npz"
            write_subset(source, images, settings.images, settings.evaluation_images)
        names = ("space", "width_mult", "resolution", "batch_size", "recalibration_batches", "precision")
        options = {name: getattr(settings, name) for name in names}
        open_run(folder, {**options, "data": str(images), "seed": seed, "supernet_lr": settings.lr})
    run = open_run(folder, {})
    splits, space = run.splits(), run.space
    return Place(run, splits, space, load_compute(run, space))


def trained(place: Place, settings: Settings, sampler: str, clock: Clock) -> PathJudge:
    """A sampler's super-network, trained to the end, as `hwnas search` trains and asks it.

    The cost of an architecture is its multiply-adds: no device takes part. TimeIsUp between two epochs.
    """
    run, splits, space, compute = place.run, place.splits, place.space, place.compute
    epochs, paths = settings.epochs_of(space, sampler), SAMPLERS[sampler]
    recipe = run.recipe(epochs, settings.lr, splits)
    folder = run.file(sampler)
    folder.mkdir(exist_ok=True)
    training = supernet_training(
        *(space, splits.train, recipe, compute, run.config.seed, folder, PATH_SAMPLERS[paths.sampler], paths.distil),
        workers(compute),
    )
    training.checkpoint_every_s = CHECKPOINT_EVERY_S

    def on_epoch(epoch: int, record: Record) -> None:
        print(f"{folder}: epoch {epoch} of {epochs}, loss {record['loss']:.3f}, {record['seconds']:.1f} s", flush=True)
        if epoch < epochs:
            clock.check(record["seconds"])

    training.run(on_epoch=on_epoch)
    batches = calibration_batches(
        *(splits.train, settings.resolution, settings.recalibration_batches, RECALIBRATION_BATCH, compute)
    )
    return PathJudge(training.module, batches, splits.search, settings.resolution, compute)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Way:
    """How a super-network ranks; the default is how `hwnas search` does."""

    by: Literal["likelihood", "accuracy"] = "likelihood"
    recalibrated: bool = True
    tie_share: float = TIE_SHARE


class Asked:
    """What a super-network says of architectures, each asked once: a journal remembers."""

    def __init__(self, paths: PathJudge, journal: Journal, clock: Clock) -> None:
        self.paths, self.journal, self.clock = paths, journal, clock
        self.as_trained = copy.deepcopy(paths.net).eval()  # recalibrating forgets what training left
        self.known = {
            (r["recalibrated"], tuple(r["arch"])): Judged(r["accuracy"], r["likelihood"]) for r in journal.records
        }

    def judged(self, arch: Arch, recalibrated: bool) -> Judged:
        """On the held-out images; TimeIsUp before one that is not known."""
        if (recalibrated, arch) not in self.known:
            self.clock.check()
            found = self.paths(arch) if recalibrated else self._as_trained(arch)
            self.journal.append({"arch": list(arch), "recalibrated": recalibrated, **found._asdict()})
            self.known[recalibrated, arch] = found
        return self.known[recalibrated, arch]

    def metrics(self, arch: Arch, way: Way) -> Metrics:
        """What a search is told of an architecture."""
        found = self.judged(arch, way.recalibrated)
        return found._asdict() if way.by == "likelihood" else {"accuracy": found.accuracy}

    def _as_trained(self, arch: Arch) -> Judged:
        """With the batch-norm statistics that training left, a mixture over all paths."""
        return self.paths.as_it_is(lambda x: self.as_trained(x, arch))


# Searching


def evolution(budget: Budget, population: int, seed: int) -> Evolution:
    """With the share of parents that `hwnas search` has."""
    return Evolution(budget, seed, EvolutionConfig(population, max(2, population // 5)))


def best_of(strategy: Strategy, budget: Budget, asked: Asked, way: Way, evaluations: int, count: int = 1) -> list[Arch]:
    """What a search finds, as many as asked and the best first, within the limits, as `hwnas select` takes them.

    As many random networks tell how far likelihoods spread, the same ones for every search. Where multiply-adds are the
    limit nothing ties.
    """
    metric, space = budget.limits[0].metric, asked.paths.net.space

    def evaluate(archs: Sequence[Arch]) -> Iterator[Metrics]:
        return ({**asked.metrics(arch, way), **budget.metrics(arch)} for arch in archs)

    def searched(how: Strategy) -> list[Record]:
        trials = search(how, evaluate, hard_limits(budget.by_metric), evaluations)
        allowed = {trial.arch: trial.metrics for trial in trials if budget.holds(trial.arch)}
        cost = {arch: {"macs": macs(space.ops(arch)), "latency_ms": found[metric]} for arch, found in allowed.items()}
        return [{"arch": arch, **found, **cost[arch]} for arch, found in allowed.items()]

    width = None if metric == "macs" else tie_width(searched(RandomSearch(budget, 0)), way.tie_share)
    return [trial["arch"] for trial in by_preference(searched(strategy), width)][:count]


def true_rank(truth: Truth, budget: Budget, arch: Arch) -> Record:
    """What a network truly gets, which share of the different ones within the limits is better, and the best's lead."""
    within = list(truth.within(budget).values())
    own = truth.accuracy[arch]
    better_share = sum(other > own for other in within) / len(within)
    return {"arch": list(arch), "accuracy": own, "better_share": better_share, "regret": max(within) - own}
