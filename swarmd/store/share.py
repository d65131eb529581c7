"""Sharing a file or folder where it lies: hash it, write its manifest down, remember where it is.

Invariant: a path is remembered only with the manifest and the stamps of one and the same reading of it, in one
transaction, so a crash leaves what was known before. Of an unchanged path nothing but listings and `stat`s are read,
and nothing is made anew (`revisit`); of a changed one what has changed (`hashing`, `unchanged`).
It copies nothing and publishes nothing.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from swarmd.core.clock import Clock
from swarmd.core.errors import InvalidArgument
from swarmd.core.ids import ContentId
from swarmd.core.terminal import escape
from swarmd.store.hashing import Hashed, HashedTree, Progress, hash_tree
from swarmd.store.library import Library
from swarmd.store.manifest import Built, PageKind, build
from swarmd.store.pages import Pages
from swarmd.store.revisit import revisit
from swarmd.store.stamps import StampTable
from swarmd.store.tables.objects import CopyRow, ObjectRow


@dataclass(frozen=True, slots=True)
class SharedObject:
    """A whole copy of an object on this machine."""

    content_id: ContentId
    name: str
    path: str
    """Absolute, without links."""
    is_folder: bool
    size: int
    n_files: int
    n_chunks: int
    chunk_size: int

    @classmethod
    def of(cls, copy: CopyRow, row: ObjectRow) -> SharedObject:
        return cls(
            content_id=copy.content_id,
            name=copy.name,
            path=copy.path,
            is_folder=row.is_folder,
            size=row.size,
            n_files=copy.n_files,
            n_chunks=row.n_chunks,
            chunk_size=row.chunk_size,
        )


def share_path(
    library: Library,
    path: str,
    *,
    clock: Clock,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> SharedObject:
    """Errors as of `hash_tree`: they name what cannot be read or shared, and what does not hold still."""
    place = os.path.realpath(path) if os.path.isabs(path) else path
    earlier = library.copies.at(place)
    known = [] if earlier is None else [_earlier_tree(library, earlier)]
    if earlier is not None and _is_unchanged(library, known[0], cancel or threading.Event()):
        row = library.objects.get(earlier.content_id)
        assert row is not None, "a copy refers to its object"
        if progress is not None:
            progress(Hashed(row.size, row.size, earlier.n_files, earlier.n_files))
        return SharedObject.of(earlier, row)
    tree = hash_tree(path, clock=clock, known=known, progress=progress, cancel=cancel)
    name = os.path.basename(tree.path)
    if not name:
        raise InvalidArgument(f"{escape(tree.path)} has no name to share it by")
    built = build(tree.entries, tree.chunk_size, tree.hashes)
    copy = CopyRow(built.content_id, tree.path, name, tree.entries.n_files, tree.stamps.encode())
    library.keep_entries(built.content_id, tree.entries)
    return SharedObject.of(copy, _remember(library, built, copy))


def _earlier_tree(library: Library, copy: CopyRow) -> HashedTree:
    """What an earlier share or download knows of the path."""
    found = library.root_of(copy.content_id)
    assert found is not None, "a copy refers to its object"
    pages = Pages(library.objects, found[0])
    stamps = StampTable.decode(copy.stamps)
    return HashedTree(copy.path, library.entries_of(pages), stamps, found[0].chunk_size, pages.all_hashes())


def _is_unchanged(library: Library, tree: HashedTree, cancel: threading.Event) -> bool:
    """Whether it lies there as it was read; devices that have other numbers by now are noted."""
    stamps = revisit(tree.path, tree.entries, tree.stamps, cancel)
    if stamps is not None and stamps is not tree.stamps:
        library.copies.restamp(tree.path, stamps.encode())
    return stamps is not None


def _remember(library: Library, built: Built, copy: CopyRow) -> ObjectRow:
    root = built.root
    pages = [(PageKind.ENTRIES, index, data) for index, data in enumerate(built.entry_pages)]
    pages += [(PageKind.HASHES, index, data) for index, data in enumerate(built.hash_pages)]
    with library.database.transaction():
        row = library.add_root(root, built.data)
        library.objects.put_pages(root.content_id, pages)
        library.copies.put(copy)
        library.collect()
    return row
