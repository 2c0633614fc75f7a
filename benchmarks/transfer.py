"""Latencies of a new device from another device's and k measured ones: how far off, and in what order.

python benchmarks/transfer.py --data ../shared/data --out runs/transfer

Operators: nn-Meter's blocks between three phones. Networks: those of HELP (https://arxiv.org/abs/2106.08630) on devices
that its meta-training did not see, from devices that it saw. Rows are chosen by `choose_rows`, or at random; latencies
are transferred, or scaled by one factor. Prints tables in Markdown; every figure goes to results.jsonl under --out.
Tables: those that are shipped, between the runtimes and precisions of this host. --only runs one of the three parts.
"""

import argparse
import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from hwnas.latency import kendall_tau
from hwnas.latency.importers import IMPORTERS
from hwnas.latency.table import LatencyTable
from hwnas.latency.transfer import (
    METHODS,
    Features,
    choose_rows,
    left_out_pct,
    missed_by,
    operators_ms,
    scaled,
    transfer,
)

PHONES = (  # two runs of nn-Meter that must not be mixed; the settings of `transfer` were fixed before v2 was read
    ("mbconv_v3", "pixel1", "pixel4"),
    ("mbconv_v3", "pixel1", "xiaomi11"),
    ("mbconv_v3", "pixel4", "xiaomi11"),
    ("mbconv_v2", "pixel1", "xiaomi11"),
)
ROWS = (5, 10, 20)  # HELP measures 10 networks
TABLES, HOST = Path(__file__).parents[1] / "latency_tables", "host_cpu1"
LEAST_SHARE = 3  # rows of a table per measured one: with fewer nothing is left to predict
SEEDS = 20
NO_TIME_MS = 0.1  # of cells without a path to the output: HELP's files hold 0 and less for some
BENCHES = {"nasbench201": "nasbench201/nb201_latency_help.npz", "fbnet": "help_fbnet/fbnet_cifar100_latency.npz"}
SOURCES = {  # HELP's meta-training devices, those that the data hold
    "nasbench201": ("1080ti_1", "1080ti_256", "silver_4114", "pixel3", "essential_ph_1", "samsung_s7"),
    "fbnet": ("1080ti_1", "1080ti_64", "silver_4114", "pixel3", "essential_ph_1", "samsung_s7"),
}
HELP_SPEARMAN = {  # tables 3 and 2 of the paper, by the project's README; the ASIC is not in the data
    "nasbench201": {"titan_rtx_256": 0.987, "gold_6226": 0.989, "pixel2": 0.802, "raspi4": 0.890, "fpga": 0.985},
    "fbnet": {"raspi4": 0.887, "fpga": 0.892},
}
WAYS = (
    *(("source as it is", ""), ("best source", "")),
    *((method, rows) for method in ("scaling", "transfer") for rows in ("random", "chosen")),
)
Latencies = Mapping[str, float]
Method = Callable[[Latencies, Latencies], dict[str, float]]
Figures = dict[str, float | str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("operators", "networks", "tables"))
    options = parser.parse_args()
    wanted = {options.only} if options.only else {"operators", "networks", "tables"}
    pairs, benches = (PHONES if "operators" in wanted else ()), (BENCHES if "networks" in wanted else ())
    operators = [row for pair in pairs for row in between_phones(options.data, *pair)]
    networks = [row for name in benches for row in between_networks(options.data, name)]
    tables = list(between_tables()) if "tables" in wanted else []
    options.out.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in operators + networks + tables)
    (options.out / "results.jsonl").write_text(lines)
    if operators:
        print_markdown(operators, ["file", "source", "target", "k"])
    if networks:
        print_markdown(networks, ["bench", "target", "help", "k"])
    if tables:
        print_choices(tables)


