"""A super-network's weight step against the same architecture's standing alone, and channels_last against NCHW.

python benchmarks/supernet_step.py [--resolution 32] [--batch 64] [--archs 5]
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch

from hwnas.nn import Compute, Network, Supernet
from hwnas.spaces import SpaceConfig, build_space


def step_s(forward: Callable[[torch.Tensor], torch.Tensor], module: torch.nn.Module, x: torch.Tensor) -> float:
    """Fastest of three forward and backward passes."""
    times = []
    for _ in range(4):
        start_s = time.perf_counter()
        forward(x).square().mean().backward()
        times.append(time.perf_counter() - start_s)
        module.zero_grad(set_to_none=True)
    return min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="proxyless_small")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--archs", type=int, default=5)
    args = parser.parse_args()
    space, rng = build_space(SpaceConfig(args.space, args.resolution, 10)), random.Random(0)
    archs = [space.sample(rng) for _ in range(args.archs)]
    seconds: dict[str, list[float]] = {}
    for compute in (Compute("cpu", channels_last=True), Compute("cpu", channels_last=False)):
        layout = "channels_last" if compute.channels_last else "NCHW"
        x = compute.images(torch.rand(args.batch, *space.input_shape))
        net = Supernet(space)
        compute.module(net)
        for arch in archs:
            alone = Network(space, arch)
            compute.module(alone)
            seconds.setdefault(f"plain, {layout}", []).append(step_s(alone, alone, x))
            seconds.setdefault(f"super-network, {layout}", []).append(step_s(lambda x, n=net, a=arch: n(x, a), net, x))
    for name, times in seconds.items():
        print(f"{name:30s} {1e3 * statistics.fmean(times):8.1f} ms a step of {args.batch} at {args.resolution} px")
    for a, b in (
        ("super-network, channels_last", "plain, channels_last"),
        ("super-network, channels_last", "super-network, NCHW"),
    ):
        print(f"{a} / {b}: {sum(seconds[a]) / sum(seconds[b]):.2f}")


if __name__ == "__main__":
    main()
