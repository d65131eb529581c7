"""The manifest of a download while it arrives: root first, then all entry pages, then hash pages as they are needed.

Invariant: what is kept has matched the content ID or the root. The root is in the database as soon as it is accepted;
pages are when they are many, or when chunks are committed that were verified with them. A crash costs those pages.
"""

from __future__ import annotations

import threading

from swarmd.core.errors import Incomplete
from swarmd.core.ids import ContentId
from swarmd.core.ranges import RangeSet
from swarmd.store.library import Library
from swarmd.store.manifest import PageKind, Root, decode_root
from swarmd.store.pages import Pages


class Metadata:
    """Thread-safe."""

    def __init__(self, library: Library, content_id: ContentId) -> None:
        self._library = library
        self._content_id = content_id
        self._root_lock = threading.Lock()
        self._root_data: bytes | None = None
        self._pages: Pages | None = None
        known = library.root_of(content_id)
        if known is not None:
            self._take(*known)

    @property
    def content_id(self) -> ContentId:
        return self._content_id

    @property
    def root(self) -> Root | None:
        return None if self._pages is None else self._pages.root

    @property
    def root_data(self) -> bytes | None:
        return self._root_data

    @property
    def verifiable(self) -> RangeSet:
        """The chunks whose hashes are here: no other can be written."""
        return RangeSet() if self._pages is None else self._pages.verifiable()

    def accept_root(self, data: bytes | memoryview) -> Root:
        """RemoteError when this is not what the content ID names; MalformedObject when it is, and is no root."""
        root = decode_root(data, self._content_id)
        with self._root_lock:
            if self._pages is None:
                self._library.add_root(root, bytes(data))
                self._take(root, bytes(data))
        return root

    def accept_page(self, kind: PageKind, index: int, data: bytes | memoryview) -> None:
        """RemoteError when this is not that page; IndexError when the root has no such page. The root must be here."""
        self._manifest().add(kind, index, data)

    def missing_entry_pages(self) -> list[int]:
        """The ones `prepare` still waits for. The root must be here."""
        return self._manifest().missing(PageKind.ENTRIES)

    def has_hash_page(self, index: int) -> bool:
        return self._pages is not None and self._pages.has(PageKind.HASHES, index)

    def hash_of(self, chunk: int) -> bytes | None:
        """None while its page is not here."""
        return None if self._pages is None else self._pages.hash_of(chunk)

    def page(self, kind: PageKind, index: int) -> bytes | None:
        return None if self._pages is None else self._pages.get(kind, index)

    def _manifest(self) -> Pages:
        if self._pages is None:
            raise Incomplete(f"the root of {self._content_id.short} is not here yet")
        return self._pages

    def _take(self, root: Root, data: bytes) -> None:
        self._root_data = data
        self._pages = Pages(self._library.objects, root)
