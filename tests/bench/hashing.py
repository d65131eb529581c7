"""What `share` reads: hashing of a cached file and of a folder of small files, each against a plain loop.

usage: python -m tests.bench.hashing

The files are made in a temporary folder (1.5 GB; TMPDIR says where) and are in the page cache when they are read.
Each figure is the best of ROUNDS, the plain loop and hash_tree taking turns.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from swarmd.core.clock import SystemClock
from swarmd.core.rng import SystemRng
from swarmd.store.entries import EntryKind, TableBuilder
from swarmd.store.hashing import HashedTree, hash_tree
from swarmd.store.manifest import Built, build, decode_entries
from swarmd.store.scan import scan_tree

ROUNDS = 5
_LARGE_BYTES = 1 << 30
_PIECE_BYTES = 1 << 20
_FOLDERS = 100
_FILES_EACH = 1000
_SMALL_BYTES = 4096
_CLOCK = SystemClock()


def seconds(function: Callable[[], object]) -> float:
    start = _CLOCK.monotonic()
    function()
    return _CLOCK.monotonic() - start


def best(*functions: Callable[[], object]) -> list[float]:
    """Seconds of each, at its best."""
    rounds = [[seconds(function) for function in functions] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def plain_file(path: str) -> bytes:
    """One hash of the whole file, by one thread."""
    hasher = blake3()
    buffer = memoryview(bytearray(_PIECE_BYTES))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
    return hasher.digest()


def plain_folder(path: str) -> None:
    """One hash of each file."""
    for folder, _, names in os.walk(path):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                blake3(file.read()).digest()


def share(path: str) -> Built:
    """All that happens before anything is stored."""
    tree = hash_tree(path, clock=_CLOCK)
    return build(tree.entries, tree.chunk_size, tree.hashes)


def measure_file(folder: Path) -> None:
    path = folder / "large"
    block = SystemRng().bytes(1 << 24)
    with path.open("wb") as file:
        for _ in range(_LARGE_BYTES // len(block)):
            file.write(block)
    name = str(path)
    plain, one, two, all_cores = best(
        lambda: plain_file(name),
        lambda: hash_tree(name, clock=_CLOCK, threads=1),
        lambda: hash_tree(name, clock=_CLOCK, threads=2),
        lambda: hash_tree(name, clock=_CLOCK),
    )
    path.unlink()
    print("a cached file of 1 GiB, GB/s:")
    for label, period in (
        ("plain loop", plain),
        ("one thread", one),
        ("two threads", two),
        (f"as share does it ({len(os.sched_getaffinity(0))} cores)", all_cores),
    ):
        print(f"  {label:32s} {_LARGE_BYTES / period / 1e9:6.2f}")


def measure_folder(folder: Path) -> None:
    data = SystemRng().bytes(_SMALL_BYTES * 2)
    for number in range(_FOLDERS):
        inner = folder / "small" / f"{number:03}"
        inner.mkdir(parents=True)
        for index in range(_FILES_EACH):
            start = (number + index) % _SMALL_BYTES
            (inner / f"{index:04}.dat").write_bytes(data[start : start + _SMALL_BYTES])
    path = str(folder / "small")
    known: list[HashedTree] = [hash_tree(path, clock=_CLOCK)]
    plain, scan, hashed, shared, again = best(
        lambda: plain_folder(path),
        lambda: scan_tree(path),
        lambda: hash_tree(path, clock=_CLOCK),
        lambda: share(path),
        lambda: hash_tree(path, clock=_CLOCK, known=known),
    )
    print(f"{_FOLDERS * _FILES_EACH} cached files of {_SMALL_BYTES} bytes, seconds (and times the plain loop):")
    for label, period in (
        ("plain loop", plain),
        ("scan", scan),
        ("scan and hash", hashed),
        ("scan, hash and manifest", shared),
        ("scan and find it unchanged", again),
    ):
        print(f"  {label:32s} {period:6.2f}  {period / plain:5.2f} x")
    measure_entries(share(path))


def measure_entries(built: Built) -> None:
    entries = decode_entries(built.root, built.entry_pages)
    rows = [(entries.depth(index), entries.name(index), entries.size(index)) for index in range(len(entries))]

    def add_all() -> None:
        builder = TableBuilder()
        for depth, name, size in rows:
            kind = EntryKind.DIRECTORY if depth < 2 else EntryKind.FILE
            builder.add(depth, kind, 0o755, size, name)

    added, decoded = best(add_all, lambda: decode_entries(built.root, built.entry_pages))
    print("an entry, microseconds:")
    print(f"  {'checked and added':32s} {added / len(rows) * 1e6:6.2f}")
    print(f"  {'decoded, checked and added':32s} {decoded / len(rows) * 1e6:6.2f}")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        measure_file(Path(name))
        measure_folder(Path(name))


if __name__ == "__main__":
    main()
