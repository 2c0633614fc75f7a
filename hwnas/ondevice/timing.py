"""How often a model runs, and what the clock says."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hwnas.runtimes import LoadedModel

Clock = Literal["thread_cpu", "wall"]
CLOCKS: dict[Clock, Callable[[], int]] = {"thread_cpu": time.thread_time_ns, "wall": time.perf_counter_ns}
MOST_REPEATS = 10_000  # bounds a sample of a model that takes no time at all


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How one model file is timed, once."""

    warmup_runs: int = 3
    runs: int = 12
    min_sample_ms: float = 0.2  # a shorter model is repeated within each sample until it lasts this long
    clock: Clock = "wall"
    timeout_s: float = 60.0
    warmup_ms: float = 0.0  # at least, whatever the runs: cores that rested are slow at first


def sample_ms(invoke: Callable[[], None], repeats: int, clock: Callable[[], int]) -> float:
    """Mean milliseconds of one call, over `repeats` calls timed together."""
    start_ns = clock()
    for _ in range(repeats):
        invoke()
    return (clock() - start_ns) / repeats / 1e6


def times_ms(model: LoadedModel, config: RunConfig) -> list[float]:
    """One time per run, after the warm-up."""
    clock = CLOCKS[config.clock]
    fastest_ms = min(sample_ms(model.invoke, 1, clock) for _ in range(max(1, config.warmup_runs)))
    until_ns = time.perf_counter_ns() + config.warmup_ms * 1e6
    while time.perf_counter_ns() < until_ns:
        fastest_ms = min(fastest_ms, sample_ms(model.invoke, 1, clock))
    repeats = max(1, min(MOST_REPEATS, round(config.min_sample_ms / max(fastest_ms, 1e-6))))
    return [sample_ms(model.invoke, repeats, clock) for _ in range(config.runs)]