def between_phones(data: Path, file: str, source_name: str, target_name: str) -> Iterator[Figures]:
    """nn-Meter's blocks from one phone to another."""
    source, target = (phone_table(data / "nnmeter_mbconv_lut" / f"{file}.csv", n) for n in (source_name, target_name))
    pair: Figures = {"file": file, "source": source_name, "target": target_name}
    yield pair | {"k": 0, "rows": "", "method": "source as it is"} | figures(source, target)
    for k in ROWS:
        for row in every_way(source, target, k, None):
            yield pair | {"k": k} | row


def phone_table(path: Path, name: str) -> dict[str, float]:
    imported = IMPORTERS["nn-meter"](path, name)
    return {row.key: row.mean_ms for row in imported.rows}


def every_way(source: Latencies, target: Latencies, k: int, features: Features | None) -> Iterator[Figures]:
    """Chosen and random rows, one factor and the transfer; random: the mean over the seeds."""
    methods: dict[str, Method] = {"scaling": scaled, "transfer": lambda s, m: transfer(s, m, features)}
    chosen = choose_rows(source, k, features)
    at_random = [random.Random(seed).sample(list(source), k) for seed in range(SEEDS)]
    for method, predict in methods.items():
        by_chance = [figures(predict(source, {key: target[key] for key in c}), target) for c in at_random]
        by_choice = figures(predict(source, {key: target[key] for key in chosen}), target)
        yield {"rows": "random", "method": method} | {n: float(np.mean([f[n] for f in by_chance])) for n in by_choice}
        beaten = sum(f["mape_pct"] > by_choice["mape_pct"] for f in by_chance)
        yield {"rows": "chosen", "method": method, "beaten": beaten} | by_choice


def figures(predicted: Latencies, target: Latencies) -> dict[str, float]:
    """Over all rows, the measured ones among them."""
    a, b = np.array(list(predicted.values())), np.array([target[key] for key in predicted])
    order = {"spearman": float(stats.spearmanr(a, b).statistic), "kendall": kendall_tau(a, b)}
    return {"mape_pct": 100 * float(np.abs(a / b - 1).mean()), **order}


def between_networks(data: Path, bench: str) -> Iterator[Figures]:
    """Whole networks from six devices together; last, the means over the targets."""
    file = np.load(data / BENCHES[bench])
    latency_ms = dict(zip(file["device"], np.maximum(file["latency_ms"], NO_TIME_MS).T, strict=True))
    log_ms = np.log([latency_ms[name] for name in SOURCES[bench]])  # (devices, networks)
    source = by_number(np.exp(log_ms.mean(axis=0)))
    features = dict(zip(source, log_ms.T.tolist(), strict=True))
    found = []
    for name, published in HELP_SPEARMAN[bench].items():
        target = by_number(latency_ms[name])
        for k in ROWS:
            told: Figures = {"bench": bench, "target": name, "help": published, "k": k}
            found.append(told | {"rows": "", "method": "best source"} | best_source(latency_ms, bench, target, k))
            found += [told | row for row in every_way(source, target, k, features)]
    yield from found
    for k in ROWS:
        yield from means([row for row in found if row["k"] == k])


def best_source(latency_ms: Mapping[str, np.ndarray], bench: str, target: Latencies, k: int) -> dict[str, float]:
    """The source that ranks the chosen networks most like the target, as far as these tell, by one factor."""
    sources = {name: by_number(latency_ms[name]) for name in SOURCES[bench]}
    log_ms = np.log([latency_ms[name] for name in SOURCES[bench]])
    pooled = by_number(np.exp(log_ms.mean(axis=0)))
    chosen = choose_rows(pooled, k, dict(zip(pooled, log_ms.T.tolist(), strict=True)))
    measured = {key: target[key] for key in chosen}
    return figures(scaled(max(sources.values(), key=lambda s: agreement(s, measured)), measured), target)


def agreement(source: Latencies, measured: Latencies) -> float:
    found = float(np.corrcoef(np.log([source[k] for k in measured]), np.log(list(measured.values())))[0, 1])
    return found if np.isfinite(found) else -1.0


