"""The process in which the host measures: commands in on stdin, times out on stdout, one JSON object a line.

A process of its own, because a model may crash it, because it is pinned, and because the parent's torch threads and
memory must not weigh on what is timed. Run as `python -m hwnas.devices.worker RUNTIME THREADS [CPU...]`.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from hwnas.devices.device import Clock, RunConfig
from hwnas.runtimes import RUNTIMES, LoadedModel

CLOCKS: dict[Clock, Callable[[], int]] = {"thread_cpu": time.thread_time_ns, "wall": time.perf_counter_ns}
MOST_REPEATS = 10_000  # bounds a sample of a model that takes no time at all


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
    repeats = max(1, min(MOST_REPEATS, round(config.min_sample_ms / max(fastest_ms, 1e-6))))
    return [sample_ms(model.invoke, repeats, clock) for _ in range(config.runs)]


def serve(runtime: str, threads: int, commands: TextIO, answers: TextIO) -> None:
    """Answers every command until the input ends."""

    @lru_cache(maxsize=512)  # the sentinel, and rows measured again
    def load(path: str) -> LoadedModel:
        return RUNTIMES[runtime].load(Path(path), threads)

    for line in commands:
        command = json.loads(line)
        try:
            answer: dict[str, object] = {"times_ms": times_ms(load(command["model"]), RunConfig(**command["config"]))}
        except Exception as error:  # noqa: BLE001 whatever a runtime raises for a bad file is the measurement's result
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Pins the process and keeps the real stdout for answers: runtimes print on it."""
    runtime, threads, *cpus = sys.argv[1:]
    if cpus:
        os.sched_setaffinity(0, map(int, cpus))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(runtime, int(threads), sys.stdin, answers)


if __name__ == "__main__":
    main()
