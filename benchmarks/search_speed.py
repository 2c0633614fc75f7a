"""What the search costs against what it must not exceed: every ratio is of two sides that ran in turn, in one run.

    python benchmarks/search_speed.py [--rows steps,several,recalibration,gates,evolution,rounding,kernels] [--archs 3]

Times are one thread's CPU time, the fastest of several alternating repetitions, so that other processes on the machine
matter little; on a GPU, wall time. The official settings (fp32, NCHW, torch's own kernels, the system's memory
allocation) and hwnas' own run in a process each, as memory that is kept cannot be given up again.
"""

import argparse
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from turns import cpu_seconds_of, fastest_in_turn

from hwnas.datasets import ImageSet
from hwnas.latency import TablePredictor
from hwnas.latency.profiler import rows_to_measure
from hwnas.nn import Compute, Network, Supernet, depthwise, keep_freed_memory
from hwnas.nn.parts import Shared, forget_use, shared_modules, used_parts
from hwnas.objective import hard_limits
from hwnas.search import Budget, Evolution, EvolutionConfig, Limit, search
from hwnas.spaces import Arch, Space, SpaceConfig, build_space
from hwnas.spaces.macs import op_macs
from hwnas.supernet import ArchitectureConfig, ArchitectureTraining, PathJudge, calibration_batches, recalibrate
from hwnas.train import Recipe, partial
from hwnas.train.recipe import optimizer

