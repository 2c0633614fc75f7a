"""Where and how tensors are computed: device, memory layout, precision. Chosen by measuring, not by belief."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hwnas.nn.network import Supernet
from hwnas.spaces.space import Space

Precision = Literal["auto", "fp32", "bf16"]
TIMED_STEPS = 5
CLEARLY = 0.9  # of the usual settings' time: what counts as faster


@dataclass(frozen=True, slots=True)
class Compute:
    """Settings of one run. autocast: bf16 arithmetic where PyTorch thinks it safe."""

    device: str = "cpu"
    channels_last: bool = True
    autocast: bool = False

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def module(self, module: nn.Module) -> nn.Module:
        """The module on the device, in the layout."""
        return module.to(self.device).to(memory_format=self.memory_format)

    def images(self, images: Tensor) -> Tensor:
        """A batch on the device, in the layout. (N, C, H, W)"""
        return images.to(self.device, non_blocking=True).contiguous(memory_format=self.memory_format)

    def precision(self) -> AbstractContextManager[None]:
        """The context in which forward passes run."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.autocast)

    def synchronize(self) -> None:
        """Waits for the device, before a clock is read."""
        if self.device != "cpu":
            torch.cuda.synchronize()


def candidates(precision: Precision = "auto") -> list[Compute]:
    """What may be fastest here, the usual winner first.

    auto: bf16 only on a GPU. On a CPU its gradients are coarser by more than it is faster (docs/speed.md).
    """
    on_gpu = torch.cuda.is_available()
    autocasts = {"fp32": (False,), "bf16": (True,), "auto": (True, False) if on_gpu else (False,)}[precision]
    device = "cuda" if on_gpu else "cpu"
    return [Compute(device, layout, autocast) for layout in (True, False) for autocast in autocasts]


def name(compute: Compute) -> str:
    """`cpu, channels_last, fp32`."""
    layout = "channels_last" if compute.channels_last else "channels_first"
    return f"{compute.device}, {layout}, {'bf16' if compute.autocast else 'fp32'}"


def timed_step(space: Space, compute: Compute, batch_size: int) -> Callable[[], float]:
    """A training step along one path, and what it took in milliseconds.

    On a CPU, one thread's own time: other processes, which may change from run to run, must not change the choice.
    """
    net = Supernet(space)
    compute.module(net)
    x = compute.images(torch.rand(batch_size, *space.input_shape))
    arch = tuple(0 for _ in space.decisions)

    def step() -> None:
        with compute.precision():
            loss = net(x, arch).float().square().mean()
        loss.backward()
        net.zero_grad(set_to_none=True)

    return lambda: _timed_ms(step, compute)


def _timed_ms(function: Callable[[], None], compute: Compute) -> float:
    clock = time.thread_time if compute.device == "cpu" else time.perf_counter
    compute.synchronize()
    start_s = clock()
    function()
    compute.synchronize()
    return (clock() - start_s) * 1e3


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes with one thread meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fastest(space: Space, batch_size: int, precision: Precision = "auto") -> tuple[Compute, dict[str, float]]:
    """The fastest settings for training this space here, and what each candidate took in milliseconds a step.

    The first candidate, which is usually the best, stays unless another one is clearly faster: a tie decided by noise
    would make two runs of one seed differ. Candidates take turns, so that other processes slow all of them down.
    """
    with one_thread():
        steps = {compute: timed_step(space, compute, batch_size) for compute in candidates(precision)}
        rounds = [{compute: step() for compute, step in steps.items()} for _ in range(1 + TIMED_STEPS)]
    found = {compute: min(times[compute] for times in rounds) for compute in steps}  # the first round warms up
    usual, best = next(iter(found)), min(found, key=lambda c: found[c])
    chosen = best if found[best] < CLEARLY * found[usual] else usual
    return chosen, {name(c): ms for c, ms in found.items()}
