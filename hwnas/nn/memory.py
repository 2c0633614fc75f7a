"""Memory that is freed and needed again at once, a thousand times a step: kept, instead of given back to the system."""

import ctypes
import platform

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # mallopt's, of glibc's malloc.h
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """From now on this process keeps what it frees; whether that could be arranged (with glibc alone).

    By default glibc maps every large tensor anew, and the system fills its pages with zeros one fault after the other:
    40 % of a training step on photographs (docs/speed.md). The process then stays as large as its largest step.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(MMAP_MAX, 0)) and bool(libc.mallopt(TRIM_THRESHOLD, LARGEST))
