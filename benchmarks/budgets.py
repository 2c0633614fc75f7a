"""Does a search land on the latency that was asked for? Predicted and measured latency of what is delivered.

python benchmarks/budgets.py --out runs/budgets [--schedule cpu|gpu] [--seeds 0] [--minutes 8]

Every method at five budgets, on the table and the predictor of one machine, measured first. Methods that train
probabilities search once a budget; one super-network trained by paths serves them all. In the end all networks that
were delivered are measured whole, in turn. results.jsonl under --out has a line a search, which is not run again.
"""

import argparse
import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
)

from hwnas.devices import load_profile
from hwnas.stages.networks import measured_in_turn_ms, network_of
from hwnas.stages.run import open_run
from hwnas.storage import Journal, Record, exclusive, read_json

FULL = 0.97  # of the budget that what is delivered has to use, where so much is asked
BUDGETS = (0.45, 0.6, 0.8, 1.0, 1.25)  # of the median network
SEARCHES = {  # what is told apart, and the options that make it
    "proxyless": {"method": "proxyless"},
    "proxyless-rl": {"method": "proxyless-rl"},
    "fbnet": {"method": "fbnet"},
    "spos": {"method": "spos"},
    "spos, tunas-absolute": {"method": "spos", "reward": "tunas-absolute"},
    "proxyless, full": {"method": "proxyless", "budget_use": FULL},
    "proxyless-rl, full": {"method": "proxyless-rl", "budget_use": FULL},
    "spos, full": {"method": "spos", "budget_use": FULL},
    "spos, full, mean": {"method": "spos", "budget_use": FULL, "confidence": 0.5},
}
ONE_FOR_ALL = ("spos", "spos, tunas-absolute", "spos, full", "spos, full, mean")  # share a super-network
IMAGES = {"cpu": (4000, 1000), "gpu": (50_000, 10_000)}  # of the training and of the test part
SCHEDULES = {
    "cpu": {"supernet_epochs": 18, "population": 12, "generations": 3, "recalibration_batches": 2},
    "gpu": {"supernet_epochs": 60, "population": 50, "generations": 10, "batch_size": 256},
}
SEARCH_STAGES = STAGES[: STAGES.index("select") + 1]


@dataclass(frozen=True)
class Setting:
    """One search."""

    search: str
    budget: float
    seed: int

    def path(self, out: Path) -> Path:
        return out / f"{self.search.replace(', ', '-')}-{self.budget:g}-seed{self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.set_defaults(seeds=[0])
    parser.add_argument("--only", default=";".join(SEARCHES), help="names with semicolons between")
    options = parser.parse_args()
    clock, stages = Clock(options.minutes), chosen_stages(options.stages)
    with exclusive(options.out):
        results, ends = Journal(options.out / "results.jsonl"), Journal(options.out / "measured.jsonl")
        try:
            for setting in still_to_do(settings(options), results.records):
                complete(clock, options, setting, stages, results)
            measure_all(options.out, results.records, ends)
        except TimeIsUp:
            print("the time is up; the same command goes on")
        print_markdown(results.records, {r["path"]: r["measured_ms"] for r in ends.records})


def settings(options: argparse.Namespace) -> Iterator[Setting]:
    for seed, search, budget in itertools.product(options.seeds, options.only.split(";"), BUDGETS):
        yield Setting(search, budget, seed)


def complete(
    clock: Clock, options: argparse.Namespace, setting: Setting, stages: Sequence[str], results: Journal
) -> None:
    """Runs what is missing of one search, and appends what it delivers."""
    out, given = setting.path(options.out), run_options(options, setting)
    if not out.exists():
        begin(clock, options, setting, out)
    run_stages(clock, out, [stage for stage in stages if stage in SEARCH_STAGES], given)
    if is_done(out, "select"):
        results.append(delivered(options.out, out, setting))


def begin(clock: Clock, options: argparse.Namespace, setting: Setting, out: Path) -> None:
    """A run with the table and the predictor that all share, and a super-network if another search has trained it."""
    base = options.out / f"base-seed{setting.seed}"
    run_stages(clock, base, STAGES[:3], run_options(options, setting))
    shared = [Setting(name, budget, setting.seed).path(options.out) for name in ONE_FOR_ALL for budget in BUDGETS]
    searched = [path for path in shared if setting.search in ONE_FOR_ALL and is_done(path, "search")]
    begin_with(searched[0] if searched else base, out, (*PREPARED, *(SEARCHED if searched else ())))


