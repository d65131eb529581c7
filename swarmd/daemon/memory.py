"""Memory: what the C library keeps, and what Python's collector looks at.

The C library is told to keep freed memory: without it every record of 256 KiB is mapped and unmapped by the kernel.

glibc gives blocks from 128 KiB back at once and page-faults them in anew; with the two thresholds raised, opening a
GiB of records takes 0.12 s of CPU instead of 0.40 (`python -m tests.bench.records`). It is told to have one heap, too:
each thread would get its own, and what is free in one serves no other (a member that shares small files: 62 MiB instead
of 58). They hardly ever allocate at once, as that happens under the interpreter's lock. What is kept is given back now
and then. On another C library nothing happens.
"""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MMAP_BYTES = 32 << 20  # glibc's own upper bound
_TRIM_BYTES = 32 << 20


def give_memory_back() -> None:
    """Let the kernel have what is free: milliseconds, and what moves then takes some back."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def collect_garbage() -> None:
    """Of itself the collector comes to what has lived for a while after tens of thousands of new objects: hardly ever,
    at a quiet node. On the event loop's thread, whose objects these are."""
    gc.collect()


def keep_freed_memory() -> bool:
    """Whether the C library took the settings. Call once, before threads start."""
    libc = ctypes.CDLL(None)
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is None:
        return False
    settings = {_M_MMAP_THRESHOLD: _MMAP_BYTES, _M_TRIM_THRESHOLD: _TRIM_BYTES, _M_ARENA_MAX: 1}
    return all(mallopt(name, value) for name, value in settings.items())


def leave_out_of_collection() -> None:
    """What has been made until now, modules for the most part, is not looked at again: else each full collection holds
    everything up for 20 ms, and while `ls` lists 100,000 shares for 35."""
    gc.collect()
    gc.freeze()
