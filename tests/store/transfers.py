"""What a network would do, by function calls: metadata and chunks from a source into a download."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from swarmd.store.download import Download
from swarmd.store.manifest import PageKind
from swarmd.store.source import ObjectSource
from swarmd.store.store import DownloadRequest, Store

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where temporary folders cost no disk; None: the usual place."""
KIB = 1 << 10
CHUNK = 256 * KIB
"""Of every object below 256 MiB."""


def shared(store: Store, path: Path) -> ObjectSource:
    """Share a path and open it for serving."""
    return store.open_object(store.share(str(path)).content_id)


def give_metadata(source: ObjectSource, download: Download) -> None:
    download.accept_root(source.root_data)
    for kind in PageKind:
        for index in range(source.root.n_pages(kind)):
            page = source.page(kind, index)
            assert page is not None
            download.accept_page(kind, index, page)


def prepared(store: Store, source: ObjectSource, target: Path, name: str = "got", overwrite: bool = False) -> Download:
    """A download that has its metadata, and no chunk."""
    request = DownloadRequest(source.content_id, str(target), name, overwrite=overwrite)
    download = store.create_download(request)
    give_metadata(source, download)
    download.prepare()
    return download


def chunk_of(source: ObjectSource, index: int) -> bytes:
    buffer = bytearray(source.root.chunk_size)
    return bytes(buffer[: source.read_chunk(index, buffer)])


def give_chunks(source: ObjectSource, download: Download, chunks: Iterable[int] | None = None) -> None:
    """Every chunk, or these; each in four parts, as it comes from the network."""
    for index in range(source.root.n_chunks) if chunks is None else chunks:
        data = memoryview(chunk_of(source, index))
        step = max(1, len(data) // 4)
        assert download.write_chunk(index, [data[at : at + step] for at in range(0, len(data), step)])


def snapshot(path: Path) -> dict[str, tuple[str, int, bytes]]:
    """Everything below a path: kind, permissions, contents."""
    found = {}
    for place in [path, *sorted(path.rglob("*"))]:
        status = place.lstat()
        name = str(place.relative_to(path))
        if place.is_symlink():
            found[name] = ("link", 0, str(place.readlink()).encode())
        elif place.is_dir():
            found[name] = ("folder", status.st_mode & 0o777, b"")
        else:
            found[name] = ("file", status.st_mode & 0o777, place.read_bytes())
    return found


def rewrite(path: Path, data: bytes) -> None:
    """Write to a file that is there, so that its modification time changes on every kernel."""
    before = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()
    os.utime(path, ns=(before, before + 1_000_000))