SPACE = "proxyless"  # 21 layers x 7 operators
SEVERAL = ("mobilenet_v4", "shufflenet_spos_channels", "proxyless_small_elastic")
CLASSES = 10
REPEATS = 3
JUDGED = 2048  # images that a candidate is evaluated by
NO_LR = 1e-9  # steps as they are, and weights that hardly move however often they are repeated
CERTAIN = 20.0  # a parameter that makes its choice run in every draw
ON_GPU = torch.cuda.is_available()
OURS = Compute("cuda" if ON_GPU else "cpu", channels_last=True)
OFFICIAL = Compute(OURS.device, channels_last=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--archs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for row in options.rows.split(","):
        ROWS[row](options.archs)


# ---- what is timed


def space_of(resolution: int, name: str = SPACE) -> Space:
    return build_space(SpaceConfig(name, resolution, CLASSES))


def archs_of(space: Space, count: int) -> list[Arch]:
    rng = random.Random(0)
    return [space.sample(rng) for _ in range(count)]


def predictor_of(space: Space) -> TablePredictor:
    return TablePredictor(space, {k: 0.01 + op_macs(s) / 1e8 for k, s in rows_to_measure(space).items()})


def seconds_of(step: Callable[[], object]) -> float:
    if not ON_GPU:
        return cpu_seconds_of(step)
    OURS.synchronize()
    start_s = time.perf_counter()
    step()
    OURS.synchronize()
    return time.perf_counter() - start_s


class Steps:
    """The steps of a search in one setting."""

    def __init__(self, compute: Compute, resolution: int, batch: int, space: str = SPACE) -> None:
        torch.manual_seed(0)
        self.compute, self.space, self.batch = compute, space_of(resolution, space), batch
        self.net = Supernet(self.space)
        compute.module(self.net)
        images = np.random.default_rng(0).integers(0, 255, (batch, *self.space.input_shape), dtype=np.uint8)
        self.images = ImageSet(images, np.arange(batch) % CLASSES)
        self.x = compute.images(torch.from_numpy(images).float() / 128 - 1)
        self.labels = torch.arange(batch, device=compute.device) % CLASSES
        self.optimizers: dict[nn.Module, torch.optim.Optimizer] = {}
        self.shared: dict[nn.Module, list[Shared]] = {}

    def weights(self, module: nn.Module, *arguments: Arch) -> None:
        """Forward, backward and the optimizer's step, of one path or of a network standing alone."""
        with self.compute.precision():
            logits = module(self.x, *arguments)
        nn.functional.cross_entropy(logits.float(), self.labels).backward()
        if module not in self.optimizers:
            self.optimizers[module] = optimizer(Recipe(lr=NO_LR), module)
            self.shared[module] = shared_modules(module)
        partial.step(self.optimizers[module], used_parts(self.shared[module]))
        module.zero_grad(set_to_none=True)
        forget_use(self.shared[module])

    def plain(self, arch: Arch) -> Network:
        network = Network(self.space, arch)
        self.compute.module(network)
        return network

    def architecture(self, arch: Arch) -> Callable[[], None]:
        """Two-path steps whose running path is `arch`, so that they compare with what that path takes alone.

        All draw the same silent path: of several the fastest step would tell of the smallest path only.
        """
        predictor = predictor_of(self.space)
        config = ArchitectureConfig("two_paths", warmup_share=0.0, every=1, batch_size=self.batch)
        target_ms = predictor.arch_ms(arch)
        training = ArchitectureTraining(self.net, predictor, target_ms, self.images, self.compute, config, 0, 1000)
        with torch.no_grad():
            training.alpha.scatter_(1, torch.tensor(arch)[:, None], CERTAIN)
        return lambda: training.after_step(0)

    def proxyless(self, arch: Arch) -> Callable[[], None]:
        """A weight step and an architecture step."""
        architecture = self.architecture(arch)

        def step() -> None:
            self.weights(self.net, arch)
            architecture()

        return step


def peak_bytes(step: Callable[[], object]) -> int:
    """The most that tensors hold at once during the step, above what they held before."""
    step()
    if ON_GPU:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(held.max())


# ---- two settings, a process each


@dataclass(frozen=True)
class Task:
    """What a process repeats: the name of one of JOBS, and for what."""

    job: str
    compute: Compute
    official: bool  # torch's own depthwise gradients, memory as the system gives it
    resolution: int
    batch: int
    arch: Arch


def proxyless_job(task: Task) -> Callable[[], object]:
    return Steps(task.compute, task.resolution, task.batch).proxyless(task.arch)


def recalibration_job(task: Task) -> Callable[[], object]:
    steps = Steps(task.compute, task.resolution, task.batch)
    batches = [steps.x] * 4
    if not task.official:
        return lambda: recalibrate(steps.net, task.arch, batches, task.compute)
    network = steps.plain(task.arch)
    return lambda: measured_by_hand(network, batches)


@torch.no_grad()
def measured_by_hand(network: Network, batches: list[Tensor]) -> None:
    """once-for-all's way: every batch norm takes mean and variance of its input by itself, in Python, and averages."""
    found: dict[nn.BatchNorm2d, list[tuple[Tensor, Tensor]]] = {}

    def measured(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        (x,) = arguments
        mean = x.mean(0, keepdim=True).mean(2, keepdim=True).mean(3, keepdim=True)
        var = (x - mean).square().mean(0, keepdim=True).mean(2, keepdim=True).mean(3, keepdim=True).flatten()
        found.setdefault(norm, []).append((mean.flatten(), var))
        norm.running_mean, norm.running_var = mean.flatten(), var

    norms = [m for m in network.eval().modules() if isinstance(m, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(measured) for norm in norms]
    for batch in batches:
        network(batch)
    for hook in hooks:
        hook.remove()
    for norm, pairs in found.items():
        norm.running_mean, norm.running_var = (torch.stack(values).mean(0) for values in zip(*pairs, strict=True))


JOBS = {"proxyless": proxyless_job, "recalibration": recalibration_job}


def work(task: Task, pipe: Connection) -> None:
    """Of the process: one repetition, and how long it took, for whatever comes through the pipe."""
    torch.set_num_threads(1)
    if task.official:
        depthwise.WIDEST = 1000
    else:
        keep_freed_memory()
    step = JOBS[task.job](task)
    while pipe.recv():
        pipe.send(seconds_of(step))


def in_turn(tasks: dict[str, Task]) -> dict[str, float]:
    """Seconds of each, a process each, one after the other in every round."""
    context, pipes, processes = multiprocessing.get_context("spawn"), {}, []
    for name, task in tasks.items():
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=work, args=(task, theirs), daemon=True))
        processes[-1].start()

    def ask(pipe: Connection) -> float:
        pipe.send(True)
        return float(pipe.recv())

    fastest_s = fastest_in_turn(pipes, REPEATS, ask)
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(False)
        process.join()
    return fastest_s


def compared(job: str, resolution: int, batch: int, archs: int, settings: dict[str, Compute]) -> None:
    """Prints every setting against the official one, the sum over the architectures."""
    total = dict.fromkeys(["official", *settings], 0.0)
    for arch in archs_of(space_of(resolution), archs):
        tasks = {name: Task(job, compute, False, resolution, batch, arch) for name, compute in settings.items()}
        tasks["official"] = Task(job, OFFICIAL, True, resolution, batch, arch)
        for name, seconds in in_turn(tasks).items():
            total[name] += seconds
    told(f"{job}, official, {batch} at {resolution}", total["official"] / archs)
    for name in settings:
        told(f"{job}, {name}", total[name] / archs, total[name] / total["official"])


def told(what: str, seconds: float, ratio: float | None = None) -> None:
    print(f"{what:52s} {1e3 * seconds:10.2f} ms" + ("" if ratio is None else f"   ratio {ratio:.2f}"), flush=True)


# ---- the rows


def steps_row(archs: int) -> None:
    """The super-network's steps against the plain network's, and all of ProxylessNAS' against the official settings."""
    for resolution, batch in ((32, 64), (224, 16)):
        against_plain(resolution, batch, archs)
    bf16 = Compute(OURS.device, channels_last=True, autocast=True)
    for resolution, batch in ((32, 64), (224, 16)):
        compared("proxyless", resolution, batch, archs, {"fp32": OURS, "bf16": bf16})


def several_row(archs: int) -> None:
    """The same steps where an operator follows from several decisions, or the resolution is one."""
    for space in SEVERAL:
        against_plain(32, 64, archs, space)


def against_plain(resolution: int, batch: int, archs: int, space: str = SPACE) -> None:
    keep_freed_memory()
    steps = Steps(OURS, resolution, batch, space)
    print(space)
    total, peaks = dict.fromkeys(("plain", "one path", "two paths"), 0.0), {"one path": 0, "two paths": 0}
    for arch in archs_of(steps.space, archs):
        plain, two_paths = steps.plain(arch), steps.architecture(arch)

        def one_path(arch: Arch = arch) -> None:
            steps.weights(steps.net, arch)

        turns = {"plain": lambda plain=plain: steps.weights(plain), "one path": one_path, "two paths": two_paths}
        for name, seconds in fastest_in_turn(turns, 2 * REPEATS, seconds_of).items():
            total[name] += seconds
        peaks["one path"] += peak_bytes(one_path)
        peaks["two paths"] += peak_bytes(two_paths)
    told(f"plain network's step, {batch} at {resolution}", total["plain"] / archs)
    told("weight step of one path", total["one path"] / archs, total["one path"] / total["plain"])
    told("architecture step of two paths", total["two paths"] / archs, total["two paths"] / total["plain"])
    print(f"{'its peak memory / that of one path':52s} {peaks['two paths'] / peaks['one path']:.2f}")


def recalibration_row(archs: int) -> None:
    for resolution, batch in ((32, 128), (224, 32)):
        compared("recalibration", resolution, batch, archs, {"fp32": OURS})


def gates_row(archs: int) -> None:
    """Sampling of all gates, their gradients and that of the expected latency, and Adam: no image."""
    steps = Steps(Compute("cpu"), 32, 2)
    predictor = predictor_of(steps.space)
    config = ArchitectureConfig("two_paths", warmup_share=0.0, every=1)
    training = ArchitectureTraining(steps.net, predictor, 1.0, steps.images, steps.compute, config, 0, 1000)

    def step() -> None:
        weights = [gate.weight for gate in training.gates(0).of_decisions()]
        training._move(training._gradient(torch.cat(weights).sum() + training.expected_ms(0)))

    told("gates, gradients and expected latency of a step", min(seconds_of(step) for _ in range(50)))


def evolution_row(archs: int) -> None:
    """50,000 evaluations, 500 generations of 100, by predictors: accuracy by a value of every choice."""
    space = space_of(224)
    predictor, rng = predictor_of(space), np.random.default_rng(0)
    values = rng.random((len(space.decisions), max(len(d.choices) for d in space.decisions)))

    def evaluate(archs: list[Arch]) -> list[dict[str, float]]:
        rows = np.array(archs, dtype=np.uint8)
        accuracies = values[np.arange(rows.shape[1]), rows].mean(axis=1).tolist()
        pairs = zip(accuracies, predictor.latency_ms(rows).tolist(), strict=True)
        return [{"accuracy": accuracy, "latency_ms": ms} for accuracy, ms in pairs]

    median_ms = float(np.median(predictor.latency_ms(archs_of(space, 1000))))
    budget = Budget(space, (Limit("latency_ms", predictor.latency_ms, median_ms),))

    def step() -> None:
        evolution = Evolution(budget, 0, EvolutionConfig(population=100, parents=20))
        search(evolution, evaluate, hard_limits(budget.by_metric), 50_000)

    told("evolution, 50,000 evaluations", min(seconds_of(step) for _ in range(REPEATS)))


def rounding_row(archs: int) -> None:
    """How much of a gradient bf16 leaves, against how much another batch leaves: cosines with that of fp32."""
    digits = load_digits()
    pictures = nn.functional.interpolate(torch.tensor(digits.images[:, None]).float() / 8 - 1, size=32, mode="bilinear")
    pictures, labels = pictures.expand(-1, 3, -1, -1), torch.tensor(digits.target)
    torch.manual_seed(0)
    space = build_space(SpaceConfig("proxyless_small", 32, CLASSES))
    net, rng = Supernet(space), random.Random(0)
    OURS.module(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def gradient(arch: Arch, chosen: Tensor, autocast: bool) -> Tensor:
        net.zero_grad(set_to_none=True)
        with Compute(OURS.device, True, autocast).precision():
            logits = net(OURS.images(pictures[chosen]), arch)
        nn.functional.cross_entropy(logits.float(), labels[chosen].to(OURS.device)).backward()
        return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])

    for steps, more in ((0, 0), (60, 60), (240, 180)):
        for _ in range(more):
            gradient(space.sample(rng), torch.randperm(len(labels))[:64], False)
            optimizer.step()
        first, second, arch = torch.randperm(len(labels))[:64], torch.randperm(len(labels))[:64], space.sample(rng)
        exact = gradient(arch, first, False)
        rounded = torch.cosine_similarity(exact, gradient(arch, first, True), 0)
        other = torch.cosine_similarity(exact, gradient(arch, second, False), 0)
        print(f"after {steps} steps: cosine of bf16 {rounded:.3f}, of another batch of 64 {other:.3f}")


