"""What the search finds against what one would use otherwise, at the same measured latency and with one recipe.

python benchmarks/accuracy.py --out runs/accuracy [--schedule cpu|gpu] [--seeds 0 1 2] [--minutes 8] [--figure FILE.svg]

Every combination of data set, budget and seed is a run of `hwnas` with baselines; budgets of one seed share latency
table and super-network. On a machine with a GPU and without the export packages, after the stages before it were run
elsewhere and RUN carried there: --stages search, and again --stages train. results.jsonl under --out has a line a
network; what is there is not run again. Ends with tables in Markdown.
"""

import argparse
import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
from pieces import Clock, TimeIsUp, still_to_do
from runs import (
    PREPARED,
    SEARCHED,
    STAGES,
    add_arguments,
    begin_with,
    chosen_stages,
    first_images,
    is_done,
    run_stages,
    seconds_of,
)
from scipy.stats import t

from hwnas.report import read_findings
from hwnas.report.findings import LABELS, in_time
from hwnas.report.plots import COLORS
from hwnas.search.evidence import difference_interval
from hwnas.search.methods import DEFAULT_METHOD, METHODS
from hwnas.storage import Journal, Record, exclusive

BUDGETS = (0.5, 0.8)  # of the median network
BASELINES = ("mobilenet_v2", "mobilenet_v3_large", "proxyless_mobile", "fbnet_c")
SETS = {"cifar10": "cifar10_jpeg/cifar10_jpeg.npz", "imagenette": "imagenette_96/imagenette_96_jpeg.npz"}
IMAGES = {"cpu": {"cifar10": (20_000, 10_000)}, "gpu": {}}  # of the training and of the test part; else all
SCHEDULES = {  # supernet_epochs: of one network a step
    "cpu": {
        "cifar10": {"supernet_epochs": 4, "train_epochs": 3, "resolution": 32},
        "imagenette": {"supernet_epochs": 12, "train_epochs": 8, "resolution": 64},
    },
    "gpu": {
        "cifar10": {"supernet_epochs": 120, "train_epochs": 80, "resolution": 32, "batch_size": 256},
        "imagenette": {"supernet_epochs": 240, "train_epochs": 160, "resolution": 96, "batch_size": 128},
    },
}
CANDIDATES = {"cpu": {"population": 12, "generations": 3}, "gpu": {"population": 50, "generations": 10}}


@dataclass(frozen=True)
class Setting:
    """One run."""

    data: str
    budget: float
    seed: int

    def path(self, out: Path) -> Path:
        return out / f"{self.data}-{self.budget:g}-seed{self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)), help="shares of the median latency")
    parser.add_argument(
        "--method",
        choices=sorted(METHODS),
        default=DEFAULT_METHOD,
        help="of the search; sandwich has a fourth of the epochs",
    )
    parser.add_argument("--budget-use", type=float, help="least share of the budget that candidates use; hwnas' own")
    parser.add_argument("--baselines", default=",".join(BASELINES), help="published networks, by commas")
    parser.add_argument("--figure", type=Path, help="where to write the figure; wants kaleido and a Chrome")
    options = parser.parse_args()
    clock = Clock(options.minutes)
    with exclusive(options.out):
        results = Journal(options.out / "results.jsonl")
        try:
            for setting in still_to_do(settings(options), results.records):
                complete(clock, options, setting, results)
        except TimeIsUp:
            print("the time is up; the same command goes on")
        print_markdown(results.records)
        if options.figure:
            figure(results.records).write_image(options.figure)


def settings(options: argparse.Namespace) -> Iterator[Setting]:
    """All seeds of one budget before the next one: what is there can then be told with its spread."""
    budgets = [float(budget) for budget in options.budgets.split(",")]
    for budget, seed, data in itertools.product(budgets, options.seeds, options.sets.split(",")):
        yield Setting(data, budget, seed)


def complete(clock: Clock, options: argparse.Namespace, setting: Setting, results: Journal) -> None:
    """Runs what is missing, and appends what came of it once all is there."""
    out, stages = setting.path(options.out), chosen_stages(options.stages)
    for other in sorted(options.out.glob(f"{setting.data}-*-seed{setting.seed}")):
        if other != out and is_done(other, "search") and not out.exists():
            begin_with(other, out, (*PREPARED, *SEARCHED))
    run_stages(clock, out, stages, run_options(options, setting))
    if is_done(out, STAGES[-1]):
        for record in outcome(out, setting, options.schedule):
            results.append(record)


def run_options(options: argparse.Namespace, setting: Setting) -> dict[str, object]:
    """What the run's first command gets."""
    data = options.data / SETS[setting.data]
    if counts := IMAGES[options.schedule].get(setting.data):
        data = first_images(data, options.out / f"{setting.data}-{counts[0]}.npz", *counts)
    schedule = SCHEDULES[options.schedule][setting.data]
    return {
        "data": data,
        "method": options.method,
        "budget_of_median": setting.budget,
        "seed": setting.seed,
        "baselines": options.baselines,
        **({} if options.budget_use is None else {"budget_use": options.budget_use}),
        **schedule,
        "supernet_epochs": schedule["supernet_epochs"] // METHODS[options.method].paths,
        **CANDIDATES[options.schedule],
    }


