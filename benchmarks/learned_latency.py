"""What learning from whole networks adds to a calibrated table: errors on networks that no fit has seen.

python benchmarks/learned_latency.py runs/latency/* --out runs/learned

The folders hold table.jsonl and networks.jsonl, as benchmarks/latency_accuracy.py leaves them. Networks are split at
random, ten times. Prints a table in Markdown; every split goes to results.jsonl under --out.
"""

import argparse
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from latency_accuracy import figures

from hwnas.latency import RelativeErrors, TablePredictor, calibrate
from hwnas.latency.corrections import CORRECTIONS, NO_CORRECTION
from hwnas.latency.learned import NetworkRegressor, ResidualPredictor
from hwnas.latency.profiler import rows_to_measure
from hwnas.latency.table import LatencyTable
from hwnas.spaces import Arch, Space, SpaceConfig, build_space

TRAINED_ON = (20, 40)
SPLITS = 10
NUM_CLASSES = 1000
Fit = Callable[[Space, dict[str, float], list[Arch], np.ndarray], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    folders = [folder for folder in options.folders if (folder / "networks.jsonl").exists()]
    rows = [row for folder in folders for row in of_folder(folder)]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    print_markdown(rows)


def calibrated(space: Space, op_ms: dict[str, float], archs: list[Arch], measured_ms: np.ndarray) -> TablePredictor:
    plain = TablePredictor(space, op_ms)
    found = calibrate(plain.terms(archs), measured_ms, plain.op_terms())
    return TablePredictor(space, op_ms, found.weights, RelativeErrors.of(measured_ms, found.left_out_ms))


def corrected(
    kinds: tuple[str, ...], space: Space, op_ms: dict[str, float], archs: list[Arch], measured_ms: np.ndarray
) -> ResidualPredictor:
    return ResidualPredictor.fit_left_out(space, op_ms, archs, measured_ms, kinds=kinds)[0]


FITS: dict[str, Fit] = {
    "calibrated table": calibrated,
    **{f"corrected by {kind}": functools.partial(corrected, (kind,)) for kind in CORRECTIONS},
    "ResidualPredictor": ResidualPredictor.fit,
    "NetworkRegressor": lambda space, op_ms, archs, measured_ms: NetworkRegressor.fit(space, archs, measured_ms),
}


def of_folder(folder: Path) -> Iterator[dict[str, float | str]]:
    table, networks = (LatencyTable.read(folder / f"{name}.jsonl") for name in ("table", "networks"))
    identity = table.identity
    space = build_space(SpaceConfig(identity["space"], int(identity["resolution"]), NUM_CLASSES))
    op_ms = {key: table[key].median_ms for key in rows_to_measure(space)}
    archs = [tuple(map(int, key.split("."))) for key in networks]
    measured_ms = np.array([networks[key].median_ms for key in networks])
    for trained_on in TRAINED_ON:
        for split in range(SPLITS):
            order = np.random.default_rng(split).permutation(len(archs))
            seen, unseen = order[:trained_on], order[trained_on:]
            for name, fit in FITS.items():
                predictor = fit(space, op_ms, [archs[i] for i in seen], measured_ms[seen])
                found = figures(predictor, [archs[i] for i in unseen], measured_ms[unseen])
                told = {"networks": folder.name, "trained_on": trained_on, "split": split, "predictor": name}
                yield found | told | {"corrected": float(getattr(predictor, "correction", None) != NO_CORRECTION)}


HEADINGS = {
    "mape_pct": "MAPE, %",
    "max_pct": "worst, %",
    "kendall_tau": "Kendall tau",
    "covered": "90 % interval covers",
    "half_interval_pct": "half of it, %",
}


def print_markdown(rows: list[dict[str, float | str]]) -> None:
    """Means over the splits."""
    print("| networks | fitted on | predictor |", " | ".join(HEADINGS.values()), "| corrected splits |")
    print("|" + "---|" * (len(HEADINGS) + 4))
    for way in dict.fromkeys((row["networks"], row["trained_on"], row["predictor"]) for row in rows):
        same = [row for row in rows if (row["networks"], row["trained_on"], row["predictor"]) == way]
        shown = [f"{np.mean([row[name] for row in same]):.{3 if name == 'kendall_tau' else 2}f}" for name in HEADINGS]
        splits = f"{sum(row['corrected'] for row in same):.0f}" if "orrect" in way[2] or "Resid" in way[2] else "-"
        print("|", " | ".join([*map(str, way), *shown, splits]), "|")


if __name__ == "__main__":
    main()
