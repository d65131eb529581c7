"""Where benchmarks keep their files: in memory where there is room, so that the disk is not what is measured."""

from __future__ import annotations

import shutil
from pathlib import Path

_MEMORY = Path("/dev/shm")


def place_for(n_bytes: int) -> Path | None:
    """None: wherever temporary folders go."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 2 * n_bytes else None
