"""Predicted against measured latency: tables, calibrations and intervals on networks that no fit has seen.

python benchmarks/latency_accuracy.py --out runs/latency [--spaces proxyless mobilenet_v3] [--networks 40] [--busy 0.5]

For every space and profile: two sweeps of a table of all operators, and whole networks, some spread over the latencies
of the space, the others random. A predictor is fitted as `hwnas fit` does, half on spread, half on random ones; its
errors are those on the random ones left over, and means over 20 ways to split them. Random choices make networks of
much the same latency; a second table is of as many for which every latency between the fastest and the slowest network
was equally likely, as for a search whose budget is not known. Everything measured is kept under --out; interrupted, it
goes on. Ends with tables in Markdown.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.devices import load_profile, open_device
from hwnas.errors import UserError
from hwnas.latency import TablePredictor, kendall_tau
from hwnas.latency.fitting import Fitted, fit_predictor
from hwnas.latency.profiler import check_measured, failures, identity, measure_rows, profile_space, rows_to_measure
from hwnas.latency.table import LatencyTable, Steadiness
from hwnas.spaces import Arch, Space, SpaceConfig, build_space
from hwnas.stages.calibrating import REPLACED_SHARE, spread_over_latency
from hwnas.stages.progress import progress
from hwnas.storage import write_json
from hwnas.supernet.paths import uniform_cost

PROFILES = ("host_cpu1_litert_fp32", "host_cpu1_ort_fp32", "host_cpu1_litert_int8")
COVERAGE = 0.9
SPLITS = 20
DRAWS_PER_NETWORK = 20  # at most: a small space has few networks
ACROSS = "across_"  # figures of networks that were drawn by latency
SLICE_S = 0.01  # of a busy neighbour: it works and rests in turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spaces", nargs="+", default=["proxyless", "mobilenet_v3"])
    parser.add_argument("--profiles", nargs="+", default=list(PROFILES))
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--fitted", type=int, default=20, help="whole networks that a predictor is fitted on")
    parser.add_argument("--networks", type=int, default=40, help="random ones beside them, for the errors")
    parser.add_argument("--busy", type=float, default=0.0, help="share of the time that another process is busy")
    options = parser.parse_args()
    rows, failures = [], []
    with busy_neighbour(options.busy):
        for space_name in options.spaces:
            for profile_name in options.profiles:
                try:
                    rows.append(one(options, space_name, profile_name))
                except UserError as error:  # what did not settle can be measured anew, in a quieter hour
                    failures.append(f"{space_name} on {profile_name}: {error}")
                write_json(options.out / "results.json", rows)
    print_markdown(rows, HEADINGS)
    print_markdown(rows, ACROSS_HEADINGS)
    if failures:
        raise SystemExit("\n".join(failures))


def one(options: argparse.Namespace, space_name: str, profile_name: str) -> dict[str, float | str]:
    """Errors of one space on one profile."""
    space = build_space(SpaceConfig(space_name, options.resolution, 1000))
    folder = options.out / f"{space_name}-{options.resolution}-{Path(profile_name).stem}"
    start_s = time.perf_counter()
    op_ms, steadiness = profiled(space, profile_name, folder / "table.jsonl")
    profile_s = time.perf_counter() - start_s
    again_ms, _ = profiled(space, profile_name, folder / "again.jsonl")
    rng, table_sum = random.Random(0), TablePredictor(space, op_ms)
    spread = spread_over_latency(table_sum, options.fitted - options.fitted // 2, rng)
    drawn = [space.sample(rng) for _ in range(options.networks + options.fitted // 2)]
    across = drawn_across(table_sum, options.networks, rng)
    found_ms = whole_networks(space, profile_name, folder, [*spread, *drawn, *across])
    spread, drawn, across = ([arch for arch in archs if arch in found_ms] for archs in (spread, drawn, across))
    networks = Networks(spread, drawn, across, np.array([found_ms[arch] for arch in (*spread, *drawn, *across)]))
    found = [of_split(space, op_ms, networks, options.fitted // 2, split) for split in range(SPLITS)]
    method = statistics.mode(f["method"] for f in found)
    return {
        "space": space_name,
        "profile": profile_name,
        "rows": len(op_ms),
        "profile_s": profile_s,
        "half_width_pct": steadiness.median_half_width_pct,
        "level_pct": steadiness.level_pct,
        "drifting": steadiness.drifting_spans,
        "steadiness": str(steadiness),
        **between_sweeps(op_ms, again_ms),
        **{key: method if key == "method" else float(np.mean([f[key] for f in found])) for key in found[0]},
    }


@dataclass(frozen=True)
class Networks:
    """Whole networks: spread for the fit, drawn by choices, drawn by latency; and their milliseconds in that order."""

    spread: list[Arch]
    drawn: list[Arch]
    across: list[Arch]
    measured_ms: np.ndarray


def drawn_across(table_sum: TablePredictor, count: int, rng: random.Random) -> list[Arch]:
    """Different networks, every latency equally likely."""

    def cost_of(arch: Arch) -> float:
        return float(table_sum.latency_ms([arch])[0])

    draws = (uniform_cost(table_sum.space, rng, cost_of)[0] for _ in range(DRAWS_PER_NETWORK * count))
    return list(itertools.islice(dict.fromkeys(draws), count))


def of_split(
    space: Space, op_ms: dict[str, float], networks: Networks, count: int, split: int
) -> dict[str, float | str]:
    """Fitted on all spread networks and `count` of those drawn by choices, tried on the others."""
    archs = [*networks.spread, *networks.drawn, *networks.across]
    first, last = len(networks.spread), len(networks.spread) + len(networks.drawn)
    order = first + np.random.default_rng(split).permutation(len(networks.drawn))
    seen, unseen, across = [*range(first), *order[:count]], [*order[count:]], [*range(last, len(archs))]
    fit = fit_predictor(space, op_ms, [archs[i] for i in seen], networks.measured_ms[seen], drawn=count)

    def tried_on(indices: list[int]) -> dict[str, float]:
        return figures(fit.predictor, [archs[i] for i in indices], networks.measured_ms[indices])

    return {
        "method": fit.method,
        **tried_on(unseen),
        **{f"{ACROSS}{key}": value for key, value in tried_on(across).items()},
    }


def between_sweeps(first_ms: dict[str, float], again_ms: dict[str, float]) -> dict[str, float]:
    """Percent by which the median row differs between two sweeps: at all, by one factor, and beside that factor."""
    log_ratios = np.log([again_ms[key] / latency_ms for key, latency_ms in first_ms.items()])
    factor = float(np.median(log_ratios))
    return {
        "sweeps_pct": 100 * float(np.median(np.abs(np.expm1(log_ratios)))),
        "sweeps_factor_pct": 100 * float(np.expm1(factor)),
        "sweeps_beside_pct": 100 * float(np.median(np.abs(np.expm1(log_ratios - factor)))),
    }


def profiled(space: Space, profile_name: str, path: Path) -> tuple[dict[str, float], Steadiness]:
    """(latency by row, how steady the sweep was)."""
    profile = load_profile(profile_name)
    table = LatencyTable(path, identity(profile, open_device(profile), space))
    keys = rows_to_measure(space)
    with progress(f"profiling {space.name} on {profile_name}") as report:
        profile_space(space, profile, table, progress=report)
    check_measured(keys, profile, table)
    return {key: table[key].median_ms for key in keys}, table.steadiness(keys, profile.timing.drift_pct)


def whole_networks(space: Space, profile_name: str, folder: Path, archs: list[Arch]) -> dict[Arch, float]:
    """Median milliseconds of each; what cannot be measured is left out, by name, as long as it is a quarter at most."""
    profile = load_profile(profile_name)
    table = LatencyTable(folder / "networks.jsonl", identity(profile, open_device(profile), space), row="network")
    arch_of = {".".join(map(str, arch)): arch for arch in archs}
    rows = {key: space.ops(arch) for key, arch in arch_of.items()}
    with progress(f"measuring {len(rows)} networks of {space.name} on {profile_name}") as report:
        measure_rows(rows, profile, table, progress=report)
    failed = failures(rows, profile, table)
    if REPLACED_SHARE * len(failed) > len(rows):
        check_measured(rows, profile, table, "whole networks")
    for key, why in failed.items():
        print(f"{space.name} on {profile_name}: network {key} is left out: {why}")
    return {arch: table[key].median_ms for key, arch in arch_of.items() if key not in failed}


def figures(predictor: Fitted, archs: list[Arch], measured_ms: np.ndarray) -> dict[str, float]:
    """How far off the predictions are, and how often their intervals hold."""
    predicted_ms = predictor.latency_ms(archs)
    error_pct = 100 * (predicted_ms / measured_ms - 1)
    low_ms, high_ms = predictor.interval_ms(archs, COVERAGE)
    upper_ms = predictor.upper_ms(archs, COVERAGE)
    return {
        "networks": len(archs),
        "median_ms": float(np.median(measured_ms)),
        "mape_pct": float(np.abs(error_pct).mean()),
        "max_pct": float(np.abs(error_pct).max()),
        "within_5_pct": float((np.abs(error_pct) <= 5).mean()),
        "within_10_pct": float((np.abs(error_pct) <= 10).mean()),
        "bias_pct": float(error_pct.mean()),
        "kendall_tau": kendall_tau(predicted_ms, measured_ms),
        "covered": float(((low_ms <= measured_ms) & (measured_ms <= high_ms)).mean()),
        "below_upper": float((measured_ms <= upper_ms).mean()),
        "half_interval_pct": 50 * float(((high_ms - low_ms) / predicted_ms).mean()),
    }


@contextlib.contextmanager
def busy_neighbour(share: float) -> Iterator[None]:
    """A process for every core that works for `share` of the time."""
    processes = [multiprocessing.Process(target=work_and_rest, args=(share,), daemon=True) for _ in range(2)]
    for process in processes if share else ():
        process.start()
    yield
    for process in processes if share else ():
        process.terminate()


def work_and_rest(share: float) -> None:
    matrix = np.random.default_rng(0).random((300, 300))
    while True:
        until_s = time.perf_counter() + share * SLICE_S
        while time.perf_counter() < until_s:
            matrix @ matrix
        time.sleep((1 - share) * SLICE_S)


HEADINGS = {
    "space": "space",
    "profile": "profile",
    "rows": "rows",
    "profile_s": "table, s",
    "method": "calibrated by",
    "mape_pct": "MAPE, %",
    "max_pct": "worst, %",
    "within_5_pct": "within 5 %",
    "within_10_pct": "within 10 %",
    "kendall_tau": "Kendall tau",
    "bias_pct": "bias, %",
    "covered": "90 % interval covers",
    "below_upper": "under 90 % bound",
    "half_interval_pct": "half of it, %",
    "half_width_pct": "row interval, %",
    "level_pct": "machine's speed, %",
    "drifting": "drifting spans",
}
ERRORS = ("mape_pct", "max_pct", "within_5_pct", "within_10_pct", "kendall_tau", "bias_pct", "covered", "below_upper")
ACROSS_HEADINGS = {
    "space": "space",
    "profile": "profile",
    **{f"{ACROSS}{key}": HEADINGS[key] for key in ERRORS},
    "sweeps_pct": "two sweeps' median row, %",
    "sweeps_factor_pct": "by one factor, %",
    "sweeps_beside_pct": "beside it, %",
}


def print_markdown(rows: list[dict[str, float | str]], headings: dict[str, str]) -> None:
    print("\n|", " | ".join(headings.values()), "|")
    print("|" + "---|" * len(headings))
    for row in rows:
        print("|", " | ".join(shown(row[key], key) for key in headings), "|")


def shown(value: float | str, key: str) -> str:
    if isinstance(value, str | int):
        return str(value)
    if key.removeprefix(ACROSS) in ("within_5_pct", "within_10_pct", "covered", "below_upper"):
        return f"{100 * value:.0f} %"
    return f"{value:.2f}"


if __name__ == "__main__":
    main()