def run_options(options: argparse.Namespace, setting: Setting) -> dict[str, object]:
    """What the run's first command gets."""
    images = options.out / f"cifar10-{options.schedule}.npz"
    first_images(options.data / "cifar10_jpeg/cifar10_jpeg.npz", images, *IMAGES[options.schedule])
    common = {
        "data": images,
        "resolution": 32,
        "seed": setting.seed,
        "budget_of_median": setting.budget,
        "baselines": "none",
    }
    return {**common, **SCHEDULES[options.schedule], **SEARCHES[setting.search]}


def delivered(folder: Path, out: Path, setting: Setting) -> Record:
    """What the search predicted, and what `hwnas select` measured when it chose the winner.

    Methods that train probabilities also derive one network from them, the likeliest within the budget: their first
    candidate. Which of all candidates is delivered is up to the super-network, as with the other methods.
    """
    winner, feasible = read_json(out / "selection.json")["winner"], read_json(out / "feasible.json")
    trials = Journal(out / "trials.jsonl").records
    sampled = [t for t in trials if t["strategy"] == "sampled"]
    return {
        "derived_upper_ms": sampled[0]["latency_upper_ms"] if sampled else None,
        "upper_ms": next(t["latency_upper_ms"] for t in trials if t["arch"] == winner["arch"]),
        **{"search": setting.search, "budget": setting.budget, "seed": setting.seed},
        **{"path": str(out.relative_to(folder)), "budget_ms": feasible["budget_ms"]},
        **{name: winner[name] for name in ("predicted_ms", "measured_ms", "supernet_accuracy", "macs", "choices")},
        "too_slow": len(read_json(out / "selection.json")["attempts"]),
    }


def measure_all(folder: Path, records: Sequence[Record], ends: Journal) -> None:
    """All that was delivered, in turn, once there is something new: machines are not equally fast all the time."""
    paths = [r["path"] for r in records]
    if {r["path"] for r in ends.records} >= set(paths):
        return
    runs = [open_run(folder / path, {}) for path in paths]
    networks = [network_of(run, read_json(run.file("selection.json"))["winner"]) for run in runs]
    distinct = list(dict.fromkeys(networks))
    found = dict(zip(distinct, measured_in_turn_ms(load_profile(runs[0].config.on), distinct), strict=True))
    ends.clear()
    for path, network in zip(paths, networks, strict=True):
        ends.append({"path": path, "measured_ms": found[network]})


# What came out


def print_markdown(records: Sequence[Record], measured_ms: dict[str, float]) -> None:
    """A row a search and budget, and a summary of each search. Unused: a share of the budget, or its mean."""
    headings = ("budget", "its bound", "predicted", "measured when chosen", "measured in turn", "unused", "too slow")
    print("\n| search |", " | ".join(headings), "|")
    print("|---" * 8 + "|")
    for r in records:
        end_ms = measured_ms.get(r["path"])
        latencies_ms = (r["budget_ms"], r["upper_ms"], r["predicted_ms"], r["measured_ms"], end_ms)
        cells = [f"{ms:.4f} ms" if ms else "-" for ms in latencies_ms]
        unused = f"{100 * (1 - r['measured_ms'] / r['budget_ms']):+.1f} %"
        print("|", " | ".join([r["search"], *cells, unused, str(r["too_slow"])]), "|")
    print("\n| search | within the budget | up to 3 % above | unused: derived, bound | bound | predicted | measured |")
    print("|---|---|---|---|---|---|---|")
    for search in dict.fromkeys(r["search"] for r in records):
        mine = [r for r in records if r["search"] == search]
        ratios = [r["measured_ms"] / r["budget_ms"] for r in mine]
        kept, nearly = sum(x <= 1 for x in ratios), sum(x <= 1.03 for x in ratios)
        cells = [mean_unused(mine, name) for name in ("derived_upper_ms", "upper_ms", "predicted_ms", "measured_ms")]
        print("|", " | ".join([search, f"{kept} of {len(mine)}", f"{nearly} of {len(mine)}", *cells]), "|")


def mean_unused(records: Sequence[Record], name: str) -> str:
    """The mean share of the budget that a latency leaves unused."""
    shares = [1 - r[name] / r["budget_ms"] for r in records if r[name] is not None]
    return f"{100 * statistics.fmean(shares):.1f} %" if shares else "-"


if __name__ == "__main__":
    main()
