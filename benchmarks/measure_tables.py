"""Measures the latency tables of every space on this host, and says how long each took, building included.

python benchmarks/measure_tables.py --out runs/tables [--spaces proxyless] [--profiles host_cpu1_litert_int8]

Without more it measures what `latency_tables/` holds: every space in fp32, two of them in fp16 and int8 too, each by
both runtimes; with --profiles, these for every space. The files are called SPACE-RESOLUTION-PROFILE.jsonl. Interrupted,
it goes on.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from hwnas.devices import load_profile, open_device
from hwnas.latency.profiler import identity, profile_space, rows_to_measure
from hwnas.latency.table import LatencyTable
from hwnas.spaces import DEFAULT_RESOLUTION, IMAGENET_RESOLUTION, SPACES, SpaceConfig, build_space
from hwnas.stages.progress import progress

FULL = ("host_cpu1_litert_fp32", "host_cpu1_ort_fp32")
REDUCED = tuple(f"host_cpu1_{runtime}_{dtype}" for runtime in ("litert", "ort") for dtype in ("fp16", "int8"))
IN_ALL_PRECISIONS = ("proxyless", "mobilenet_v3")
NUM_CLASSES = 1000  # another number is one more row, which a run measures itself


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--profiles", nargs="+")
    parser.add_argument("--spaces", nargs="+", default=list(SPACES))
    options = parser.parse_args()
    print("| table | rows | seconds | steadiness |\n|---|---|---|---|")
    for space_name in options.spaces:
        for profile_name in options.profiles or shipped(space_name):
            measure(options.out, space_name, profile_name)


def shipped(space_name: str) -> Sequence[str]:
    """The profiles of which `latency_tables/` has a table of the space."""
    return FULL + REDUCED if space_name in IN_ALL_PRECISIONS else FULL


def measure(folder: Path, space_name: str, profile_name: str) -> None:
    """One table, and a line about it."""
    resolution = DEFAULT_RESOLUTION.get(space_name, IMAGENET_RESOLUTION)
    space, profile = build_space(SpaceConfig(space_name, resolution, NUM_CLASSES)), load_profile(profile_name)
    name = f"{space_name}-{resolution}-{profile_name}"
    start_s = time.perf_counter()
    table = LatencyTable(folder / f"{name}.jsonl", identity(profile, open_device(profile), space))
    with progress(name) as report:
        profile_space(space, profile, table, progress=report)
    steadiness = table.steadiness(table, profile.timing.drift_pct)
    missing = [key for key in rows_to_measure(space) if key not in table]
    left_out = f"; left out: {', '.join(missing)}" if missing else ""
    print(f"| {name} | {len(table)} | {time.perf_counter() - start_s:.1f} | {steadiness}{left_out} |", flush=True)


if __name__ == "__main__":
    main()
