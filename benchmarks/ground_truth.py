"""Every search method where the truth is known: does it find the top, and is it better than as much random search?

python benchmarks/ground_truth.py --out runs/truth [--data ../shared/data] [--seeds 5] [--only spos] [--tables-only]
python benchmarks/ground_truth.py --out runs/truth --only proxyless --warm-ups 0 0.5

Tables: spaces whose networks others trained. An accuracy is looked up, so only what asks for rewards takes part. The
toy chain: every network was trained from scratch by toy_chain.py; every method runs as `hwnas search` runs it, with
its super-network, and its pick is looked up; with --warm-ups also with other shares of the steps for weights alone.
results.jsonl under --out has a line a search: what is there is not run again.
"""

import argparse
import itertools
import random
import shutil
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
import toy_chain
from torch import Tensor, nn
from truth import TABLES, Truth, Values

from hwnas.datasets import ImageSet
from hwnas.latency import kendall_tau
from hwnas.nn import Compute
from hwnas.objective import hard_limits, quality
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
from hwnas.stages import feasible, fit, plan, profile
from hwnas.stages import search as search_stage
from hwnas.stages.limits import load_limits
from hwnas.stages.run import Run, open_run
from hwnas.storage import Journal, Record, exclusive
from hwnas.supernet import ArchitectureConfig, ArchitectureTraining

TOP = 0.05
EVALUATIONS = 100  # look-ups of a search in a table
TRAINING_SHARE = 0.7  # of these, by methods that train probabilities; the rest are their candidates
GENERATIONS = 4
SCORED = 2000  # "images" in which a looked-up accuracy is told
TOY = {"population": 8, "generations": 3, "recalibration_batches": 2}
TOY_EPOCHS = 36  # of a super-network; as many networks as these epochs suffice for are trained from scratch
DRAWS = 2000


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
    parser.add_argument("--tables-only", action="store_true")
    parser.add_argument("--toy-epochs", type=int, default=TOY_EPOCHS, help="of a super-network of the toy chain")
    options = parser.parse_args()
    if options.toy_epochs % toy_chain.EPOCHS:
        parser.error(f"--toy-epochs is {options.toy_epochs}, no multiple of the {toy_chain.EPOCHS} of one network")
    torch.set_num_threads(1)
    toy_chain.register()
    with exclusive(options.out):
        journal = Journal(options.out / "results.jsonl")
        for name, load in TABLES.items():
            in_table(name, load(options.data), options.seeds, journal)
        if not options.tables_only:
            methods = [*options.only, *warmed_up(options.only, options.warm_ups)]
            in_toy_chain(options.out, methods, options.seeds, options.toy_epochs, journal)
    print_markdown(journal.records)


def missing(
    journal: Journal, space: str, methods: Sequence[str], seeds: int, epochs: int | None = None
) -> Iterator[tuple[str, int]]:
    """What is not in the journal yet, all methods of one seed before the next seed. epochs: of a super-network."""
    done = {(r["method"], r["seed"]) for r in journal.records if (r["space"], r.get("epochs")) == (space, epochs)}
    todo = [(method, seed) for seed in range(seeds) for method in methods if (method, seed) not in done]
    for number, (method, seed) in enumerate(todo, start=1):
        print(f"{space}: {method}, seed {seed}, {number} of {len(todo)}", flush=True)
        yield method, seed


# Tables


def in_table(name: str, truth: Truth, seeds: int, journal: Journal) -> None:
    """Random search, evolution, and each method that trains probabilities by rewards."""
    budget = truth.budget()
    by_reward = [m for m, method in METHODS.items() if probabilities_by_reward(m) is not None and method.asks_reward]
    for method, seed in missing(journal, name, [*STRATEGIES, *by_reward], seeds):
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


def ranked(accuracy: float, accuracies: Sequence[float]) -> Record:
    """Which share of the networks within the limit is better."""
    return {"better_share": sum(other > accuracy for other in accuracies) / len(accuracies)}


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


# The toy chain


def warmed_up(methods: Sequence[str], shares: Sequence[float]) -> list[str]:
    """Those methods that train probabilities, with other warm-ups, as methods of their own."""
    found = []
    for method, share in itertools.product(methods, shares):
        if isinstance(trains := METHODS[method].trains, Probabilities):
            found.append(f"{method}, {100 * share:g} % warm-up")
            METHODS[found[-1]] = replace(METHODS[method], trains=replace(trains, warmup_share=share))
    return found


