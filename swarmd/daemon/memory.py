"""Memory: what the C library keeps, and what Python's collector looks at.

The C library is told to keep freed memory: without it every record of 256 KiB is mapped and unmapped by the kernel.

glibc gives blocks from 128 KiB back at once and page-faults them in anew; with the two thresholds raised, opening a
GiB of records takes 0.12 s of CPU instead of 0.40 (`python -m tests.bench.records`). What is kept at most is small: a
trim threshold of 32 MiB. On another C library nothing happens.
"""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3
_MMAP_BYTES = 32 << 20  # glibc's own upper bound
_TRIM_BYTES = 32 << 20


def give_memory_back() -> None:
    """Let the kernel have what is free; takes some milliseconds, so for a time when nothing moves."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_freed_memory() -> bool:
    """Whether the C library took the settings. Call once, before threads start."""
    libc = ctypes.CDLL(None)
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES))


def leave_out_of_collection() -> None:
    """What has been made until now, modules for the most part, is not looked at again: else each full collection holds
    everything up for 20 ms, and while `ls` lists 100,000 shares for 35."""
    gc.collect()
    gc.freeze()
