"""Chunks that are on this machine already: copied into a download instead of fetched.

The hash pages of the known objects are the index: those of the same chunk size are looked through for the hashes that
a download still wants (0.2 ms for each page of 2,048; a terabyte of shared files has 128). So nothing has to be kept up
to date, and a share writes nothing more. Chunks of another size never match, except by chance at the ends of files.

Invariant: a copied chunk is in the download only when the bytes that arrived match its hash, whatever the source was.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from swarmd.core.clock import Clock
from swarmd.core.errors import LocalError
from swarmd.core.ids import ContentId
from swarmd.store.download import Download
from swarmd.store.hashing import PROGRESS_PERIOD
from swarmd.store.library import Library
from swarmd.store.manifest import HASH_BYTES, HASHES_PER_PAGE, PageKind
from swarmd.store.source import ObjectSource

ReuseProgress = Callable[[int, int], None]
"""Called with (bytes, chunks), at most ten times a second and once at the end."""
Wanted = dict[bytes, list[int]]
"""Hash of a chunk -> where the download has that chunk: more than one place for, say, zeros."""


@dataclass(frozen=True, slots=True)
class _Find:
    content_id: ContentId
    chunk: int
    hash: bytes


class Reuse:
    """One pass over what is known for one download."""

    def __init__(self, library: Library, download: Download, others: Mapping[ContentId, Download]) -> None:
        """`others`: other unfinished downloads, prepared."""
        self._library = library
        self._download = download
        self._others = others
        self._sources: dict[ContentId, ObjectSource | Download | None] = {}
        self._buffer = memoryview(bytearray(download.layout.chunk_size))
        self.n_bytes = 0
        self.n_chunks = 0

    def run(self, clock: Clock, progress: ReuseProgress, cancel: threading.Event) -> None:
        """Copy what can be copied. DiskFull; Conflict when the download is closed."""
        wanted = wanted_chunks(self._download)
        reported_at = clock.monotonic()
        try:
            for find in self._finds(wanted):
                if cancel.is_set():
                    break
                self._take(find, wanted)
                if clock.monotonic() - reported_at >= PROGRESS_PERIOD:
                    reported_at = clock.monotonic()
                    progress(self.n_bytes, self.n_chunks)
        finally:
            for source in self._sources.values():
                if isinstance(source, ObjectSource):
                    source.close()
        progress(self.n_bytes, self.n_chunks)

    def _finds(self, wanted: Wanted) -> Iterator[_Find]:
        if not wanted:
            return
        objects = self._library.objects
        for content_id in {*objects.copied(self._download.layout.chunk_size), *self._others}:
            for number in objects.page_numbers(content_id, PageKind.HASHES):
                page = objects.page(content_id, PageKind.HASHES, number) or b""
                for at in range(0, len(page), HASH_BYTES):
                    if page[at : at + HASH_BYTES] in wanted:
                        chunk = number * HASHES_PER_PAGE + at // HASH_BYTES
                        yield _Find(content_id, chunk, page[at : at + HASH_BYTES])

    def _take(self, find: _Find, wanted: Wanted) -> None:
        source = self._source(find.content_id)
        if source is None:
            return
        places = wanted[find.hash]
        while places and self._copy(source, find.chunk, places[-1]):
            self.n_chunks += 1
            self.n_bytes += self._download.layout.chunk_length(places.pop())
        if not places:
            del wanted[find.hash]

    def _copy(self, source: ObjectSource | Download, chunk: int, place: int) -> bool:
        """False when the source does not have it, or not any more."""
        if isinstance(source, ObjectSource) and self._copy_in_kernel(source, chunk, place):
            return True
        try:
            length = source.read_chunk(chunk, self._buffer)
        except LocalError:
            return False
        return self._download.write_chunk(place, [self._buffer[:length]])

    def _copy_in_kernel(self, source: ObjectSource, chunk: int, place: int) -> bool:
        extents = source.layout.extents(chunk)
        if len(extents) > 1:
            return False
        try:
            descriptor = source.open_file(extents[0].entry)
        except LocalError:
            return False
        try:
            return self._download.copy_chunk(place, descriptor, extents[0].offset)
        finally:
            os.close(descriptor)

    def _source(self, content_id: ContentId) -> ObjectSource | Download | None:
        if content_id not in self._sources:
            self._sources[content_id] = self._open(content_id)
        return self._sources[content_id]

    def _open(self, content_id: ContentId) -> ObjectSource | Download | None:
        other = self._others.get(content_id)
        if other is not None:
            return other
        return self._library.open_best_copy(content_id)


def wanted_chunks(download: Download) -> Wanted:
    """By hash, of the chunks that are missing and can be verified."""
    wanted: Wanted = {}
    for chunk in _missing(download):
        digest = download.hash_of(chunk)
        if digest is not None:
            wanted.setdefault(digest, []).append(chunk)
    return wanted


def _missing(download: Download) -> Iterable[int]:
    return download.verifiable - download.have
