"""Where and how tensors are computed: device, memory layout, precision. Chosen by measuring, not by belief."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwnas.nn.network import Supernet
from hwnas.spaces.space import Space

TIMED_STEPS = 3


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


def candidates() -> list[Compute]:
    """What may be faster here. bf16 only on a GPU: on a CPU its gradients are too coarse to rank networks by."""
    if torch.cuda.is_available():
        return [Compute("cuda", layout, autocast) for layout in (False, True) for autocast in (False, True)]
    return [Compute("cpu", layout) for layout in (False, True)]


def name(compute: Compute) -> str:
    """`cpu, channels_last, fp32`."""
    layout = "channels_last" if compute.channels_last else "channels_first"
    return f"{compute.device}, {layout}, {'bf16' if compute.autocast else 'fp32'}"


def step_ms(space: Space, compute: Compute, batch_size: int) -> float:
    """The fastest of a few training steps along the path of last choices, after one to warm up."""
    net = Supernet(space)
    compute.module(net)
    x = compute.images(torch.rand(batch_size, *space.input_shape))
    arch = tuple(0 for _ in space.decisions)

    def step() -> None:
        with compute.precision():
            loss = net(x, arch).float().square().mean()
        loss.backward()
        net.zero_grad(set_to_none=True)

    return min(_timed_ms(step, compute) for _ in range(1 + TIMED_STEPS))


def _timed_ms(function: Callable[[], None], compute: Compute) -> float:
    compute.synchronize()
    start_s = time.perf_counter()
    function()
    compute.synchronize()
    return (time.perf_counter() - start_s) * 1e3


def fastest(space: Space, batch_size: int) -> tuple[Compute, dict[str, float]]:
    """The fastest settings for training this space here, and what each candidate took in milliseconds a step."""
    found = {compute: step_ms(space, compute, batch_size) for compute in candidates()}
    return min(found, key=lambda c: found[c]), {name(c): ms for c, ms in found.items()}
