"""Files built for measuring against files that ship: time to make them, output, latency of whole networks.

python benchmarks/build_blocks.py [--networks 3] [--resolution 96] [--rounds 10]
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from hwnas.devices import RunConfig, load_profile, open_device
from hwnas.nn import Network, layer_weights
from hwnas.runtimes import RUNTIMES
from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.layers import block

PROFILES = ("host_cpu1_litert_fp32", "host_cpu1_ort_fp32")


def compare(profile_name: str, args: argparse.Namespace, folder: Path) -> None:
    profile = load_profile(profile_name)
    runtime, rng = RUNTIMES[profile.runtime], random.Random(0)
    space = build_space(SpaceConfig(args.space, args.resolution, 10))
    pairs, build_s, convert_s, errors = [], [], [], []
    for number in range(args.networks):
        arch = space.sample(rng)
        network = Network(space, arch).eval()
        built, converted = (folder / f"{kind}{number}{runtime.suffix}" for kind in ("built", "converted"))
        weights = [(w.numpy(), b.numpy()) for w, b in layer_weights(network)]
        start_s = time.perf_counter()
        runtime.build([block(spec) for spec in space.ops(arch)], weights, space.input_shape, built)
        build_s.append(time.perf_counter() - start_s)
        start_s = time.perf_counter()
        runtime.convert(network, space.input_shape, converted)
        convert_s.append(time.perf_counter() - start_s)
        x = torch.randn(1, *space.input_shape).numpy()
        ours, theirs = (runtime.load(path, 1).run(x) for path in (built, converted))
        errors.append(float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
        pairs.append((built, converted))
    times_ms = measure([path for pair in pairs for path in pair], profile, args.rounds)
    ratios = [times_ms[built] / times_ms[converted] for built, converted in pairs]
    speed = (
        f"build {1e3 * statistics.fmean(build_s):.1f} ms, convert {1e3 * statistics.fmean(convert_s):.0f} ms a network"
    )
    print(f"{runtime.name}: {speed} (ratio {sum(convert_s) / sum(build_s):.0f})")
    print(f"{runtime.name}: largest output difference {max(errors):.1e} relative")
    spread = f"mean {statistics.fmean(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}"
    print(f"{runtime.name}: latency built / converted {spread}")


def measure(paths: list[Path], profile, rounds: int) -> dict[Path, float]:
    """Median milliseconds of each file, interleaved."""
    times: dict[Path, list[float]] = {path: [] for path in paths}
    with open_device(profile).session() as session:
        for number in range(rounds):
            for path in random.Random(number).sample(paths, len(paths)):
                times[path] += session.measure(path, RunConfig(clock=profile.timing.clock)).times_ms
    return {path: statistics.median(found) for path, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="proxyless_small")
    parser.add_argument("--resolution", type=int, default=96)
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    for profile in PROFILES:
        with tempfile.TemporaryDirectory() as folder:
            compare(profile, args, Path(folder))


if __name__ == "__main__":
    main()
