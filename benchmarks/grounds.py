"""Where super-networks meet the truth: spaces all of whose networks were trained, and a run of a method in them.

For ground_truth.py. A run is that of `hwnas search`, with the latencies of the fake device.
"""

import itertools
import math
import random
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import toy_chain
from supernets import write_subset
from truth import TABLES, Values

from hwnas.latency import kendall_tau
from hwnas.nn import Compute
from hwnas.objective import quality
from hwnas.search import METHODS, Budget, Paths, Probabilities, by_preference, tie_width
from hwnas.spaces import Arch, Space
from hwnas.stages import feasible, fit, plan, profile
from hwnas.stages import search as search_stage
from hwnas.stages.limits import load_limits
from hwnas.stages.run import Run, open_run
from hwnas.storage import Record
from hwnas.supernet import PATH_SAMPLERS

DRAWS = 2000
CHAIN = "nas_bench_macro"
CHAIN_IMAGES = {"images": 5000, "held_out": 2000}  # of CIFAR-10: to train on, and to choose by
ONE_PATH = ("two_paths", "reinforce", "controller", "hard_gumbel")  # what a weight step runs; others run all choices
SHRINKING_PATHS = 2  # of a step, in the mean over its phases


@dataclass(frozen=True)
class Ground:
    """A space, what its networks truly get, and how a method is run in it."""

    name: str
    accuracy: Values
    options: Mapping[str, object]  # of `hwnas`
    compute: Compute
    epochs: int  # of a super-network
    at_equal_cost: bool  # whether a method that runs several paths a step has so much fewer epochs
    by_training: Mapping[Arch, Sequence[float]]  # accuracies of single trainings; empty where only means are known
    network_epochs: int = 0  # of one of these

    def epochs_of(self, space: Space, method: str) -> int:
        """Of the method's super-network; at least one."""
        return max(1, self.epochs // paths_of(space, method)) if self.at_equal_cost else self.epochs


def paths_of(space: Space, method: str) -> int:
    """How many networks a weight step of a method trains, as near as a whole number tells."""
    trains = METHODS[method].trains
    if isinstance(trains, Paths):
        return len(PATH_SAMPLERS[trains.sampler](space, random.Random(0), lambda arch: 1.0))
    if isinstance(trains, Probabilities):
        return 1 if trains.relaxation in ONE_PATH else max(len(d.choices) for d in space.decisions)
    return SHRINKING_PATHS


def toy(epochs: int) -> Ground:
    """256 networks on digits, each trained twice (toy_chain.py)."""
    by_training = toy_chain.accuracies()
    options = {**toy_chain.OPTIONS, "population": 8, "generations": 3, "recalibration_batches": 2}
    accuracy = {arch: statistics.fmean(found) for arch, found in by_training.items()}
    return Ground(toy_chain.NAME, accuracy, options, toy_chain.COMPUTE, epochs, False, by_training, toy_chain.EPOCHS)


def chain(data: Path, out: Path, epochs: int) -> Ground:
    """NAS-Bench-Macro's published accuracies, and super-networks of a quarter of its width on CIFAR-10 at 16 pixels."""
    images = out / "images.npz"
    if not images.exists():
        write_subset(data / "cifar10_jpeg/cifar10_jpeg.npz", images, **CHAIN_IMAGES)
    options = {
        **{"data": str(images), "on": "fake", "space": CHAIN, "resolution": 16, "width_mult": 0.25, "batch_size": 64},
        **{"budget_of_median": 0.9, "population": 12},
    }
    compute = Compute("cpu", channels_last=True)
    return Ground(f"{CHAIN}, images", TABLES[CHAIN](data).accuracy, options, compute, epochs, True, {})


def found_by(ground: Ground, out: Path, method: str, seed: int) -> Record:
    """What a method returns: true accuracy of its pick and of that of its random candidates, tau, and CPU seconds.

    These are nan where an interrupted search went on.
    """
    path = run_path(out, method, seed)
    goes_on, base = path.exists(), prepared(ground, out, seed)
    start_s = time.process_time()
    run = searched(ground, base, path, method)
    cpu_s = math.nan if goes_on else time.process_time() - start_s
    budget, trials = load_limits(run, run.space), run.journal("trials.jsonl").records
    drawn = [t for t in trials if t["strategy"] == "random"]
    own = [t for t in trials if t["strategy"] != "random"] or drawn
    order = [(quality(t), ground.accuracy[tuple(t["arch"])]) for t in drawn]
    told = {"epochs": ground.epochs, "evaluations": len(own), "cpu_s": cpu_s, "tau": kendall_tau(*np.array(order).T)}
    if ground.by_training:
        networks = ground.epochs // ground.network_epochs
        told["scratch_accuracy"] = scratch_accuracy(budget, ground, seed, networks)
    width = tie_width(drawn, run.config.tie_share)
    found, by_chance = (ground.accuracy[pick(candidates, width)] for candidates in (own, drawn))
    within = [accuracy for arch, accuracy in ground.accuracy.items() if budget.holds(arch)]
    return {**told, "accuracy": found, "random_accuracy": by_chance, **ranked(found, within)}


def run_path(out: Path, method: str, seed: int) -> Path:
    """Where a method's run is."""
    return out / f"{method}-{seed}"


def prepared(ground: Ground, out: Path, seed: int) -> Run:
    """What the runs of all methods begin with: a run up to the budget."""
    base = open_run(out / f"base{seed}", {**ground.options, "seed": seed})
    if not base.file("feasible.json").exists():
        for stage in (plan, profile, fit, feasible):
            stage.run_stage(base)
        base.write("compute.json", asdict(ground.compute))
    return base


def searched(ground: Ground, base: Run, path: Path, method: str) -> Run:
    """A run up to the end of the search."""
    if not path.exists():
        shutil.copytree(base.path, path.with_suffix(".part"), dirs_exist_ok=True)
        path.with_suffix(".part").rename(path)
    run = open_run(path, {"method": method, "supernet_epochs": ground.epochs_of(base.space, method)})
    search_stage.run_stage(run)
    return run


def clear(out: Path, method: str, seed: int) -> None:
    """Removes a run, under a name that no other call takes for one."""
    gone = run_path(out, method, seed).with_suffix(".done")
    run_path(out, method, seed).rename(gone)
    shutil.rmtree(gone)


def pick(trials: Sequence[Record], width: float) -> Arch:
    """What a search returns, as `hwnas select` takes it. width: of likelihoods that tie."""
    return tuple(by_preference(trials, width)[0]["arch"])


def ranked(accuracy: float, accuracies: Sequence[float]) -> Record:
    """Which share of the networks within the limit is better."""
    return {"better_share": sum(other > accuracy for other in accuracies) / len(accuracies)}


def scratch_accuracy(budget: Budget, ground: Ground, seed: int, networks: int) -> float:
    """What the best of so many random networks gets on average, each trained from scratch once.

    Chosen by one training, told by all: the best of a few by one is not quite the best.
    """
    rng = random.Random(f"scratch/{seed}")
    allowed = [arch for arch in ground.accuracy if budget.holds(arch)]
    picks = []
    for _ in range(DRAWS):
        drawn = rng.sample(allowed, networks)
        picks.append(ground.accuracy[max(drawn, key=lambda arch: rng.choice(ground.by_training[arch]))])
    return statistics.fmean(picks)


def missing(
    records: Sequence[Record], space: str, methods: Sequence[str], seeds: int, epochs: int | None = None
) -> Iterator[tuple[str, int]]:
    """What is not recorded yet, all methods of one seed before the next seed. epochs: of a super-network."""
    done = {(r["method"], r["seed"]) for r in records if (r["space"], r.get("epochs")) == (space, epochs)}
    todo = [pair[::-1] for pair in itertools.product(range(seeds), methods) if pair[::-1] not in done]
    for number, (method, seed) in enumerate(todo, start=1):
        print(f"{space}: {method}, seed {seed}, {number} of {len(todo)}", flush=True)
        yield method, seed