# What came out


def outcome(out: Path, setting: Setting, schedule: str) -> Iterator[Record]:
    """A record a network, as measured beside each other and tested on the same images."""
    found, took = read_findings(out), seconds_of(out)
    for label, network, trained in found.networks:
        yield {
            **{"data": setting.data, "budget": setting.budget, "seed": setting.seed, "schedule": schedule},
            **{"network": label, "budget_ms": found.budget_ms, "measured_ms": found.latency_ms(label)},
            **{name: trained[name] for name in ("test_accuracy", "test_images", "epochs", "seconds", "checkpoint")},
            **{name: network[name] for name in ("macs", "params", "predicted_ms", "choices")},
            **({"stages_s": took, "machine": found.events[-1].get("machine")} if label == "winner" else {}),
        }


def print_markdown(records: Sequence[Record]) -> None:
    """A table for each data set and budget, and one of what the stages took."""
    for data, budget in dict.fromkeys((r["data"], r["budget"]) for r in records):
        mine = [r for r in records if (r["data"], r["budget"]) == (data, budget)]
        seeds = sorted({r["seed"] for r in mine})
        print(
            f"\n{data}, {mine[0]['schedule']} schedule, budget {budget:g} of the median network; seeds {seeds}, "
            f"{mine[0]['epochs']} epochs, {mine[0]['test_images']} test images\n"
        )
        print(
            "| network | test accuracy | searched above it, points | measured / the winner's | multiply-adds | train |"
        )
        print("|---|---|---|---|---|---|")
        for label in dict.fromkeys(r["network"] for r in mine):
            print("|", " | ".join(row(label, mine)), "|")
    print_costs([r for r in records if r["network"] == "winner"])


def row(label: str, records: Sequence[Record]) -> list[str]:
    """The cells of one network, over the seeds."""
    mine = {r["seed"]: r for r in records if r["network"] == label}
    winners = {r["seed"]: r for r in records if r["network"] == "winner"}
    accuracies = [100 * r["test_accuracy"] for r in mine.values()]
    ratios = [r["measured_ms"] / winners[seed]["measured_ms"] for seed, r in mine.items()]
    spread = f" ({min(accuracies):.1f} to {max(accuracies):.1f})" if len(accuracies) > 1 else ""
    return [
        LABELS[label],
        f"{statistics.fmean(accuracies):.1f} %{spread}",
        "-" if label == "winner" else above(list(winners.values()), list(mine.values())),
        ", ".join(f"{ratio:.3f}" for ratio in ratios),
        f"{statistics.fmean(r['macs'] for r in mine.values()) / 1e6:.1f} M",
        in_time(statistics.fmean(r["seconds"] for r in mine.values())),
    ]


def above(winners: Sequence[Record], others: Sequence[Record]) -> str:
    """The mean difference with its 95 % interval: Student's over several seeds, or that of the test images."""
    pairs = list(zip(winners, others, strict=True))
    if all(winner["checkpoint"] == other["checkpoint"] for winner, other in pairs):
        return "the same network"
    differences = [a["test_accuracy"] - b["test_accuracy"] for a, b in pairs]
    if len(pairs) > 1:
        half = float(t.ppf(0.975, len(pairs) - 1)) * statistics.stdev(differences) / len(pairs) ** 0.5
        low, high = statistics.fmean(differences) - half, statistics.fmean(differences) + half
    else:
        ((a, b),) = pairs
        low, high = difference_interval(a["test_accuracy"], b["test_accuracy"], a["test_images"])
    return f"{100 * statistics.fmean(differences):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def print_costs(winners: Sequence[Record]) -> None:
    """What every stage took, and the search as a multiple of the winner's training."""
    if not winners:
        return
    stages = list(winners[0]["stages_s"])
    print("\n| run |", " | ".join(stages), "| winner's training | search / that |")
    print("|" + "---|" * (len(stages) + 3))
    for winner in winners:
        took = [in_time(winner["stages_s"].get(stage, 0)) for stage in stages]
        share = winner["stages_s"]["search"] / winner["seconds"]
        name = f"{winner['data']} {winner['budget']:g} seed {winner['seed']}"
        print("|", " | ".join([name, *took, in_time(winner["seconds"]), f"{share:.2f}"]), "|")


def figure(records: Sequence[Record]) -> go.Figure:
    """Accuracy against measured latency: a point a network and seed, all at the winner's budget."""
    found = go.Figure(layout={"template": "plotly_white", "width": 900, "height": 480})
    for label in dict.fromkeys(r["network"] for r in records):
        mine = [r for r in records if r["network"] == label]
        found.add_scatter(
            x=[r["measured_ms"] for r in mine],
            y=[100 * r["test_accuracy"] for r in mine],
            **{"mode": "markers", "name": LABELS[label]},
            marker={"color": COLORS[LABELS[label]], "size": 13 if label == "winner" else 10},
        )
    found.update_xaxes(title="measured latency, ms")
    found.update_yaxes(title="test accuracy, %")
    return found


if __name__ == "__main__":
    main()
