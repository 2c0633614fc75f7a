"""Finalists: the best candidates, each trained for a while: a super-network hardly tells the best from each other."""

import math
import statistics
from collections.abc import Sequence

from hwnas.datasets import Splits
from hwnas.errors import UserError
from hwnas.nn import Compute, Network
from hwnas.objective import Objective, worth
from hwnas.search import by_preference, tie_width
from hwnas.search.evidence import HARDLY, known_share
from hwnas.stages.config import option
from hwnas.stages.run import Run, say
from hwnas.stages.train import affordable_epochs, checkpoint_name, record_of, seconds_of, trained_alone
from hwnas.storage import Record
from hwnas.train import Judged, corrupted, shared_judged, unchanged

COST_SHARE = 1.0  # of the best candidate's training, that all finalists together may cost; an epoch each at least
RANDOM = "random"
NEITHER: Record = {"finalists": {"asked": 1, "networks": []}, "ties": {"asked": None, "all": [], "random": []}}


def finals(
    run: Run, trials: Sequence[Record], objective: Objective | None, splits: Splits, compute: Compute
) -> list[Record]:
    """Those that `--finalists` asks for, the best by training first; none where there is nothing to choose.

    Each is its trial, with `strategies`: those that found it, and `alone`: accuracy and likelihood on the search part,
    epochs and seconds. objective: what a network is worth, where that decides which is delivered.
    """
    chosen = finalists(trials, run.config.finalists, width_of_ties(run, trials)) if run.config.finalists > 1 else []
    if len(chosen) < 2:
        return []
    epochs = max(1, affordable_epochs(run, chosen[0], [trial["macs"] for trial in chosen], COST_SHARE))
    cost = epochs * sum(trial["macs"] for trial in chosen) / (run.config.train_epochs * chosen[0]["macs"])
    say(
        f"{len(chosen)} finalists, each trained for {epochs} of {run.config.train_epochs} epochs: {cost:.2g} times the "
        "training of the super-network's first"
    )
    found = []
    for number, trial in enumerate(chosen, start=1):
        alone = _trained(run, trial, f"finalist {number} of {len(chosen)}", epochs, splits, compute)
        valued = {"worth": objective({**trial, **alone})[0]} if objective else {}
        found.append({**trial, "alone": {**alone, **valued}})
    ordered = sorted(found, key=lambda finalist: worth(finalist["alone"]), reverse=True)
    best, place = ordered[0]["alone"], 1 + sorted(found, key=worth, reverse=True).index(ordered[0])
    say(f"the best of them, {best['accuracy']:.4f} on the search part, is number {place} of them by the super-network")
    if known_share(best["likelihood"], len(splits.classes)) < HARDLY:
        say("none of them knows more than a guess yet, so their order is chance: more --train-epochs train them longer")
    return ordered


def width_of_ties(run: Run, trials: Sequence[Record]) -> float | None:
    """As `tie_width`; None where an objective says what a network is worth, or multiply-adds are limited themselves.

    Of networks that take as long the one that computes more is the better guess; of those that compute as much none is.
    """
    if run.config.objectives or run.config.max_million_macs is not None:
        return None
    return tie_width([trial for trial in trials if trial["strategy"] == RANDOM], run.config.tie_share)


def finalists(trials: Sequence[Record], count: int, width: float | None = None) -> list[Record]:
    """So many of the method's own candidates and as many random ones, each once, in the order of `by_preference`."""
    chosen: list[tuple[int, ...]] = []
    for is_random in (False, True):
        own = by_preference([t for t in trials if (t["strategy"] == RANDOM) == is_random], width)
        chosen += list(dict.fromkeys(tuple(trial["arch"]) for trial in own))[:count]
    found: dict[tuple[int, ...], Record] = {}
    for trial in by_preference(trials, width):
        arch = tuple(trial["arch"])
        if arch in chosen:
            found.setdefault(arch, {**trial, "strategies": []})["strategies"].append(trial["strategy"])
    return list(found.values())


def _trained(run: Run, trial: Record, title: str, epochs: int, splits: Splits, compute: Compute) -> Record:
    """What a finalist makes of the search part by itself; one that was trained before is read from its checkpoint."""
    network = record_of(run, trial["arch"])
    lr = run.recipe(epochs, run.config.lr, splits).lr  # may be lowered after a training that diverged
    stem = f"finals/{checkpoint_name(network)}-e{epochs}-lr{lr:g}"
    module, training = trained_alone(run, network, stem, epochs, title, splits, compute)
    judged = _judged(run, module, splits, compute)
    return {**judged._asdict(), "epochs": epochs, "seconds": seconds_of(training)}


def _judged(run: Run, module: Network, splits: Splits, compute: Compute) -> Judged:
    """As candidates are judged by the super-network: with `--robust`, by corrupted images as well."""
    changes = (unchanged, corrupted) if run.config.robust else (unchanged,)
    found = [shared_judged(module, splits.search, run.config.resolution, compute, change) for change in changes]
    accuracies, likelihoods = zip(*found, strict=True)
    return Judged(statistics.fmean(accuracies), math.prod(likelihoods) ** (1 / len(likelihoods)))


def in_order(front: Record, at_random: bool = False) -> list[Record]:
    """What is to be measured, the best first, of `front.json`: finalists, ties, then the Pareto front of all trials.

    at_random: only what random search found.
    """
    first = [t for t in front["finalists"]["networks"] if not at_random or RANDOM in t["strategies"]]
    ties, rest = front["ties"]["random" if at_random else "all"], front["random_front" if at_random else "front"]
    by_arch: dict[tuple[int, ...], Record] = {}
    for trial in [*first, *ties, *rest]:
        by_arch.setdefault(tuple(trial["arch"]), trial)
    return list(by_arch.values())


def needed_front(run: Run) -> Record:
    """`front.json`; UserError where its order is not that of the run's options."""
    front = {**NEITHER, **run.needs("front.json", "search")}  # what an earlier version wrote had neither
    for name, key in (("finalists", "finalists"), ("tie_share", "ties")):
        now, asked = getattr(run.config, name), front[key]["asked"]
        if asked not in (now, None):
            raise UserError(
                f"{option(name)} is {now}, and {run.file('front.json')} was written with {asked}; run "
                f"`hwnas search --out {run.path}` first"
            )
    return front
