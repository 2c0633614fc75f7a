"""Processes that train together hear that the others are alive.

A machine that loses power or network closes no connection: gloo would wait for it as long as for one that decodes
images. So each process counts up in a store that all of them reach, on a thread of its own, and ends when another's
count has stood still for too long, or when the store itself is silent: torchrun then starts those that are left again.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from torch.distributed.distributed_c10d import Store

BEAT_S = 5.0
LOST_AFTER_S = 120.0  # threads of a process that swaps or writes to a slow disk may rest for a while
Ends = Callable[[str], None]  # gets the reason


def end_process(reason: str) -> None:
    """Without a clean end: the main thread waits inside gloo or NCCL, where no exception reaches it."""
    print(f"{reason}; this process ends, and the same command goes on from the last checkpoint", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)


@contextmanager
def heard(store: Store, own: int, count: int, end: Ends = end_process) -> Iterator[None]:
    """Meanwhile process `own` of `count` beats, and ends if another one falls silent.

    store: of nobody else, as a connection serves one call at a time, and others may wait in theirs for hours.
    """
    over = Event()
    last_s = dict.fromkeys(range(count), time.monotonic())
    threads = [
        Thread(target=_beat, args=(store, own, last_s, over), daemon=True),
        Thread(target=_listen, args=(own, last_s, over, end), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()


def _beat(store: Store, own: int, last_s: dict[int, float], over: Event) -> None:
    """Counts up, and notes when each count was seen to change; the own one's time tells that the store answers."""
    counts, beat = dict.fromkeys(last_s, b""), 0
    while not over.is_set():
        beat += 1
        try:
            store.set(f"beat/{own}", str(beat))
            for other in last_s:
                key = f"beat/{other}"
                if store.check([key]) and (told := store.get(key)) != counts[other]:
                    counts[other], last_s[other] = told, time.monotonic()
        except RuntimeError:  # the connection is gone: nothing is noted any more
            return
        over.wait(BEAT_S)


def _listen(own: int, last_s: dict[int, float], over: Event, end: Ends) -> None:
    while not over.wait(BEAT_S):
        now_s = time.monotonic()
        silent = [other for other, at_s in last_s.items() if now_s - at_s > LOST_AFTER_S]
        if own in silent:
            end(f"torchrun's store has not answered for {LOST_AFTER_S:.0f} s: its machine or the network is gone")
        elif silent:
            names = ", ".join(map(str, silent))
            end(
                f"of {len(last_s)} processes number {names} has not been heard of for {LOST_AFTER_S:.0f} s: "
                "its machine or the network is gone"
            )
        if silent:
            return