def kernels_row(archs: int) -> None:
    """How much of the wall time kernels take: what is missing is Python, launches and waiting for images."""
    steps = Steps(OURS, 32, 64)
    (arch,) = archs_of(steps.space, 1)
    pictures = np.random.default_rng(1).integers(0, 255, (JUDGED, *steps.space.input_shape), dtype=np.uint8)
    judged = ImageSet(pictures, np.arange(JUDGED) % CLASSES)
    judge = PathJudge(steps.net, calibration_batches(judged, 32, 4, 64, OURS), judged, 32, OURS)
    each = {
        "weight step": lambda: steps.weights(steps.net, arch),
        "two-path step": steps.architecture(arch),
        "evaluation of a candidate": lambda: judge(arch),
    }
    for name, step in each.items():
        step()
        with torch.profiler.profile() as profile:
            start_s = time.perf_counter()
            step()
            OURS.synchronize()
            wall_s = time.perf_counter() - start_s
        print(f"{'kernels, ' + name:52s} {100 * sum(kernel_us(profile)) / (1e6 * wall_s):.0f} % of its time")


def kernel_us(profile: torch.profiler.profile) -> Iterator[float]:
    """Microseconds of every kernel: of the GPU where there is one, else of torch's operators without what they call."""
    for event in profile.key_averages():
        if ON_GPU:
            yield event.self_device_time_total
        elif event.key.startswith("aten::"):
            yield event.self_cpu_time_total


ROWS: dict[str, Callable[[int], None]] = {
    "steps": steps_row,
    "several": several_row,
    "recalibration": recalibration_row,
    "gates": gates_row,
    "evolution": evolution_row,
    "rounding": rounding_row,
    "kernels": kernels_row,
}

if __name__ == "__main__":
    main()
