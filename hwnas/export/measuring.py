"""Latency, load time and peak memory of exported files, measured in turn on one device."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hwnas.devices import Profile, measure_in_turn, open_device

ROUNDS = 2  # processes that measure each file; the stage `measure` takes all of the profile's for the one that counts
Report = Callable[[str], None]  # what is measured next
Files = Mapping[str, tuple[str, Path]]  # key -> runtime, file


def thread_counts(profile: Profile) -> tuple[int, ...]:
    """One thread, and as many as the device has cores to use."""
    return tuple(sorted({1, open_device(profile).most_threads()}))


def variant(profile: Profile, runtime: str, threads: int) -> Profile:
    """The same device and protocol for another runtime or number of threads, whose time only the wall clock sees."""
    clock = profile.timing.clock if threads == 1 else "wall"
    timing = profile.timing.model_copy(update={"clock": clock})
    affinity = profile.affinity if profile.affinity == "none" or threads == profile.threads else "auto"
    changed = {"runtime": runtime, "threads": threads, "timing": timing, "affinity": affinity}
    return profile.model_copy(update=changed)


def measure_exported(files: Files, profile: Profile, report: Report) -> dict[str, dict[str, Any]]:
    """By key: `latency_ms` by number of threads, `load_ms`, `peak_memory_mb`; `errors` where one is not known."""
    found: dict[str, dict[str, Any]] = {key: {"latency_ms": {}} for key in files}
    for runtime in sorted({runtime for runtime, _ in files.values()}):
        own = {key: path for key, (used, path) in files.items() if used == runtime}
        for threads in thread_counts(profile):
            report(f"{runtime}, {threads} threads")
            changed = variant(profile, runtime, threads)
            with open_device(changed).session() as session:
                measured = measure_in_turn(session, own, ROUNDS, changed.timing.run_config())
            for key, measurement in measured.items():
                if measurement.error:
                    found[key].setdefault("errors", []).append(measurement.error)
                else:
                    found[key]["latency_ms"][str(threads)] = measurement.median_ms
        for key, path in own.items():
            found[key] |= _loading(path, variant(profile, runtime, 1))
    return found


def _loading(path: Path, profile: Profile) -> dict[str, float]:
    memory = open_device(profile).peak_memory(path, profile.timing.timeout_s)
    told = {"load_ms": memory.load_ms, "peak_memory_mb": memory.peak_mb}
    return {name: value for name, value in told.items() if not math.isnan(value)}


def measured_on(profile: Profile, runtimes: set[str]) -> dict[str, Any]:
    """What the figures belong to."""
    timing = profile.timing
    return {
        **open_device(profile).describe(),
        "profile": profile.name,
        "threads": list(thread_counts(profile)),
        "runtimes": ", ".join(_version(profile, runtime) for runtime in sorted(runtimes)),
        "protocol": f"batch 1, median of {ROUNDS} processes, {timing.runs} runs each after {timing.warmup_runs}",
    }


def _version(profile: Profile, runtime: str) -> str:
    return open_device(variant(profile, runtime, 1)).runtime_version()
