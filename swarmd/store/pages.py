"""The manifest of one object as far as it is here: its root, and the pages that have been checked against it.

In: pages, from peers (`add`) or found in the database. Out: any page, the entries once all their pages are here, and
the hash of a chunk once its page is. New pages stay in memory until `save`, which the owner calls before it claims
chunks that were verified with them.

Invariant: what is given out has matched the root's hash of it. Memory holds the unsaved pages, at most `MAX_UNSAVED`,
and the `MAX_CACHED` hash pages used last. A crash loses unsaved pages, which are fetched again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from swarmd.core.errors import IntegrityError
from swarmd.core.ranges import RangeSet
from swarmd.store.entries import EntryTable
from swarmd.store.manifest import HASH_BYTES, HASHES_PER_PAGE, PageKind, Root, decode_entries
from swarmd.store.tables.objects import ObjectsTable

# 16 MiB: random order over a 2 TiB object finds every hash in memory.
MAX_CACHED = 256
# 4 MiB of metadata for each transaction of a large folder's entry pages.
MAX_UNSAVED = 64


class Pages:
    """Thread-safe."""

    def __init__(self, objects: ObjectsTable, root: Root) -> None:
        self.root = root
        self._objects = objects
        self._lock = threading.Lock()
        self._unsaved: dict[tuple[PageKind, int], bytes] = {}
        self._cache: dict[int, bytes] = {}
        """Hash pages, the least recently used first."""
        self._present = {kind: RangeSet() for kind in PageKind}
        for kind, present in self._present.items():
            for number in objects.page_numbers(root.content_id, kind):
                present.add(number)

    def add(self, kind: PageKind, index: int, data: bytes | memoryview) -> None:
        """RemoteError when `data` is not that page; IndexError when there is no such page to ask for."""
        self.root.check_page(kind, index, data)
        with self._lock:
            if index in self._present[kind]:
                return
            self._unsaved[kind, index] = bytes(data)
            self._present[kind].add(index)
            is_time_to_save = len(self._unsaved) >= MAX_UNSAVED
        if is_time_to_save:
            self.save()

    def get(self, kind: PageKind, index: int) -> bytes | None:
        """None when it is not here (yet)."""
        with self._lock:
            unsaved = self._unsaved.get((kind, index))
        return unsaved if unsaved is not None else self._objects.page(self.root.content_id, kind, index)

    def has(self, kind: PageKind, index: int) -> bool:
        with self._lock:
            return index in self._present[kind]

    def missing(self, kind: PageKind) -> list[int]:
        with self._lock:
            return list(self._present[kind].missing(self.root.n_pages(kind)))

    def entries(self) -> EntryTable:
        """All entry pages must be here. MalformedObject when they make no tree."""
        return decode_entries(self.root, self._entry_pages())

    def verifiable(self) -> RangeSet:
        """The chunks whose hashes are here."""
        with self._lock:
            pages = list(self._present[PageKind.HASHES].ranges())
        n_chunks = self.root.n_chunks
        return RangeSet(
            (min(first * HASHES_PER_PAGE, n_chunks), min(stop * HASHES_PER_PAGE, n_chunks)) for first, stop in pages
        )

    def hash_of(self, chunk: int) -> bytes | None:
        """None when its page is not here (yet)."""
        number, at = divmod(chunk, HASHES_PER_PAGE)
        page = self._cache.get(number)
        if page is None:
            page = self._load(number)
            if page is None:
                return None
        return page[at * HASH_BYTES : (at + 1) * HASH_BYTES]

    def all_hashes(self) -> bytes:
        """Of a complete manifest: 32 bytes for each chunk. IntegrityError when pages are missing."""
        pages = self._objects.pages(self.root.content_id, PageKind.HASHES)
        hashes = b"".join(pages)
        if len(hashes) != self.root.n_chunks * HASH_BYTES:
            raise IntegrityError(f"hashes of object {self.root.content_id.short} are missing from the database")
        return hashes

    def save(self) -> None:
        """Write the new pages, in a transaction of their own. The object must have its row."""
        with self._lock:
            unsaved = dict(self._unsaved)
        if unsaved:
            rows = [(kind, index, data) for (kind, index), data in unsaved.items()]
            self._objects.put_pages(self.root.content_id, rows)
            with self._lock:
                for key in unsaved:
                    self._unsaved.pop(key, None)

    def _entry_pages(self) -> Iterator[bytes]:
        for index in range(self.root.n_pages(PageKind.ENTRIES)):
            page = self.get(PageKind.ENTRIES, index)
            if page is None:
                raise IntegrityError(f"entry page {index} of {self.root.content_id.short} is missing")
            yield page

    def _load(self, number: int) -> bytes | None:
        page = self.get(PageKind.HASHES, number)
        if page is not None:
            with self._lock:
                self._cache.pop(number, None)
                self._cache[number] = page
                while len(self._cache) > MAX_CACHED:
                    del self._cache[next(iter(self._cache))]
        return page
