"""Networks across the super-network's accuracies, trained from scratch: does it rank them as training does?"""

import itertools
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwnas.datasets import Splits
from hwnas.latency import kendall_tau
from hwnas.nn import Compute
from hwnas.search.evidence import kendall_interval
from hwnas.spaces import Arch, Space, macs
from hwnas.stages.config import FEWEST_RANKED, RunConfig
from hwnas.stages.finals import in_order, needed_front
from hwnas.stages.progress import progress
from hwnas.stages.run import Run, say
from hwnas.stages.train import affordable_epochs, checkpoint_name, record_of, train_from_scratch
from hwnas.storage import Journal, Record, read_json
from hwnas.supernet import PathJudge

COST_SHARE = 1.0  # of the best candidate's training, that all networks together may cost where no option says more
DRAWN_PER_NETWORK = 4  # networks drawn from the space for each one that is trained
DRAWS = 50  # tries per network to be drawn, as all are to be different


def ranking(run: Run, paths: PathJudge, splits: Splits) -> Record:
    """Kendall's tau between the super-network's likelihood and standalone accuracy, its interval, and the networks.

    Where too little is allowed for it, or it tells nothing, `why` instead of tau.
    """
    space = run.space
    drawn = draws(run, space)
    if len(drawn) < FEWEST_RANKED:
        return {"why": f"{space.name} has {space.size} networks, too few for an order"}
    chosen = spread(candidates(run, drawn, paths), run.config.rank_networks)
    best, macs_of = in_order(needed_front(run))[0], [macs(space.ops(tuple(n["arch"]))) for n in chosen]
    epochs = run.config.rank_epochs or affordable_epochs(run, best, macs_of, COST_SHARE / run.config.rank_trainings)
    if not epochs:
        return {"why": _too_dear(run.config, len(chosen))}
    titled = [(f"network {number} of {len(chosen)}", found) for number, found in enumerate(chosen, start=1)]
    networks = [_trained(run, title, found, epochs, splits, paths.compute) for title, found in titled]
    return {**order(networks, epochs), "epochs": epochs, "networks": networks}


def order(networks: Sequence[Record], epochs: int) -> Record:
    """Kendall's tau and its interval; `why` instead where training told no network from another."""
    supernet, alone = (np.array([n[key] for n in networks]) for key in ("supernet_likelihood", "test_accuracy"))
    if len(set(alone)) == 1:
        return {
            "why": f"all {len(networks)} networks have a test accuracy of {alone[0]:.4f} after {epochs} epochs, which "
            f"is no order: `hwnas trust --out RUN --rank-epochs {2 * epochs}` trains them for longer"
        }
    low, high = kendall_interval(supernet, alone)
    return {"tau": kendall_tau(supernet, alone), "low": low, "high": high, **agreement(networks)}


def _too_dear(config: RunConfig, networks: int) -> str:
    times = f", trained {config.rank_trainings} times," if config.rank_trainings > 1 else ""
    return (
        f"an epoch of each of {networks} networks{times} costs more than the winner's training of "
        f"{config.train_epochs} epochs: `hwnas trust --out RUN --rank-epochs 1` trains them all the same"
    )


def agreement(networks: Sequence[Record]) -> Record:
    """`agreement`: Kendall's tau between two trainings' orders, the mean over all pairs; empty where there was one."""
    orders = np.array([network["test_accuracies"] for network in networks]).T
    pairs = [kendall_tau(one, other) for one, other in itertools.combinations(orders, 2)]
    return {"agreement": statistics.fmean(pairs)} if pairs else {}


def earlier(run: Run) -> Record:
    """What was measured before of the same super-network; empty where nothing was."""
    path, candidates_of = run.file("trust.json"), run.journal("trust/candidates.jsonl").records
    found = dict(read_json(path)["ranking"]) if path.exists() else {}
    last = run.journal("supernet.jsonl").records[-1:]
    is_same = {record["supernet_loss"] for record in candidates_of} == {epoch["loss"] for epoch in last}
    return {key: value for key, value in found.items() if key != "verdict"} if "tau" in found and is_same else {}


def draws(run: Run, space: Space) -> list[Arch]:
    """Different random networks of the whole space, several for each that is trained."""
    rng, count = random.Random(f"trust/{run.config.seed}"), DRAWN_PER_NETWORK * run.config.rank_networks
    return list(dict.fromkeys(space.sample(rng) for _ in range(DRAWS * count)))[:count]


def candidates(run: Run, drawn: list[Arch], paths: PathJudge) -> list[Record]:
    """Networks as the super-network judges them, from `trust/candidates.jsonl`."""
    journal, loss = run.journal("trust/candidates.jsonl"), run.journal("supernet.jsonl").records[-1]["loss"]
    if any(r["supernet_loss"] != loss or "supernet_likelihood" not in r for r in journal.records):
        say(f"{journal.path} is of another super-network: evaluated again")
        journal.clear()
    _evaluate(drawn, paths, loss, journal)
    return journal.records[: len(drawn)]


def _evaluate(drawn: list[Arch], paths: PathJudge, loss: float, journal: Journal) -> None:
    with progress("the super-network's judgement across the space") as report:
        for number in range(len(journal.records), len(drawn)):
            judged = {f"supernet_{name}": value for name, value in paths(drawn[number])._asdict().items()}
            journal.append({"arch": list(drawn[number]), **judged, "supernet_loss": loss})
            report(number + 1, len(drawn), "")


def spread(found: list[Record], count: int) -> list[Record]:
    """So many of them, from the least to the most likely in even steps of rank."""
    ordered = sorted(found, key=lambda record: float(record["supernet_likelihood"]))
    count = min(count, len(ordered))
    return [ordered[round(i * (len(ordered) - 1) / (count - 1))] for i in range(count)]


def _trained(run: Run, title: str, found: Record, epochs: int, splits: Splits, compute: Compute) -> Record:
    """A candidate with what it gets by itself, the mean over its trainings; finished ones are read from checkpoints."""
    network = record_of(run, found["arch"])
    stem, count, trainings = f"trust/{checkpoint_name(network)}-e{epochs}", run.config.rank_trainings, []
    for number in range(count):
        seeded = Run(run.path, replace(run.config, seed=run.config.seed + number))  # weights, and order of the images
        of_several = (f"-t{number + 1}" if number else "", f", training {number + 1} of {count}" if count > 1 else "")
        own_stem, own_title = stem + of_several[0], title + of_several[1]
        trainings.append(train_from_scratch(seeded, network, own_stem, epochs, own_title, splits, compute))
    means = {key: statistics.fmean(t[key] for t in trainings) for key in ("search_accuracy", "test_accuracy")}
    judged = {name: found[name] for name in ("supernet_accuracy", "supernet_likelihood")}
    each = {"test_accuracies": [training["test_accuracy"] for training in trainings]}
    told = {"test_images": trainings[0]["test_images"], "seconds": sum(t["seconds"] for t in trainings)}
    return {"arch": found["arch"], **judged, **means, **each, **told}
