"""The store from end to end, on one thread: share, serve, write, commit, finish; a large file, and many small ones.

usage: python -m tests.bench.store [FOLDER]      (in memory without a folder; needs 1 GiB there)
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from swarmd.core.clock import SystemClock
from swarmd.store.download import Download
from swarmd.store.source import ObjectSource
from swarmd.store.store import DownloadRequest, Store
from tests.store.transfers import MEMORY, chunk_of, give_metadata, prepared

LARGE_BYTES = 257 << 20  # just enough for chunks of 1 MiB
BLOCK_BYTES = 256 << 10  # as a network message brings it
SMALL_FILES = 20_000
SMALL_BYTES = 4096
FILES_IN_A_FOLDER = 100
CLOCK = SystemClock()


def main() -> None:
    folder = sys.argv[1] if sys.argv[0].endswith("store.py") and len(sys.argv) > 1 else MEMORY
    with tempfile.TemporaryDirectory(dir=folder, prefix="swarmd-bench-") as name:
        place = Path(name)
        run(place / "one", make_large(place / "large"))
        run(place / "two", make_small(place / "small"))


def make_large(path: Path) -> Path:
    with path.open("wb") as file:
        for number in range(LARGE_BYTES >> 20):
            file.write(number.to_bytes(8, "big") * (1 << 17))
    return path


def make_small(path: Path) -> Path:
    for number in range(SMALL_FILES):
        folder = path / f"{number // 10_000}" / f"{number // FILES_IN_A_FOLDER}"
        if number % FILES_IN_A_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"{number}").write_bytes(number.to_bytes(8, "big") * (SMALL_BYTES // 8))
    return path


def run(place: Path, path: Path) -> None:
    (place / "target").mkdir(parents=True)
    seeder, leecher = Store.open(place / "seeder"), Store.open(place / "leecher")
    print(f"{path.name:32} {'s':>8} {'MB/s':>8} {'files/s':>8}")
    plain = spent(lambda: read_plainly(path))
    result = seeder.share(str(path))
    seeder.forget(result.content_id)
    show("plain loop: read, hash", plain, result.size, result.n_files)
    show("share", spent(lambda: seeder.share(str(path))), result.size, result.n_files)
    show("share again", spent(lambda: seeder.share(str(path))), result.size, result.n_files)
    source = seeder.open_object(result.content_id)
    buffer = bytearray(result.chunk_size)
    served = spent(lambda: [source.read_chunk(index, buffer) for index in range(result.n_chunks)])
    show("read_chunk", served, result.size, result.n_files)
    download = prepared(leecher, source, place / "target")
    show(
        "write_chunk",
        sum(write(source, download, index) for index in range(result.n_chunks)),
        result.size,
        result.n_files,
    )
    show("commit", spent(download.commit), result.size, result.n_files)
    show("finish", spent(lambda: download.finish()), result.size, result.n_files)
    copied = again(leecher, source, place)
    show("reuse_local", spent(lambda: leecher.reuse_local(copied)), result.size, result.n_files)
    seeder.close()
    leecher.close()


def read_plainly(path: Path) -> None:
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            hasher = blake3()
            with file.open("rb", buffering=0) as opened:
                while data := opened.read(1 << 20):
                    hasher.update(data)


def write(source: ObjectSource, download: Download, index: int) -> float:
    data = memoryview(chunk_of(source, index))
    blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
    return spent(lambda: download.write_chunk(index, blocks))


def again(store: Store, source: ObjectSource, place: Path) -> Download:
    (place / "second").mkdir()
    download = store.create_download(DownloadRequest(source.content_id, str(place / "second"), "got"))
    give_metadata(source, download)
    download.prepare()
    return download


def spent(action: Callable[[], object]) -> float:
    started_at = CLOCK.monotonic()
    action()
    return CLOCK.monotonic() - started_at


def show(what: str, seconds: float, n_bytes: int, n_files: int) -> None:
    print(f"{what:32} {seconds:8.3f} {n_bytes / seconds / 1e6:8.0f} {n_files / seconds:8.0f}")


if __name__ == "__main__":
    main()
