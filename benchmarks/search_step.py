"""Steps of a search against a step of one plain network: super-network weights, architecture parameters, gates alone.

python benchmarks/search_step.py [--space proxyless_small] [--resolution 32] [--batch 64] [--archs 5]
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from hwnas.datasets import ImageSet
from hwnas.latency import TablePredictor
from hwnas.latency.profiler import rows_to_measure
from hwnas.nn import Compute, Network, Supernet
from hwnas.spaces import Space, SpaceConfig, build_space
from hwnas.spaces.macs import op_macs
from hwnas.supernet import ArchitectureConfig, ArchitectureTraining

COMPUTE = Compute("cpu", channels_last=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="proxyless_small")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--archs", type=int, default=5)
    options = parser.parse_args()
    space, rng = build_space(SpaceConfig(options.space, options.resolution, 10)), random.Random(0)
    x = COMPUTE.images(torch.rand(options.batch, *space.input_shape))
    labels = torch.arange(options.batch) % 10
    net, seconds = Supernet(space), dict[str, list[float]]()
    COMPUTE.module(net)
    for number in range(options.archs):
        arch = space.sample(rng)
        plain = Network(space, arch)
        COMPUTE.module(plain)
        seconds.setdefault("plain", []).append(fastest_s(weight_step(plain, plain, x, labels)))
        path = weight_step(lambda x, a=arch: net(x, a), net, x, labels)
        seconds.setdefault("one path of the super-network", []).append(fastest_s(path))
        for name in ("two_paths", "hard_gumbel"):
            step_s = architecture_step_s(space, net, x, arch, number, name)
            seconds.setdefault(f"architecture step, {name}", []).append(step_s)
    for name, times in seconds.items():
        ratio = sum(times) / sum(seconds["plain"])
        print(f"{name:32s} {1e3 * statistics.fmean(times):9.1f} ms, {ratio:.2f} of a plain step")
    print(
        f"{'gates and latency of a step':32s} {1e3 * gates_s(build_space(SpaceConfig('proxyless', 224, 1000))):9.2f} ms"
    )


def weight_step(
    forward: Callable[[torch.Tensor], torch.Tensor], module: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor
) -> Callable[[], None]:
    def step() -> None:
        torch.nn.functional.cross_entropy(forward(x), labels).backward()
        module.zero_grad(set_to_none=True)

    return step


def fastest_s(step: Callable[[], None], repeats: int = 4) -> float:
    """The fastest of a few, after one to warm up."""
    times = []
    for _ in range(repeats):
        start_s = time.perf_counter()
        step()
        times.append(time.perf_counter() - start_s)
    return min(times[1:])


def searched(space: Space, net: Supernet, relaxation: str, images: ImageSet) -> ArchitectureTraining:
    predictor = TablePredictor(space, {k: 0.01 + op_macs(s) / 1e8 for k, s in rows_to_measure(space).items()})
    target_ms = predictor.arch_ms(space.sample(random.Random(1)))
    config = ArchitectureConfig(relaxation=relaxation, warmup_share=0.0, every=1)
    return ArchitectureTraining(net, predictor, target_ms, images, COMPUTE, config, 0, 1000)


def architecture_step_s(
    space: Space, net: Supernet, x: torch.Tensor, arch: tuple[int, ...], number: int, relaxation: str
) -> float:
    """Of a step whose running path is `arch`, so that it is compared with what that path takes alone."""
    images = ImageSet((255 * x).to(torch.uint8).numpy(), (torch.arange(len(x)) % 10).numpy())
    chosen = searched(space, net, relaxation, images)
    chosen.config = ArchitectureConfig(relaxation=relaxation, warmup_share=0.0, every=1, batch_size=len(x))
    with torch.no_grad():
        chosen.alpha.scatter_(1, torch.tensor(arch)[:, None], 2.0)
    steps = iter(range(100 * number, 100 * number + 100))
    return fastest_s(lambda: chosen.after_step(next(steps)))


def gates_s(space: Space) -> float:
    """Sampling of all gates, their gradients and that of the expected latency, and Adam: no image."""
    images = ImageSet(np.zeros((2, 3, 8, 8), "u1"), np.zeros(2, "i8"))
    chosen = searched(space, Supernet(build_space(SpaceConfig(space.name, 64, 10))), "two_paths", images)

    def step() -> None:
        weights = [gate.weight for gate in chosen.gates(0).of_decisions()]
        loss = torch.cat(weights).sum() + chosen.expected_ms(0)
        chosen._move(chosen._gradient(loss))

    return fastest_s(step, repeats=30)


if __name__ == "__main__":
    main()
