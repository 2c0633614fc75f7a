"""Predicted against measured file size and peak memory, on networks that took no part in the fit.

python benchmarks/footprint.py [--spaces proxyless mobilenet_v3] [--resolution 224] [--fitted 12] [--networks 30]
"""

import argparse
import random
import tempfile
from pathlib import Path

import numpy as np

from hwnas.devices import Profile, load_profile
from hwnas.footprint import METRICS, FootprintPredictor, fit_footprint
from hwnas.latency.profiler import build_model
from hwnas.spaces import Arch, Space, SpaceConfig, build_space
from hwnas.stages.networks import footprint_of
from hwnas.stages.progress import progress

PROFILES = ("host_cpu1_litert_fp32", "host_cpu1_ort_fp32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", default=["proxyless", "mobilenet_v3"])
    parser.add_argument("--profiles", nargs="+", default=list(PROFILES))
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--fitted", type=int, default=12)
    parser.add_argument("--networks", type=int, default=30)
    options = parser.parse_args()
    print("| space | profile | metric | smallest to largest, MB | MAPE, % | worst, % | below the 90 % bound |")
    print("|" + "---|" * 7)
    for name in options.spaces:
        for profile_name in options.profiles:
            space, rng = build_space(SpaceConfig(name, options.resolution, 1000)), random.Random(0)
            archs = [space.sample(rng) for _ in range(options.fitted + options.networks)]
            found = measured(space, load_profile(profile_name), archs)
            for metric in METRICS:
                print(f"| {name} | {profile_name} | {metric} |", row(space, archs, found[metric], options.fitted))


def measured(space: Space, profile: Profile, archs: list[Arch]) -> dict[str, np.ndarray]:
    """Megabytes of each network, by metric."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, progress(f"{space.name}, {profile.name}") as report:
        for number, arch in enumerate(archs):
            report(number, len(archs))
            path = build_model(space.ops(arch), profile, Path(folder), "model")
            rows.append(footprint_of(path, profile, memory_needed=True))
    return {metric: np.array([r[metric] for r in rows]) for metric in METRICS}


def row(space: Space, archs: list[Arch], measured_mb: np.ndarray, fitted: int) -> str:
    fit = fit_footprint(space, archs[:fitted], measured_mb[:fitted])
    predictor = FootprintPredictor.from_record(space, fit.as_record())
    error_pct = 100 * (predictor.mb(archs[fitted:]) / measured_mb[fitted:] - 1)
    below = (measured_mb[fitted:] <= predictor.upper_mb(archs[fitted:], 0.9)).mean()
    spread = f"{measured_mb.min():.3g} to {measured_mb.max():.3g}"
    return f"{spread} | {np.abs(error_pct).mean():.2f} | {np.abs(error_pct).max():.1f} | {100 * below:.0f} % |"


if __name__ == "__main__":
    main()
