"""Getting written data onto the disk: file by file, or the whole file system at once.

An fsync costs a disk's flush, a few milliseconds, whatever it writes; a folder of small files has tens of thousands
of them between two commits. Above `MAX_SINGLE` files one `syncfs` takes their place.
"""

from __future__ import annotations

import ctypes
import os

# 32 flushes are about 0.2 s of a spinning disk. A syncfs writes everybody's data on that file system, so it is only
# taken when it is the lesser cost.
MAX_SINGLE = 32

_libc = ctypes.CDLL(None, use_errno=True)


def sync_file_system(descriptor: int) -> None:
    """Everything written so far to the file system that `descriptor` is on. OSError with the cause."""
    if not hasattr(_libc, "syncfs"):  # not Linux
        os.sync()
    elif _libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
