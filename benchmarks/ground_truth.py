"""Every search method where the truth is known: does it find the top, and is it better than as much random search?

python benchmarks/ground_truth.py --out runs/truth [--data ../shared/data] [--seeds 5] [--only spos] [--parts tables]
python benchmarks/ground_truth.py --out runs/truth --parts toy --only proxyless --warm-ups 0 0.5

tables: spaces whose networks others trained. An accuracy is looked up, so only what asks for rewards takes part. toy:
every network of a small chain was trained from scratch by toy_chain.py; every method runs as `hwnas search` runs it,
with its super-network, and its pick is looked up; with --warm-ups also with other shares of the steps for weights
alone. images: as toy, in one of the tables' spaces with super-networks of the images that its networks were trained on,
and with equally many path-steps for every method. results.jsonl under --out has a line a search: what is there is not
run again.
"""

import argparse
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
import toy_chain
from grounds import Ground, chain, clear, found_by, missing, ranked, toy
from torch import Tensor, nn
from truth import TABLES, Truth

from hwnas.datasets import ImageSet
from hwnas.nn import Compute
from hwnas.objective import hard_limits
from hwnas.search import (
    METHODS,
    STRATEGIES,
    Budget,
    Evolution,
    EvolutionConfig,
    FromProbabilities,
    Probabilities,
    Strategy,
    search,
)
from hwnas.search.evidence import mean_interval
from hwnas.spaces import Arch
from hwnas.storage import Journal, Record, exclusive
from hwnas.supernet import ArchitectureConfig, ArchitectureTraining

TOP = 0.05
EVALUATIONS = 100  # look-ups of a search in a table
TRAINING_SHARE = 0.7  # of these, by methods that train probabilities; the rest are their candidates
GENERATIONS = 4
SCORED = 2000  # "images" in which a looked-up accuracy is told
PARTS = ("tables", "toy", "images")
TOY_EPOCHS = 36  # of a super-network; as many networks as these epochs suffice for are trained from scratch
IMAGE_EPOCHS = 24  # of one that is trained a path at a time


