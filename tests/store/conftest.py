"""Two nodes' stores on one disk: one that shares, one that fetches."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmd.core.rng import SeededRng
from swarmd.store.store import Store
from tests.store.transfers import MEMORY

SMALL_DISK_BYTES = 4 << 20
SMALL_DISK_FILES = 64


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where that is possible: a store syncs at every step, and no test here needs a disk for that."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="swarmd-test-") as name:
        yield Path(name)


@pytest.fixture
def seeder(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "seeder", rng=SeededRng(1))
    yield store
    store.close()


@pytest.fixture
def leecher(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "leecher", rng=SeededRng(2))
    yield store
    store.close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An empty folder to download into."""
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of SMALL_DISK_BYTES; skipped where that cannot be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    options = f"size={SMALL_DISK_BYTES},nr_inodes={SMALL_DISK_FILES}"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "swarmd-test", place], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs to mount a tmpfs: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)
