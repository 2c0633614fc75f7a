"""Files built for measuring against files that ship: time to make them, output, latency of whole networks.

python benchmarks/build_blocks.py [--networks 10] [--blocks 6] [--space proxyless_small] [--resolution 96] [--rounds 10]
"""

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hwnas.devices import Profile, RunConfig, load_profile, open_device
from hwnas.nn import layer_weights
from hwnas.nn.ops import BlockModule
from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.runtime import Runtime
from hwnas.spaces import OpSpec, Space, SpaceConfig, build_space
from hwnas.spaces.operators import block, is_free

PROFILES = ("host_cpu1_litert_fp32", "host_cpu1_ort_fp32")


@dataclass(frozen=True, slots=True)
class Pair:
    """The same operators as a built and as a converted file."""

    built: Path
    converted: Path
    build_ms: float
    convert_ms: float
    relative_difference: float  # of the outputs, by the largest one


def unlike_new(module: torch.nn.Module) -> None:
    """Statistics, scales and biases as after training: with the first ones folding batch norm is exact."""
    for child in module.modules():
        if isinstance(child, torch.nn.BatchNorm2d):
            assert child.running_mean is not None
            assert child.running_var is not None
            child.running_mean.normal_(0, 0.2)
            child.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(child.weight, 0.5, 1.5)
            torch.nn.init.normal_(child.bias, 0, 0.2)
        elif isinstance(child, torch.nn.Linear | torch.nn.Conv2d) and child.bias is not None:
            torch.nn.init.normal_(child.bias)


def make_pair(runtime: Runtime, specs: Sequence[OpSpec], folder: Path, name: str) -> Pair:
    """Both files of the operators, with random weights."""
    module = torch.nn.Sequential(*(BlockModule(block(spec)) for spec in specs)).eval()
    unlike_new(module)
    weights = [(w.numpy(), b.numpy()) for w, b in layer_weights(module)]
    built, converted = (folder / f"{name}-{kind}{runtime.suffix}" for kind in ("built", "converted"))
    start_s = time.perf_counter()
    runtime.build([block(spec) for spec in specs], weights, specs[0].in_shape, built)
    built_s = time.perf_counter()
    runtime.convert(module, specs[0].in_shape, converted)
    end_s = time.perf_counter()
    x = torch.randn(1, *specs[0].in_shape).numpy()
    ours, theirs = (runtime.load(path, 1).run(x) for path in (built, converted))
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    return Pair(built, converted, 1e3 * (built_s - start_s), 1e3 * (end_s - built_s), difference)


def measure(paths: list[Path], profile: Profile, rounds: int) -> dict[Path, float]:
    """Median milliseconds of each file, interleaved."""
    times_ms: dict[Path, list[float]] = {path: [] for path in paths}
    with open_device(profile).session() as session:
        for number in range(rounds):
            for path in random.Random(number).sample(paths, len(paths)):
                measurement = session.measure(path, RunConfig(clock=profile.timing.clock))
                if measurement.error:
                    raise RuntimeError(measurement.error)
                times_ms[path] += measurement.times_ms
    return {path: statistics.median(found) for path, found in times_ms.items()}


def compare(profile: Profile, space: Space, args: argparse.Namespace, folder: Path) -> None:
    runtime, rng = RUNTIMES[profile.runtime], random.Random(0)
    chosen = rng.sample([spec for spec in space.all_ops() if not is_free(spec)], args.blocks)
    networks = [space.ops(space.sample(rng)) for _ in range(args.networks)]
    make_pair(runtime, chosen[:1], folder, "warm-up")  # pays for the imports
    print_made(runtime, "block", [make_pair(runtime, [spec], folder, f"block{i}") for i, spec in enumerate(chosen)])
    pairs = [make_pair(runtime, specs, folder, f"network{i}") for i, specs in enumerate(networks)]
    print_made(runtime, "network", pairs)
    print_latencies(profile, pairs, args.rounds)


def print_latencies(profile: Profile, pairs: Sequence[Pair], rounds: int) -> None:
    """Built against converted, and what noise alone gives: a converted file against its copy."""
    copies = [pair.converted.with_stem(f"{pair.converted.stem}-copy") for pair in pairs]
    for pair, copy in zip(pairs, copies, strict=True):
        shutil.copyfile(pair.converted, copy)
    times_ms = measure([*(p for pair in pairs for p in (pair.built, pair.converted)), *copies], profile, rounds)
    ratios, controls = [], []
    for number, (pair, copy) in enumerate(zip(pairs, copies, strict=True)):
        built_ms, converted_ms, copy_ms = (times_ms[path] for path in (pair.built, pair.converted, copy))
        ratios.append(built_ms / converted_ms)
        controls.append(copy_ms / converted_ms)
        shown = f"built {built_ms:8.4f} ms   converted {converted_ms:8.4f} ms   ratio {ratios[-1]:.3f}"
        control = f"copy / converted {controls[-1]:.3f}   outputs {pair.relative_difference:.1e}"
        print(f"{profile.runtime:7} latency of network {number}   {shown}   {control}")
    outputs = f"outputs {max(pair.relative_difference for pair in pairs):.1e} relative"
    shown = f"latency {deviation_pct(ratios):.1f} % (of a copy {deviation_pct(controls):.1f} %)"
    print(f"{profile.runtime:7} largest deviation of {len(pairs)} networks   {shown}   {outputs}")


def deviation_pct(ratios: Sequence[float]) -> float:
    """How far the farthest ratio is from 1."""
    return 100 * max(abs(ratio - 1) for ratio in ratios)


def print_made(runtime: Runtime, what: str, pairs: Sequence[Pair]) -> None:
    build_ms = statistics.median(pair.build_ms for pair in pairs)
    convert_ms = statistics.median(pair.convert_ms for pair in pairs)
    shown = f"build {build_ms:7.1f} ms   convert {convert_ms:7.0f} ms   ratio {convert_ms / build_ms:.0f}"
    difference = max(pair.relative_difference for pair in pairs)
    print(f"{runtime.name:7} median {what:8} {shown:50} largest output difference {difference:.1e} relative")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="proxyless_small")
    parser.add_argument("--resolution", type=int, default=96)
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    space = build_space(SpaceConfig(args.space, args.resolution, 10))
    torch.manual_seed(0)
    for name in PROFILES:
        with tempfile.TemporaryDirectory() as folder:
            compare(load_profile(name), space, args, Path(folder))


if __name__ == "__main__":
    main()
