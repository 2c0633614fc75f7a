"""The process in which a device measures what loading a model takes: one model, one process, one JSON object on stdout.

Run as `python -m hwnas.ondevice.memory RUNTIME THREADS MODEL TIMEOUT_S [CPU...]`.
"""

import json
import math
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from hwnas.ondevice.facts import said
from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.quiet import stdout_kept

STATUS = Path("/proc/self/status")  # Linux and Android
RESET_PEAK = (Path("/proc/self/clear_refs"), "5")  # proc(5): resets the peak resident set size
PAGE_BYTES = 4096  # the least that anything takes
RUNS = 3  # some runtimes allocate once more on the second run


def resident_bytes(field: str) -> int:
    """VmRSS, what is resident now, or VmHWM, the most that was; OSError where the system does not tell.

    Without Linux's /proc both are what is resident now: runtimes keep what they took for running a model.
    """
    if not STATUS.exists():
        return _resident_now_bytes()
    for line in STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"{STATUS} tells no {field}")


def _resident_now_bytes() -> int:
    told = said("ps", "-o", "rss=", "-p", str(os.getpid()))
    if not told.isdecimal():
        raise OSError(f"there is no {STATUS}, and `ps` does not tell what a process takes")
    return int(told) * 1024


def loading(runtime: str, threads: int, model: Path) -> dict[str, float]:
    """Memory that loading and running a model adds to a process that has the runtime's library; time until loaded."""
    RUNTIMES[runtime].start()
    with suppress(OSError):  # some kernels lack it: the peak of starting the library counts then
        RESET_PEAK[0].write_text(RESET_PEAK[1])
    before_bytes = resident_bytes("VmRSS")
    start_s = time.perf_counter()
    loaded = RUNTIMES[runtime].load(model, threads)
    load_ms = (time.perf_counter() - start_s) * 1e3
    for _ in range(RUNS):
        loaded.invoke()
    return {"peak_memory_bytes": max(PAGE_BYTES, resident_bytes("VmHWM") - before_bytes), "load_ms": load_ms}


def main() -> None:
    """Keeps the real stdout for the answer: runtimes print on it."""
    runtime, threads, model, timeout_s, *cpus = sys.argv[1:]
    signal.alarm(math.ceil(float(timeout_s)))  # nobody else can end it where the connection is gone
    if cpus:
        os.sched_setaffinity(0, map(int, cpus))
    answers = stdout_kept()
    try:
        answer: dict[str, object] = {**loading(runtime, int(threads), Path(model))}
    except Exception as error:  # noqa: BLE001 whatever a runtime raises for a bad file is the measurement's result
        answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