def in_toy_chain(out: Path, methods: Sequence[str], seeds: int, epochs: int, journal: Journal) -> None:
    """Every method's own search stage, with super-network and as many random candidates beside the method's."""
    truth = {arch: statistics.fmean(found) for arch, found in toy_chain.accuracies().items()}
    for method, seed in missing(journal, toy_chain.NAME, methods, seeds, epochs):
        run = searched(out / f"{epochs}-epochs", method, seed, epochs)
        budget, trials = load_limits(run, run.space), run.journal("trials.jsonl").records
        accuracies = [accuracy for arch, accuracy in truth.items() if budget.holds(arch)]
        drawn = [t for t in trials if t["strategy"] == "random"]
        own = [t for t in trials if t["strategy"] != "random"] or drawn
        found, by_chance = (truth[pick(candidates)] for candidates in (own, drawn))
        told = {"epochs": epochs, "evaluations": len(own), "accuracy": found, "random_accuracy": by_chance}
        scratch = scratch_accuracy(budget, truth, seed, epochs // toy_chain.EPOCHS)
        order = [(quality(t), truth[tuple(t["arch"])]) for t in drawn]
        tau = kendall_tau(*np.array(order).T)
        journal.append(
            {"space": toy_chain.NAME, "method": method, "seed": seed, **told, "scratch_accuracy": scratch, "tau": tau}
            | ranked(found, accuracies)
        )
        shutil.rmtree(run.path)


def searched(out: Path, method: str, seed: int, epochs: int) -> Run:
    """A run up to the end of the search; latencies are the fake device's."""
    base = open_run(out / f"base{seed}", {**toy_chain.OPTIONS, **TOY, "supernet_epochs": epochs, "seed": seed})
    if not base.file("feasible.json").exists():
        for stage in (plan, profile, fit, feasible):
            stage.run_stage(base)
        base.write("compute.json", asdict(toy_chain.COMPUTE))
    path = out / f"{method}-{seed}"
    if not path.exists():
        shutil.copytree(base.path, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
    run = open_run(path, {"method": method})
    search_stage.run_stage(run)
    return run


def pick(trials: Sequence[Record]) -> Arch:
    """What a search returns: the first of the highest quality by the super-network."""
    return tuple(max(trials, key=quality)["arch"])


def scratch_accuracy(budget: Budget, truth: Values, seed: int, networks: int) -> float:
    """What the best of so many random networks gets on average, each trained from scratch once.

    Chosen by one training, told by all: the best of a few by one is not quite the best.
    """
    rng, by_seed = random.Random(f"scratch/{seed}"), toy_chain.accuracies()
    allowed = [arch for arch in truth if budget.holds(arch)]
    picks = []
    for _ in range(DRAWS):
        drawn = rng.sample(allowed, networks)
        picks.append(truth[max(drawn, key=lambda arch: rng.choice(by_seed[arch]))])
    return statistics.fmean(picks)


# What came out


def print_markdown(records: Sequence[Record]) -> None:
    """A table a space and length of training. Differences are in points, with 95 % intervals over the seeds."""
    for space, epochs in dict.fromkeys((r["space"], r.get("epochs")) for r in records):
        mine = [r for r in records if (r["space"], r.get("epochs")) == (space, epochs)]
        trained = f", {epochs} epochs" if epochs else ""
        print(f"\n{space}{trained}: {len({r['seed'] for r in mine})} seeds, {mine[0]['evaluations']} evaluations")
        print(
            "\n| method | in the top 5 % | better networks, median | accuracy | above random search | beats it |",
            end="",
        )
        has_scratch = "scratch_accuracy" in mine[0]
        print(" above training from scratch | beats it | tau |" if has_scratch else "")
        print("|" + "---|" * (9 if has_scratch else 6))
        for method in dict.fromkeys(r["method"] for r in mine):
            print("|", " | ".join(row(method, [r for r in mine if r["method"] == method], mine)), "|")


def row(method: str, records: Sequence[Record], all_records: Sequence[Record]) -> list[str]:
    """The cells of one method."""
    top = sum(r["better_share"] <= TOP for r in records)
    share, accuracy = (statistics.median(r["better_share"] for r in records), [r["accuracy"] for r in records])
    cells = [method, f"{top} of {len(records)}", f"{100 * share:.1f} %", f"{100 * statistics.fmean(accuracy):.2f}"]
    by_chance = {r["seed"]: r["accuracy"] for r in all_records if r["method"] == "random"}
    cells += compared(method, [r["accuracy"] - r.get("random_accuracy", by_chance.get(r["seed"])) for r in records])
    if "scratch_accuracy" in records[0]:
        cells += compared("", [r["accuracy"] - r["scratch_accuracy"] for r in records])
        cells.append(f"{statistics.fmean(r['tau'] for r in records):.2f}")
    return cells


def compared(method: str, differences: Sequence[float]) -> list[str]:
    """The mean difference with its interval, and whether all of that is above 0."""
    if method == "random":
        return ["-", "-"]
    low, high = mean_interval(differences)
    told = f"{100 * statistics.fmean(differences):+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
    return [told, "yes" if low > 0 else "no"]


if __name__ == "__main__":
    main()