class LookedUp(nn.Module):
    """Stands for a super-network: of every batch, it gets the share right that the table says."""

    def __init__(self, truth: Truth) -> None:
        super().__init__()
        self.space, self.accuracy, self.asked = truth.space, truth.accuracy, list[Arch]()

    def forward(self, images: Tensor, arch: Arch) -> Tensor:  # labels are all 0
        self.asked.append(arch)
        wrong = torch.arange(len(images)) >= round(self.accuracy[arch] * len(images))
        return nn.functional.one_hot(wrong.long(), 2).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument(
        "--warm-ups", nargs="+", type=float, default=[], help="shares of the steps, beside a method's own"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--toy-epochs", type=int, default=TOY_EPOCHS, help="of a super-network of the toy chain")
    parser.add_argument("--image-epochs", type=int, default=IMAGE_EPOCHS, help="of one on images, a path at a time")
    options = parser.parse_args()
    if options.toy_epochs % toy_chain.EPOCHS:
        parser.error(f"--toy-epochs is {options.toy_epochs}, no multiple of the {toy_chain.EPOCHS} of one network")
    torch.set_num_threads(1)
    toy_chain.register()
    with exclusive(options.out):
        journal = Journal(options.out / "results.jsonl")
        for name, load in TABLES.items() if "tables" in options.parts else ():
            in_table(name, load(options.data), options.seeds, journal)
        for ground in grounds(options):
            methods = [*options.only, *warmed_up(options.only, options.warm_ups)]
            on_ground(ground, options.out, methods, options.seeds, journal)
    print_markdown(journal.records)


def grounds(options: argparse.Namespace) -> Iterator[Ground]:
    """Those asked for in which super-networks are trained."""
    if "toy" in options.parts:
        yield toy(options.toy_epochs)
    if "images" in options.parts:
        yield chain(options.data, options.out, options.image_epochs)


# Tables


def in_table(name: str, truth: Truth, seeds: int, journal: Journal) -> None:
    """Random search, evolution, and each method that trains probabilities by rewards."""
    budget = truth.budget()
    by_reward = [m for m, method in METHODS.items() if probabilities_by_reward(m) is not None and method.asks_reward]
    for method, seed in missing(journal.records, name, [*STRATEGIES, *by_reward], seeds):
        if method in STRATEGIES:
            asked = looked_up(strategy_of(method, budget, seed), budget, truth, EVALUATIONS)
        else:
            asked = by_rewards(method, budget, truth, seed)
        best = max(truth.accuracy[arch] for arch in asked if budget.holds(arch))
        found = {"accuracy": best, **ranked(best, within(truth, budget))}
        journal.append({"space": name, "method": method, "seed": seed, "evaluations": len(asked), **found})


def strategy_of(name: str, budget: Budget, seed: int) -> Strategy:
    """Evolution in as many generations as a run has, with the same share of parents."""
    if name == "evolution":
        population = EVALUATIONS // GENERATIONS
        return Evolution(budget, seed, EvolutionConfig(population, population // 5))
    return STRATEGIES[name](budget, seed)


def within(truth: Truth, budget: Budget) -> list[float]:
    return [accuracy for arch, accuracy in truth.accuracy.items() if budget.holds(arch)]


def probabilities_by_reward(method: str) -> Probabilities | None:
    trains = METHODS[method].trains
    return trains if isinstance(trains, Probabilities) else None


def looked_up(strategy: Strategy, budget: Budget, truth: Truth, evaluations: int) -> list[Arch]:
    def evaluate(archs: Sequence[Arch]) -> list[dict[str, float]]:
        return [{"accuracy": truth.accuracy[arch], **budget.metrics(arch)} for arch in archs]

    return [trial.arch for trial in search(strategy, evaluate, hard_limits(budget.by_metric), evaluations)]


def by_rewards(method: str, budget: Budget, truth: Truth, seed: int) -> list[Arch]:
    """The method's own settings but for the warm-up, which is for weights; as many look-ups as the others have."""
    trains = probabilities_by_reward(method)
    assert trains is not None
    config = ArchitectureConfig(**{**asdict(trains), "warmup_share": 0.0, "every": 1, "batch_size": SCORED})
    side, net = truth.space.input_shape[1], LookedUp(truth)
    images = ImageSet(np.zeros((SCORED, 3, side, side), np.uint8), np.zeros(SCORED, np.int64))
    steps = round(TRAINING_SHARE * EVALUATIONS / config.samples)
    (limit,) = budget.limits
    training = ArchitectureTraining(
        net,  # type: ignore[arg-type]
        *(truth.predictor, limit.most, images, Compute("cpu"), config, seed, steps),
    )
    for step in range(steps):
        training.after_step(step)
    strategy = FromProbabilities(budget, seed, training.table(), training.draw)
    return net.asked + looked_up(strategy, budget, truth, EVALUATIONS - len(net.asked))


# With super-networks


def warmed_up(methods: Sequence[str], shares: Sequence[float]) -> list[str]:
    """Those methods that train probabilities, with other warm-ups, as methods of their own."""
    found = []
    for method, share in itertools.product(methods, shares):
        if isinstance(trains := METHODS[method].trains, Probabilities):
            found.append(f"{method}, {100 * share:g} % warm-up")
            METHODS[found[-1]] = replace(METHODS[method], trains=replace(trains, warmup_share=share))
    return found


def on_ground(ground: Ground, out: Path, methods: Sequence[str], seeds: int, journal: Journal) -> None:
    """Every method's own search stage, with super-network and as many random candidates beside the method's."""
    for method, seed in missing(journal.records, ground.name, methods, seeds, ground.epochs):
        folder = out / f"{ground.options['space']}-{ground.epochs}-epochs"
        journal.append({"space": ground.name, "method": method, "seed": seed, **found_by(ground, folder, method, seed)})
        clear(folder, method, seed)


# What came out


def print_markdown(records: Sequence[Record]) -> None:
    """A table a space and length of training. Differences are in points, with 95 % intervals over the seeds."""
    for space, epochs in dict.fromkeys((r["space"], r.get("epochs")) for r in records):
        mine = [r for r in records if (r["space"], r.get("epochs")) == (space, epochs)]
        trained = f", {epochs} epochs" if epochs else ""
        print(f"\n{space}{trained}: {len({r['seed'] for r in mine})} seeds, {mine[0]['evaluations']} evaluations\n")
        titles = ["method", "in the top 5 %", "better networks, median", "accuracy", *further(mine)]
        print("|", " | ".join(titles), "|")
        print("|" + "---|" * len(titles))
        for method in dict.fromkeys(r["method"] for r in mine):
            print("|", " | ".join(row(method, [r for r in mine if r["method"] == method], mine)), "|")


def further(records: Sequence[Record]) -> list[str]:
    """Titles of the columns that a space has beside those of all."""
    if "tau" not in records[0]:
        return ["above random search", "beats it"]
    other = "training from scratch" if "scratch_accuracy" in records[0] else "`random`"
    return ["above random candidates", "beats them", f"above {other}", "beats it", "tau", "CPU time, median"]


def row(method: str, records: Sequence[Record], all_records: Sequence[Record]) -> list[str]:
    """The cells of one method."""
    top = sum(r["better_share"] <= TOP for r in records)
    share, accuracy = (statistics.median(r["better_share"] for r in records), [r["accuracy"] for r in records])
    cells = [method, f"{top} of {len(records)}", f"{100 * share:.1f} %", f"{100 * statistics.fmean(accuracy):.2f}"]
    by_chance = {r["seed"]: r["accuracy"] for r in all_records if r["method"] == "random"}
    others = [by_chance.get(r["seed"], math.nan) for r in records]
    if "tau" not in records[0]:
        return cells + compared(accuracy, others)
    cells += compared(accuracy, [r["random_accuracy"] for r in records])
    cells += compared(accuracy, [r.get("scratch_accuracy", other) for r, other in zip(records, others, strict=True)])
    times_s = [s for r in records if not math.isnan(s := r.get("cpu_s", math.nan))]
    time_told = f"{statistics.median(times_s):.0f} s" if times_s else "-"
    return [*cells, f"{statistics.fmean(r['tau'] for r in records):.2f}", time_told]


def compared(accuracies: Sequence[float], others: Sequence[float]) -> list[str]:
    """The mean difference with its interval, and whether all of that is above 0; `-` where they are the same."""
    differences = [a - b for a, b in zip(accuracies, others, strict=True) if not math.isnan(b)]
    if not any(differences):
        return ["-", "-"]
    low, high = mean_interval(differences)
    told = f"{100 * statistics.fmean(differences):+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
    return [told, "yes" if low > 0 else "no"]


if __name__ == "__main__":
    main()