def means(rows: Sequence[Figures]) -> Iterator[Figures]:
    """Over the targets, for each way; all of one bench and k."""
    for way in dict.fromkeys((row["rows"], row["method"]) for row in rows):
        same = [row for row in rows if (row["rows"], row["method"]) == way]
        numbers = {n: float(np.mean([row[n] for row in same])) for n in ("mape_pct", "spearman", "kendall", "help")}
        told = {"bench": rows[0]["bench"], "target": "mean", "k": rows[0]["k"]}
        yield told | {"rows": way[0], "method": way[1], **numbers}


def between_tables() -> Iterator[Figures]:
    """Of the shipped tables, between any two of one space: what `hwnas table transfer` would take and what it is worth.

    Errors are over the rows that were not measured.
    """
    by_space: dict[str, dict[str, Latencies]] = {}
    for path in sorted(TABLES.glob(f"*-{HOST}_*.jsonl")):
        space, _, device = path.stem.partition(f"-{HOST}_")
        by_space.setdefault(space, {})[device] = operators_ms(LatencyTable.read(path))
    for space, tables in by_space.items():
        for (source_name, source), (target_name, target) in itertools.permutations(tables.items(), 2):
            there = {key: ms for key, ms in source.items() if ms > 0 and target.get(key, 0) > 0}
            pair: Figures = {"space": space, "source": source_name, "target": target_name}
            for k in ROWS:
                if len(there) >= LEAST_SHARE * k:
                    yield pair | {"k": k} | choice(there, {key: target[key] for key in there}, k)


def choice(source: Latencies, target: Latencies, k: int) -> Figures:
    measured = {key: target[key] for key in choose_rows(source, k)}
    unseen = {key: ms for key, ms in target.items() if key not in measured}
    missed = {}
    for method, predict in METHODS.items():
        predicted = predict(source, measured)
        missed[method] = 100 * float(np.mean([abs(predicted[key] / ms - 1) for key, ms in unseen.items()]))
    left_out = {f"{method}, left out": left_out_pct(source, measured, method) for method in METHODS}
    taken = missed_by(source, measured).method
    return {**missed, **left_out, "taken": taken, "taken_pct": missed[taken], "best_pct": min(missed.values())}


def print_choices(rows: Sequence[Figures]) -> None:
    """Means over all pairs of tables, by k."""
    print("\n| k | pairs |", " | ".join(METHODS), "| the one taken | the better one | the better one is taken |")
    print("|" + "---|" * (len(METHODS) + 5))
    for k in ROWS:
        same = [row for row in rows if row["k"] == k]
        cells = [f"{np.mean([row[n] for row in same]):.1f}" for n in (*METHODS, "taken_pct", "best_pct")]
        right = np.mean([row["taken_pct"] == row["best_pct"] for row in same])
        print(f"| {k} | {len(same)} |", " | ".join(cells), f"| {100 * right:.0f} % |")


def by_number(latency_ms: np.ndarray) -> dict[str, float]:
    return dict(zip(map(str, range(len(latency_ms))), latency_ms.tolist(), strict=True))


def print_markdown(rows: Sequence[Figures], told: Sequence[str]) -> None:
    """A line for all ways of one case: MAPE in percent / Spearman / Kendall."""
    ways = [way for way in WAYS if way in {(row["method"], row["rows"]) for row in rows}]
    print("\n|", " | ".join([*told, *(" ".join(way).strip() for way in ways), "random drawings beaten"]), "|")
    print("|" + "---|" * (len(told) + len(ways) + 1))
    for case in dict.fromkeys(tuple(row[name] for name in told) for row in rows):
        found = {(row["method"], row["rows"]): row for row in rows if tuple(row[name] for name in told) == case}
        cells = [cell(found[way]) if way in found else "" for way in ways]
        print("|", " | ".join([*map(number, case), *cells, str(found.get(ways[-1], {}).get("beaten", ""))]), "|")


def cell(row: Figures) -> str:
    return f"{row['mape_pct']:.2f} / {row['spearman']:.4f} / {row['kendall']:.3f}"


def number(value: float | str) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
