"""What of the search matters, by the true accuracy of what it picks? Asked of the super-networks that rank.py left.

python benchmarks/ablation.py --out runs/rank                # after benchmarks/rank.py --out runs/rank

NAS-Bench-Macro's networks within a latency that 30 % of them keep, predicted from this host's own table (profiled once:
seconds). The default is evolution with 100 candidates by likelihood, batch norm recalibrated, and the upper bound of
the predicted latency within the budget. One thing at a time is changed: these, the number of candidates, random search
instead of evolution, the mean of the prediction instead of its upper bound, and multiply-adds instead of latency. Each
search is done with --searches seeds; the true accuracy of its pick is looked up, so the effect is measured exactly.

With finalists the best few are trained and the best of these is picked: by one of the published trainings of each,
another for another seed of the search. The accuracy that is told is the mean of all, the difference of the others.

Whether a pick breaks the budget is told by the errors of calibration networks: half of them, drawn anew for every seed,
give the bound, the other half is what may happen. The path samplers have no warm-up but the learning rate's.

Results are appended to ablation.jsonl in --out, a line for each search; what is there is not run again, and each
network is asked for once. --minutes M stops in time, to be called again: the exit status is then 3.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pieces import Clock, TimeIsUp
from supernets import (
    SAMPLERS,
    Asked,
    Way,
    best_of,
    evolution,
    open_place,
    settings_in,
    trained,
    true_rank,
)
from truth import TABLES, WITHIN, Truth

from hwnas.errors import UserError
from hwnas.latency import RelativeErrors
from hwnas.latency.additive import AdditiveCost
from hwnas.latency.fitting import Fitted
from hwnas.search import TIE_SHARE, Budget, Limit, RandomSearch
from hwnas.search.evidence import Floats, mean_interval
from hwnas.search.methods import DEFAULT_METHOD
from hwnas.spaces import op_macs
from hwnas.stages.predictor import load_predictor
from hwnas.stages.run import Run, open_run
from hwnas.storage import Journal, Record, exclusive, read_json

SPACE = "nas_bench_macro"
GENERATIONS = 4  # as `hwnas search`
CONFIDENCE = 0.9  # as `hwnas search`
CALIBRATION_NETWORKS = 40  # half of them drawn at random: these tell of errors
NOT_DONE = 3  # exit status


WAY = Way()  # as `hwnas search` ranks


@dataclass(frozen=True)
class Variant:
    """A search."""

    strategy: Literal["evolution", "random"] = "evolution"
    evaluations: int = 100
    way: Way = WAY
    cost: Literal["upper", "mean", "macs", "few macs"] = "upper"
    used: float = 0.0  # the least share of the limit that candidates have
    finalists: int = 1  # so many are trained, and the best of them is picked


DEFAULT = "default"
VARIANTS = {
    DEFAULT: Variant(),
    "the likeliest, nothing ties": Variant(way=Way(tie_share=0.0)),
    "half as much ties": Variant(way=Way(tie_share=TIE_SHARE / 2)),
    "twice as much ties": Variant(way=Way(tie_share=2 * TIE_SHARE)),
    "batch norm as trained": Variant(way=Way(recalibrated=False)),
    "by accuracy, not likelihood": Variant(way=Way(by="accuracy")),
    "10 candidates": Variant(evaluations=10),
    "30 candidates": Variant(evaluations=30),
    "200 candidates": Variant(evaluations=200),
    "300 candidates": Variant(evaluations=300),
    "random search": Variant(strategy="random"),
    "random search, the likeliest": Variant(strategy="random", way=Way(tie_share=0.0)),
    "random search, 300 candidates": Variant(strategy="random", evaluations=300),
    "3 finalists, each trained once": Variant(finalists=3),
    "5 finalists, each trained once": Variant(finalists=5),
    "random search, 5 finalists": Variant(strategy="random", finalists=5),
    "mean latency, not its bound": Variant(cost="mean"),
    "at least 80 % of the budget used": Variant(used=0.8),
    "at least 90 % of the budget used": Variant(used=0.9),
    "at least 95 % of the budget used": Variant(used=0.95),
    "multiply-adds that as many networks keep": Variant(cost="macs"),
    "multiply-adds so few that all keep the latency": Variant(cost="few macs"),
}


@dataclass(frozen=True)
class Host:
    """The latency of the networks on this host, and the budget."""

    truth: Truth
    predictor: Fitted
    log_ratios: Floats  # of calibration networks drawn at random: measured over left-out prediction
    budget_ms: float
    macs: AdditiveCost = field(repr=False)

    def budget(self, cost: str, search_seed: int, used: float = 0.0) -> Budget:
        """What a variant holds its candidates to: at most a limit, and at least a share of it."""
        archs = list(self.truth.accuracy)
        macs, latencies_ms = self.macs.of(archs), self.predictor.latency_ms(archs)
        if cost == "macs":
            share = float((latencies_ms <= self.budget_ms).mean())
            limit = Limit("macs", self.macs.of, float(np.quantile(macs, share)))
        elif cost == "few macs":
            limit = Limit("macs", self.macs.of, float(macs[latencies_ms > self.budget_ms].min() - 1))
        else:
            factor = max(1.0, self.bound(search_seed)) if cost == "upper" else 1.0
            limit = Limit("latency_ms", self.predictor.latency_ms, self.budget_ms / factor)
        return Budget(self.truth.space, (replace(limit, least=used * limit.most),))

    def bound(self, search_seed: int) -> float:
        """Measured over predicted latency is at most this, as one half of the errors tells."""
        return RelativeErrors(tuple(sorted(self._halves(search_seed)[0].tolist()))).upper_factor(CONFIDENCE)

    def broken_share(self, latency_ms: float, search_seed: int) -> float:
        """How often a network of that predicted latency is above the budget, as the other half tells."""
        return float((latency_ms * np.exp(self._halves(search_seed)[1]) > self.budget_ms).mean())

    def _halves(self, search_seed: int) -> tuple[Floats, Floats]:
        order = np.random.default_rng(search_seed).permutation(len(self.log_ratios))
        bound, judges = np.array_split(self.log_ratios[order], 2)
        return bound, judges


def main() -> int:
    options = parsed()
    clock = Clock(options.minutes)
    torch.set_num_threads(options.threads)
    truth = TABLES[SPACE](options.data)
    with exclusive(options.out):
        host = measured_host(options.out / "latency", options.on, truth)
        journal = Journal(options.out / "ablation.jsonl")
        try:
            for sampler in options.samplers:
                for seed in options.seeds:
                    search_all(host, options, sampler, seed, journal, clock)
        except TimeIsUp:
            print(f"stopped after {options.minutes} minutes; the same command goes on", flush=True)
            return NOT_DONE
        print_markdown(host, journal.records)
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, required=True, help="that of rank.py")
    parser.add_argument("--on", default="host_cpu1_litert_fp32", help="profile of the device whose latency counts")
    parser.add_argument("--samplers", nargs="+", choices=list(SAMPLERS), default=[DEFAULT_METHOD])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the super-networks")
    parser.add_argument("--only", default=";".join(VARIANTS), help="searches, with semicolons between")
    parser.add_argument("--searches", type=int, default=20, help="seeds of each search")
    parser.add_argument("--minutes", type=float, help="stop before these are over")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def measured_host(folder: Path, on: str, truth: Truth) -> Host:
    """Operators and calibration networks measured on the first call, as `hwnas profile` and `hwnas fit` do.

    Digits, of which there are ten classes as well, stand for the images: latency does not depend on them.
    """
    options = {"data": "digits", "on": on, "space": SPACE, "calibration_networks": CALIBRATION_NETWORKS}
    run = open_run(folder, options)
    if not run.file("predictor.json").exists():
        measure(run)
    found = read_json(run.file("predictor.json"))
    drawn = found["networks"][-found["drawn"] :]
    log_ratios = np.log([network["measured_ms"] / network["left_out_ms"] for network in drawn])
    predictor = load_predictor(run, truth.space)
    budget_ms = float(np.quantile(predictor.latency_ms(list(truth.accuracy)), WITHIN))
    return Host(truth, predictor, log_ratios, budget_ms, AdditiveCost(truth.space, op_macs))


def measure(run: Run) -> None:
    """Writes the run's `predictor.json`."""
    from hwnas.stages import fit, plan, profile  # here: they need the device's packages

    for stage in (plan, profile, fit):
        stage.run_stage(run)


