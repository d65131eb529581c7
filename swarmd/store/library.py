"""What the parts of a store share: the tables about objects, and the open files.

Out: the manifest of a known object (`root_of`, `entries_of`), and a source for a copy (`open_copy`).

Invariant: a table of entries that somebody uses is not decoded again; none is kept for its own sake but the one used
last, and that only up to MAX_KEPT_ENTRIES. Thread-safe: tables never change, and what two threads decode at the same
time is equal.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from swarmd.core.ids import ContentId
from swarmd.store.database import Database
from swarmd.store.descriptors import Descriptors
from swarmd.store.entries import EntryKind, EntryTable
from swarmd.store.manifest import Root, decode_root
from swarmd.store.pages import Pages
from swarmd.store.source import ObjectSource
from swarmd.store.stamps import StampTable
from swarmd.store.tables.downloads import DownloadsTable
from swarmd.store.tables.objects import CopiesTable, CopyRow, ObjectRow, ObjectsTable

MAX_KEPT_ENTRIES = 1 << 17
"""5 MB: a share is opened right after it was read, and decoding its names takes as long as a scan of the folder."""


class Library:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.objects = ObjectsTable(database)
        self.copies = CopiesTable(database)
        self.downloads = DownloadsTable(database)
        self.descriptors = Descriptors()
        self._tables: WeakValueDictionary[ContentId, EntryTable] = WeakValueDictionary()
        self._last_table: EntryTable | None = None

    def add_root(self, root: Root, data: bytes) -> ObjectRow:
        """Make the object known, if it is not. `collect` forgets it when nothing refers to it."""
        row = ObjectRow(
            content_id=root.content_id,
            is_folder=root.kind is EntryKind.DIRECTORY,
            root=data,
            size=root.total_size,
            chunk_size=root.chunk_size,
            n_chunks=root.n_chunks,
        )
        self.objects.put(row)
        return row

    def root_of(self, content_id: ContentId) -> tuple[Root, bytes] | None:
        """The root, decoded and as bytes; None when the object is not known."""
        row = self.objects.get(content_id)
        return None if row is None else (decode_root(row.root, content_id), row.root)

    def entries_of(self, pages: Pages) -> EntryTable:
        """All entries of an object whose entry pages are all here. MalformedObject, IntegrityError."""
        content_id = pages.root.content_id
        entries = self._tables.get(content_id)
        if entries is None:
            entries = pages.entries()
            self.keep_entries(content_id, entries)
        return entries

    def keep_entries(self, content_id: ContentId, entries: EntryTable) -> None:
        """What `entries_of` would decode, from whoever has just made it."""
        self._tables[content_id] = entries
        self._last_table = entries if len(entries) <= MAX_KEPT_ENTRIES else None

    def open_copy(self, copy: CopyRow) -> ObjectSource:
        """May read the whole table of entries: for a worker thread."""
        found = self.root_of(copy.content_id)
        assert found is not None, "a copy refers to its object"
        root, data = found
        pages = Pages(self.objects, root)
        stamps = StampTable.decode(copy.stamps)
        return ObjectSource(copy.path, pages, data, self.entries_of(pages), stamps, self.descriptors)

    def open_best_copy(self, content_id: ContentId) -> ObjectSource | None:
        """The copy of which most can still be served; None when there is no copy."""
        sources = [self.open_copy(copy) for copy in self.copies.of(content_id)]
        if len(sources) > 1:
            sources.sort(key=lambda source: len(source.check()))
        for source in sources[1:]:
            source.close()
        return sources[0] if sources else None

    def collect(self) -> None:
        """Forget objects that neither a copy nor a download refers to."""
        self.objects.collect()
