"""Does a super-network rank networks as training each of them does? Asked where every network's accuracy is published.

python benchmarks/rank.py --schedule cpu --out runs/rank     # a sampler in about 8 minutes of one core
python benchmarks/rank.py --schedule gpu --out runs/rank     # all images, 60 epochs, 1,000 networks

Trains the super-network of NAS-Bench-Macro (--space nas_bench_201: of NAS-Bench-201) on CIFAR-10 by every path sampler
of `hwnas search`, all with equally many path-steps, asks it for likelihood and accuracy of random, different networks
on images held out, with and without batch norm recalibrated, and compares with the published accuracies. Then it
searches, without a limit and within the multiply-adds that 30 % of the networks keep, and looks up what was picked.

--data holds cifar10_jpeg/cifar10_jpeg.npz (jpeg, offset, label, is_test, classes) and the published tables. Results are
appended to results.jsonl in --out, a line for each sampler, seed and way of ranking; what is there is not run again, an
interrupted call goes on where it was. --minutes M stops in time, to be called again: the exit status is then 3.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from pieces import Clock, TimeIsUp
from scatter import Panel, write_svg
from scipy import stats
from supernets import (
    SAMPLERS,
    Asked,
    Place,
    Settings,
    Way,
    best_of,
    evolution,
    open_place,
    trained,
    true_rank,
)
from truth import TABLES, Truth

from hwnas.errors import UserError
from hwnas.latency import kendall_tau
from hwnas.nn.compute import Precision
from hwnas.objective import quality
from hwnas.search.evidence import Floats, Interval, bootstrap_interval, kendall_interval
from hwnas.spaces import Arch
from hwnas.storage import Journal, Record, exclusive

SCHEDULES = {
    "cpu": {
        **{"epochs": 60, "images": 12_500, "width_mult": 0.25, "resolution": 16, "batch_size": 64},
        **{"archs": 200, "evaluation_images": 2000, "population": 12},
    },
    "gpu": {
        **{"epochs": 60, "images": 0, "width_mult": 1.0, "resolution": 32, "batch_size": 256},
        **{"archs": 1000, "evaluation_images": 5000, "population": 50},
    },
}
GENERATIONS = 4  # as `hwnas search`
WAYS = (Way(), Way(by="accuracy"), Way(recalibrated=False))
LIMITS = {"any": 1.0, "limited": 0.3}  # which share of the networks keeps it
TOP = 0.2  # of the networks, by true accuracy: where a search has to choose
NOT_DONE = 3  # exit status


def main() -> int:
    options = parsed()
    clock = Clock(options.minutes)
    torch.set_num_threads(options.threads)
    settings = Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})
    truth = TABLES[options.space](options.data)
    with exclusive(options.out):
        settings.keep(options.out)
        journal = Journal(options.out / "results.jsonl")
        try:
            for seed in options.seeds:
                compare(truth, settings, options, seed, journal, clock)
        except TimeIsUp:
            print(f"stopped after {options.minutes} minutes; the same command goes on", flush=True)
            return NOT_DONE
        wanted = {"space": options.space, "archs": options.archs, "population": options.population}
        results = [r for r in journal.records if {name: r[name] for name in wanted} == wanted]
        print_markdown(results, truth, options.archs)
        if options.figure:
            draw(options.figure, truth, options, settings, results)
    return 0


def parsed() -> argparse.Namespace:
    """The options; a schedule only gives defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedule", choices=list(SCHEDULES), default="cpu")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--space", choices=list(TABLES), default="nas_bench_macro")
    parser.add_argument("--samplers", nargs="+", choices=list(SAMPLERS), default=list(SAMPLERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--figure", type=Path, help="an .svg: super-network against true accuracy")
    parser.add_argument("--minutes", type=float, help="stop before these are over")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lr", type=float, help="learning rate per 128 images; hwnas' own without it")
    parser.add_argument("--recalibration-batches", type=int, default=4)
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="of `hwnas search`")
    for name in ("epochs", "images", "archs", "evaluation-images", "resolution", "batch-size", "population"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--width-mult", type=float)
    known, _ = parser.parse_known_args()
    parser.set_defaults(**SCHEDULES[known.schedule])
    return parser.parse_args()


def compare(
    truth: Truth, settings: Settings, options: argparse.Namespace, seed: int, journal: Journal, clock: Clock
) -> None:
    """Appends what the journal lacks of a seed."""
    wanted = {"archs": options.archs, "population": options.population}
    done = {
        (r["space"], r["sampler"], r["seed"], r["by"], r["recalibrated"])
        for r in journal.records
        if {name: r[name] for name in wanted} == wanted
    }
    place = open_place(options.out, options.data, settings, seed)
    for sampler in options.samplers:
        missing = [way for way in WAYS if (settings.space, sampler, seed, way.by, way.recalibrated) not in done]
        if not missing:
            continue
        asked = Asked(trained(place, settings, sampler, clock), place.journal(sampler), clock)
        for way in missing:
            found = judged(truth, asked, way, wanted, seed)
            told = {"space": settings.space, "sampler": sampler, "seed": seed, **asdict(way)}
            journal.append({**told, **wanted, **training_of(place, sampler), **found})


def training_of(place: Place, sampler: str) -> Record:
    """What the training of a super-network was, and took."""
    epochs = Journal(place.run.file(f"{sampler}/supernet.jsonl")).records
    steps = len(place.splits.train.labels) // place.run.config.batch_size * len(epochs)
    told = {"epochs": len(epochs), "steps": steps, "images": len(place.splits.train.labels)}
    compute = {"device": place.compute.device, "bf16": place.compute.autocast}
    return {
        **told,
        "held_out": len(place.splits.search.labels),
        "train_s": sum(e["seconds"] for e in epochs),
        **compute,
    }


def judged(truth: Truth, asked: Asked, way: Way, wanted: dict[str, int], seed: int) -> Record:
    """How the super-network ranks, and what a search by it picks."""
    archs = drawn(truth, wanted["archs"])
    said = np.array([progress(asked, arch, way, n, len(archs)) for n, arch in enumerate(archs, start=1)])
    picks = {}
    for name, share in LIMITS.items():
        budget, population = truth.macs_budget(share), wanted["population"]
        strategy = evolution(budget, population, seed)
        (arch,) = best_of(strategy, budget, asked, way, population * GENERATIONS)
        picks[name] = true_rank(truth, budget, arch)
    ends = {"mean": float(said.mean()), "lowest": float(said.min()), "highest": float(said.max())}
    return {**agreement(truth, archs, said), "said": ends, **picks}


def agreement(truth: Truth, archs: Sequence[Arch], said: Floats) -> Record:
    """Of what is said of architectures with the truth, with 95 % intervals over the architectures."""
    true = np.array([truth.accuracy[arch] for arch in archs])
    top = true >= np.quantile(true, 1 - TOP)
    return {
        "tau": [kendall_tau(said, true), *kendall_interval(said, true)],
        "spearman": [spearman(said, true), *spearman_interval(said, true)],
        "tau_top": kendall_tau(said[top], true[top]),
    }


def progress(asked: Asked, arch: Arch, way: Way, number: int, count: int) -> float:
    """By which the super-network ranks, with a word now and then."""
    if number % 100 == 0:
        print(f"{asked.journal.path}: {number} of {count} networks", flush=True)
    return quality(asked.metrics(arch, way))


def drawn(truth: Truth, count: int) -> list[Arch]:
    """Random architectures, the same for every super-network, no two of which are one network."""
    archs = sorted(truth.accuracy)
    random.Random("rank").shuffle(archs)
    different = {truth.graphs[arch]: arch for arch in reversed(archs)}
    return [arch for arch in archs if different[truth.graphs[arch]] == arch][: count or None]


def spearman(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation."""
    ranked = [stats.rankdata(values) for values in (a, b)]
    if min(np.ptp(ranks) for ranks in ranked) == 0:  # an order of equal values agrees with none
        return 0.0
    return float(np.corrcoef(ranked)[0, 1])


def spearman_interval(a: Floats, b: Floats) -> Interval:
    """Networks drawn with replacement, 95 %."""
    return bootstrap_interval(len(a), lambda numbers: spearman(a[numbers], b[numbers]))


# What came out


def print_markdown(results: Sequence[Record], truth: Truth, archs: int) -> None:
    """A row for a sampler and recalibration: means over the seeds, the intervals' outermost ends.

    Before them what costs no training: the network of more multiply-adds is taken for the better one.
    """
    told = "without a limit, within one"
    print(f"\n| paths | ranked by | tau | Spearman | tau, top | picks' true accuracy: {told} | better networks |")
    print("|---|---|---|---|---|---|---|")
    print("|", " | ".join(row([by_macs(truth, drawn(truth, archs))])), "|")
    for key in dict.fromkeys(map(_of, results)):
        print("|", " | ".join(row([r for r in results if _of(r) == key])), "|")


def _of(result: Record) -> tuple[object, ...]:
    return result["sampler"], result["by"], result["recalibrated"]


def by_macs(truth: Truth, archs: Sequence[Arch]) -> Record:
    """As a result of `compare`."""
    (macs,) = truth.macs_budget(1.0).limits
    picks = {}
    for name, share in LIMITS.items():
        budget = truth.macs_budget(share)
        within = [arch for arch in truth.accuracy if budget.holds(arch)]
        picks[name] = true_rank(truth, budget, within[int(macs.of(within).argmax())])
    told = {"sampler": "none", "by": "multiply-adds", "recalibrated": True}
    return {**told, **agreement(truth, archs, macs.of(archs)), **picks}


def row(results: Sequence[Record]) -> list[str]:
    """The cells of a sampler and a way."""
    first = results[0]
    cells = [first["sampler"], first["by"] + ("" if first["recalibrated"] else ", batch norm as trained")]
    cells += [with_interval([r[name] for r in results]) for name in ("tau", "spearman")]
    cells.append(f"{np.mean([r['tau_top'] for r in results]):.2f}")
    for name, form in (("accuracy", "{:.2f}"), ("better_share", "{:.1f} %")):
        cells.append(", ".join(form.format(100 * np.mean([r[limit][name] for r in results])) for limit in LIMITS))
    return cells


def with_interval(found: Sequence[Sequence[float]]) -> str:
    """`0.71 (0.66 to 0.75)`."""
    values, lows, highs = zip(*found, strict=True)
    return f"{np.mean(values):.2f} ({min(lows):.2f} to {max(highs):.2f})"


def draw(path: Path, truth: Truth, options: argparse.Namespace, settings: Settings, results: Sequence[Record]) -> None:
    """A panel a sampler, of the first seed, recalibrated; what was picked is marked."""
    panels, archs, seed = [], drawn(truth, options.archs), options.seeds[0]
    place = open_place(options.out, options.data, settings, seed)
    for sampler in options.samplers:
        said = {tuple(r["arch"]): r["likelihood"] for r in place.journal(sampler).records if r["recalibrated"]}
        (result,) = [r for r in results if r["seed"] == seed and _of(r) == (sampler, WAYS[0].by, True)]
        picks = [tuple(result[limit]["arch"]) for limit in LIMITS]
        points = [said[arch] for arch in archs], [truth.accuracy[arch] for arch in archs]
        title = f"{sampler}, tau {result['tau'][0]:.2f}"
        panels.append(Panel(title, *points, [(said[arch], truth.accuracy[arch]) for arch in picks]))
    write_svg(path, panels, "super-network likelihood, %", "true accuracy, %")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