def search_all(
    host: Host, options: argparse.Namespace, sampler: str, seed: int, journal: Journal, clock: Clock
) -> None:
    """Appends the searches that the journal lacks of a super-network."""
    network = {"sampler": sampler, "seed": seed}
    done = {(r["variant"], r["search_seed"]) for r in journal.records if {k: r[k] for k in network} == network}
    names = options.only.split(";")
    missing = [(name, s) for s in range(options.searches) for name in names if (name, s) not in done]
    if not missing:
        return
    settings = settings_in(options.out, SPACE)
    place = open_place(options.out, options.data, settings, seed)
    asked = Asked(trained(place, settings, sampler, clock), place.journal(sampler), clock)
    for number, (name, search_seed) in enumerate(missing, start=1):
        told = {"variant": name, "search_seed": search_seed}
        journal.append({**network, **told, **searched(host, VARIANTS[name], search_seed, asked)})
        if number % len(names) == 0:
            print(f"{sampler}, seed {seed}: {number} of {len(missing)} searches", flush=True)


def searched(host: Host, variant: Variant, search_seed: int, asked: Asked) -> Record:
    """What one search picks, and what is true of it."""
    budget = host.budget(variant.cost, search_seed, variant.used)
    if variant.strategy == "evolution":
        strategy = evolution(budget, -(-variant.evaluations // GENERATIONS), search_seed)
    else:
        strategy = RandomSearch(budget, search_seed)
    best = best_of(strategy, budget, asked, variant.way, variant.evaluations, variant.finalists)
    arch = best[0] if len(best) == 1 else max(best, key=lambda arch: host.truth.training(arch, search_seed))
    latency_ms = host.predictor.arch_ms(arch)
    return {
        **true_rank(host.truth, host.budget("mean", search_seed), arch),
        "latency_share": latency_ms / host.budget_ms,
        "broken_share": host.broken_share(latency_ms, search_seed),
    }


def print_markdown(host: Host, records: Sequence[Record]) -> None:
    """A row a variant: means over the searches of all super-networks, and the paired difference to the default."""
    networks = {(r["sampler"], r["seed"]) for r in records}
    searches = len({r["search_seed"] for r in records})
    print(f"\n{len(networks)} super-networks, {searches} searches each, a budget of {host.budget_ms:.4g} ms")
    print("\n| search | true accuracy | above the default, points | better networks | predicted / budget | broken |")
    print("|---|---|---|---|---|---|")
    for name in [name for name in VARIANTS if by_search(name, records)]:
        print("|", " | ".join(row(name, records, host.truth)), "|")


def row(name: str, records: Sequence[Record], truth: Truth) -> list[str]:
    """The cells of a variant. What one training chose is compared by the others, and so is the default then."""

    def true_accuracy(search: Record) -> float:
        by_others = VARIANTS[name].finalists > 1
        return truth.other_trainings(tuple(search["arch"]), search["search_seed"]) if by_others else search["accuracy"]

    own, default = by_search(name, records), by_search(DEFAULT, records)
    accuracy, better, share, broken = (
        float(np.mean([r[key] for r in own.values()]))
        for key in ("accuracy", "better_share", "latency_share", "broken_share")
    )
    differences = [true_accuracy(own[key]) - true_accuracy(default[key]) for key in own]
    low, high = mean_interval(differences)
    above = f"{100 * np.mean(differences):+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
    cells = [f"{100 * accuracy:.2f}", "-" if name == DEFAULT else above, f"{100 * better:.1f} %"]
    return [name, *cells, f"{share:.3f}", f"{100 * broken:.0f} %"]


def by_search(name: str, records: Sequence[Record]) -> dict[tuple[str, int, int], Record]:
    """A variant's results by super-network and seed of the search."""
    return {(r["sampler"], r["seed"], r["search_seed"]): r for r in records if r["variant"] == name}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
