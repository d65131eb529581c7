"""Pages of a manifest: checked, kept until saved, found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from swarmd.core.errors import IntegrityError, RemoteError
from swarmd.core.ranges import RangeSet
from swarmd.store.database import Database
from swarmd.store.entries import EntryTable
from swarmd.store.library import Library
from swarmd.store.manifest import HASHES_PER_PAGE, Built, PageKind, build
from swarmd.store.pages import MAX_CACHED, MAX_UNSAVED, Pages
from tests.store.samples import table_of

CHUNK = 1 << 18
N_CHUNKS = 3 * HASHES_PER_PAGE + 5


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    database = Database(str(tmp_path / "swarmd.db"))
    yield Library(database)
    database.close()


def manifest(n_chunks: int = N_CHUNKS) -> tuple[EntryTable, Built]:
    table = table_of(n_chunks * CHUNK)
    return table, build(table, CHUNK, b"".join(hash_of(chunk) for chunk in range(n_chunks)))


def hash_of(chunk: int) -> bytes:
    return blake3(b"%d" % chunk).digest()


def test_pages_become_known_one_by_one(library: Library) -> None:
    table, built = manifest()
    library.add_root(built.root, built.data)
    pages = Pages(library.objects, built.root)
    assert pages.missing(PageKind.ENTRIES) == [0]
    assert pages.missing(PageKind.HASHES) == [0, 1, 2, 3]
    with pytest.raises(IntegrityError):
        pages.entries()
    pages.add(PageKind.ENTRIES, 0, memoryview(built.entry_pages[0]))
    assert pages.entries() == table
    pages.add(PageKind.HASHES, 3, built.hash_pages[3])
    pages.add(PageKind.HASHES, 1, built.hash_pages[1])
    known = RangeSet([(HASHES_PER_PAGE, 2 * HASHES_PER_PAGE), (3 * HASHES_PER_PAGE, N_CHUNKS)])
    assert pages.verifiable() == known
    for chunk in (0, HASHES_PER_PAGE - 1, HASHES_PER_PAGE, 2 * HASHES_PER_PAGE, N_CHUNKS - 1):
        assert pages.hash_of(chunk) == (hash_of(chunk) if chunk in known else None)
    with pytest.raises(IntegrityError, match="missing"):
        pages.all_hashes()


def test_only_saved_pages_are_there_again(library: Library) -> None:
    _, built = manifest()
    library.add_root(built.root, built.data)
    pages = Pages(library.objects, built.root)
    pages.add(PageKind.HASHES, 0, built.hash_pages[0])
    pages.save()
    pages.save()
    pages.add(PageKind.HASHES, 2, built.hash_pages[2])
    assert pages.get(PageKind.HASHES, 2) == built.hash_pages[2]
    again = Pages(library.objects, built.root)
    assert again.has(PageKind.HASHES, 0)
    assert not again.has(PageKind.HASHES, 2)
    assert again.get(PageKind.HASHES, 0) == built.hash_pages[0]
    assert again.get(PageKind.HASHES, 2) is None


def test_a_false_page_is_not_kept(library: Library) -> None:
    _, built = manifest()
    library.add_root(built.root, built.data)
    pages = Pages(library.objects, built.root)
    for data in (b"", built.hash_pages[1], built.hash_pages[0][:-1]):
        with pytest.raises(RemoteError):
            pages.add(PageKind.HASHES, 0, data)
    assert not pages.has(PageKind.HASHES, 0)
    assert pages.hash_of(0) is None


def test_memory_is_bounded(library: Library) -> None:
    _, built = manifest((MAX_CACHED + 20) * HASHES_PER_PAGE)
    library.add_root(built.root, built.data)
    pages = Pages(library.objects, built.root)
    for index, page in enumerate(built.hash_pages):
        pages.add(PageKind.HASHES, index, page)
        assert len(pages._unsaved) < MAX_UNSAVED
    for chunk in range(0, built.root.n_chunks, HASHES_PER_PAGE):
        assert pages.hash_of(chunk) == hash_of(chunk)
        assert len(pages._cache) <= MAX_CACHED
    pages.save()
    assert pages.all_hashes() == b"".join(built.hash_pages)
