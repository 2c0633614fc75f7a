"""Measures the latency tables of every space on this host, and says how long each took, building included.

python benchmarks/measure_tables.py --out runs/tables [--profiles host_cpu1_litert_fp32] [--spaces proxyless]

The files are called SPACE-RESOLUTION-PROFILE.jsonl; those of `latency_tables/` were made so. Interrupted, it goes on.
"""

import argparse
import time
from pathlib import Path

from hwnas.devices import load_profile, open_device
from hwnas.latency.profiler import identity, profile_space, rows_to_measure
from hwnas.latency.table import LatencyTable
from hwnas.spaces import DEFAULT_RESOLUTION, IMAGENET_RESOLUTION, SPACES, SpaceConfig, build_space
from hwnas.stages.progress import progress

PROFILES = ("host_cpu1_litert_fp32", "host_cpu1_ort_fp32", "host_cpu1_litert_int8")
NUM_CLASSES = 1000  # another number is one more row, which a run measures itself


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--profiles", nargs="+", default=list(PROFILES))
    parser.add_argument("--spaces", nargs="+", default=list(SPACES))
    options = parser.parse_args()
    print("| table | rows | seconds | steadiness |\n|---|---|---|---|")
    for space_name in options.spaces:
        for profile_name in options.profiles:
            measure(options.out, space_name, profile_name)


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
