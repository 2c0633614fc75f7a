"""What less precision costs and gains: size and latency of whole networks in fp32, fp16 and int8, measured in turn.

python benchmarks/precisions.py [--space proxyless] [--resolution 224] [--networks 3]

Random networks with random weights. Ends with a table in Markdown; ratios are medians over the networks.
"""

import argparse
import random
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from hwnas.devices import load_profile, open_device
from hwnas.latency.profiler import build_model
from hwnas.runtimes.runtime import Dtype
from hwnas.spaces import OpSpec, SpaceConfig, build_space

RUNTIME_NAMES = ("litert", "ort")
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
ROUNDS = 8
NUM_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """One network in one precision."""

    size_bytes: int
    median_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="proxyless")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--networks", type=int, default=3)
    options = parser.parse_args()
    space, rng = build_space(SpaceConfig(options.space, options.resolution, NUM_CLASSES)), random.Random(0)
    networks = [space.ops(space.sample(rng)) for _ in range(options.networks)]
    print("| runtime | precision | size | latency, ms | of fp32 |\n|---|---|---|---|---|")
    for runtime in RUNTIME_NAMES:
        print_rows(runtime, [in_turn(runtime, number, ops) for number, ops in enumerate(networks)])


def in_turn(runtime: str, seed: int, ops: list[OpSpec]) -> dict[Dtype, Found]:
    """One network in every precision, each round in a new order."""
    profiles = {dtype: load_profile(f"host_cpu1_{runtime}_{dtype}") for dtype in DTYPES}
    rng, profile = random.Random(seed), profiles["fp32"]
    times_ms: dict[Dtype, list[float]] = {dtype: [] for dtype in DTYPES}
    with tempfile.TemporaryDirectory() as folder, open_device(profile).session() as session:
        files = {dtype: build_model(ops, profiles[dtype], Path(folder), dtype) for dtype in DTYPES}
        for _ in range(ROUNDS):
            for dtype in rng.sample(DTYPES, len(DTYPES)):
                measurement = session.measure(files[dtype], profile.timing.run_config())
                if measurement.error:
                    raise RuntimeError(measurement.error)
                times_ms[dtype] += measurement.times_ms
        return {d: Found(files[d].stat().st_size, statistics.median(times_ms[d])) for d in DTYPES}


def print_rows(runtime: str, found: list[dict[Dtype, Found]]) -> None:
    for dtype in DTYPES:
        size_mb = statistics.median(one[dtype].size_bytes for one in found) / 1e6
        each_ms = ", ".join(f"{one[dtype].median_ms:.2f}" for one in found)
        ratios = [one[dtype].median_ms / one["fp32"].median_ms for one in found]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {runtime} | {dtype} | {size_mb:.1f} MB | {each_ms} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
