"""A folder of 100,000 files of 4 KiB: shared by one daemon, fetched by another.

usage: python -m tests.bench.small_files [FILES]        the aims: shared in 3 x a plain loop, fetched at 2,000 files/s

Real daemons on loopback, all in memory (/dev/shm) where there is room. The plain loop reads and BLAKE3-hashes the same
files one after the other, in this process, before and after `share`; the better time counts. `share again` finds
everything unchanged.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from swarmd.control import schema
from swarmd.control.client import Client
from swarmd.core.rng import SeededRng
from tests.bench._places import place_for
from tests.e2e.nodes import Node, start_all

_FILES_EACH = 1000
_FILE_BYTES = 4096


def main(n_files: int = 100_000) -> None:
    with tempfile.TemporaryDirectory(dir=place_for(2 * n_files * _FILE_BYTES)) as name:
        folder = Path(name)
        _make(folder / "small", n_files)
        seeder, getter = Node(folder / "seeder"), Node(folder / "getter")
        with seeder, getter:
            start_all(seeder, getter)
            _measure(folder / "small", seeder, getter, n_files)
            for node in (seeder, getter):
                node.stop()


def _measure(path: Path, seeder: Node, getter: Node, n_files: int) -> None:
    plain = _seconds(lambda: _plain(path))
    share = schema.ShareParams(path=str(path))
    with Client(str(seeder.socket)) as client:
        shared = _seconds(lambda: client.call(schema.SHARE, share))
        plain = min(plain, _seconds(lambda: _plain(path)))
        again = _seconds(lambda: client.call(schema.SHARE, share))
        ticket = client.call(schema.SHARE, share).ticket
    print(f"{'plain loop':12} {plain:7.2f} s")
    print(f"{'share':12} {shared:7.2f} s  {shared / plain:5.2f} x the plain loop")
    print(f"{'share again':12} {again:7.2f} s  {again / plain:5.2f} x")
    fetched = _seconds(lambda: _get(getter, ticket))
    print(f"{'get':12} {fetched:7.2f} s  {n_files / fetched:5.0f} files/s")
    found = sum(len(files) for _, _, files in os.walk(getter.downloads))
    assert found == n_files, f"{found} files have come"


def _make(path: Path, n_files: int) -> None:
    data = SeededRng(1).bytes(2 * _FILE_BYTES)
    for number in range(n_files):
        folder, index = divmod(number, _FILES_EACH)
        inner = path / f"{folder:04}"
        if index == 0:
            inner.mkdir(parents=True)
        start = (folder + index) % _FILE_BYTES
        (inner / f"{index:04}.dat").write_bytes(data[start : start + _FILE_BYTES])


def _plain(path: Path) -> None:
    for folder, _, names in os.walk(path):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                blake3(file.read()).digest()


def _get(node: Node, ticket: str) -> None:
    with Client(str(node.socket)) as client:
        transfer = client.call(schema.GET, schema.GetParams(source=ticket, target_dir=str(node.downloads)))
        client.call(schema.WAIT, schema.WaitParams(id=transfer.id))


def _seconds(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
