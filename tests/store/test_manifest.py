"""The manifest: its bytes, held against bytes put together here, and the way back."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import LocalError, RemoteError
from swarmd.core.ids import ContentId
from swarmd.store import manifest
from swarmd.store.entries import LINK_MODE, Entry, EntryKind, EntryTable
from swarmd.store.layout import count_chunks
from swarmd.store.manifest import (
    HASH_BYTES,
    HASHES_PER_PAGE,
    MAX_ROOT_BYTES,
    PAGE_BYTES,
    Built,
    PageKind,
    build,
    chunk_size_for,
    decode_entries,
    decode_root,
    encode_entries,
)
from tests.store.samples import Spec, entries_of, table_of, tables

KIB = 1 << 10
MIB = 1 << 20


def build_any(entries: EntryTable, chunk_size: int = 256 * KIB) -> Built:
    """With chunk hashes that are what they are."""
    n_chunks = count_chunks(entries, chunk_size)
    return build(entries, chunk_size, b"".join(blake3(b"%d" % chunk).digest() for chunk in range(n_chunks)))


def test_the_bytes_of_a_folder() -> None:
    """A change here is a change of the wire format: VERSION and the module's docstring change with it."""
    entries = EntryTable.of(
        [
            Entry((), EntryKind.DIRECTORY, 0, 0o755),
            Entry(("d",), EntryKind.DIRECTORY, 0, 0o700),
            Entry(("d", "ä"), EntryKind.FILE, 300 * KIB, 0o644),
            Entry(("l",), EntryKind.SYMLINK, 0, LINK_MODE, "d/ä"),
            Entry(("z",), EntryKind.FILE, 0, 0o400),
        ]
    )
    built = build(entries, 256 * KIB, bytes(range(64)))
    page = bytes.fromhex(
        "00 03ed"  # depth 0, folder 0755
        "01 03c0 01 64"  # depth 1, folder 0700, "d"
        "02 01a4 02 c3a4 80e012"  # depth 2, file 0644, "ä", 307200 bytes
        "01 05ff 01 6c 04 642fc3a4"  # depth 1, link, "l" to "d/ä"
        "01 0100 01 7a 00"  # depth 1, file 0400, "z", empty
    )
    assert built.entry_pages == [page]
    assert built.hash_pages == [bytes(range(64))]
    assert built.data == (
        b"swarmd"
        + bytes.fromhex("01 01 12 80e012 02 05 01")  # version, folder, 2^18, bytes, chunks, entries, pages
        + blake3(page).digest()
        + blake3(bytes(range(64))).digest()
    )
    assert str(built.content_id) == "z43fipcr5xgeonqfw2hhljskhuwv7gcgzkmktlifmuk65thorjpq"


def test_the_bytes_of_a_file() -> None:
    built = build(table_of(5), 256 * KIB, bytes(32))
    assert built.entry_pages == [bytes.fromhex("00 01a4 05")]
    assert built.data.startswith(b"swarmd" + bytes.fromhex("01 00 12 05 01 01 01"))
    assert len(built.data) == 13 + 2 * HASH_BYTES


@given(tables())
def test_round_trip(entries: EntryTable) -> None:
    built = build_any(entries)
    root = decode_root(built.data, built.content_id)
    assert root == built.root
    assert root.n_pages(PageKind.ENTRIES) == len(built.entry_pages)
    for kind, pages in ((PageKind.ENTRIES, built.entry_pages), (PageKind.HASHES, built.hash_pages)):
        for index, page in enumerate(pages):
            root.check_page(kind, index, page)
    assert decode_entries(root, built.entry_pages) == entries


def test_equal_trees_have_equal_ids_and_others_not() -> None:
    spec: Spec = {"a": 10, "b": {"c": 20}}
    built = build_any(table_of(spec))
    assert build_any(table_of({"b": {"c": 20}, "a": 10})).content_id == built.content_id
    assert build_any(table_of({"a": 10, "b": {"d": 20}})).content_id != built.content_id
    assert build_any(table_of({"a": 20, "b": {"c": 10}})).content_id != built.content_id
    assert build_any(table_of(spec), 512 * KIB).content_id != built.content_id


def test_many_entries_fill_many_pages() -> None:
    entries = table_of({f"{number:05}": 1 for number in range(20_000)})
    built = build_any(entries)
    assert len(built.entry_pages) > 2
    assert all(PAGE_BYTES - 20 < len(page) <= PAGE_BYTES for page in built.entry_pages[:-1])
    assert decode_entries(built.root, built.entry_pages) == entries


def test_many_chunks_fill_many_pages_each_checked_alone() -> None:
    n_chunks = 2 * HASHES_PER_PAGE + 1
    built = build_any(table_of(n_chunks * 4 * MIB - 7), 4 * MIB)
    assert [len(page) for page in built.hash_pages] == [PAGE_BYTES, PAGE_BYTES, HASH_BYTES]
    assert built.root.chunks_of_page(2) == range(2 * HASHES_PER_PAGE, n_chunks)
    with pytest.raises(RemoteError, match="does not match"):
        built.root.check_page(PageKind.HASHES, 0, built.hash_pages[1])
    with pytest.raises(IndexError):
        built.root.check_page(PageKind.HASHES, 3, built.hash_pages[2])


def test_a_terabyte_starts_after_little() -> None:
    built = build(table_of(1 << 40), 4 * MIB, bytes(HASH_BYTES << 18))
    assert len(built.data) + len(built.entry_pages[0]) + len(built.hash_pages[0]) < 72 * KIB


def test_the_largest_root_is_within_its_bound() -> None:
    n_pages = manifest.MAX_ENTRY_PAGES + manifest.MAX_CHUNKS // HASHES_PER_PAGE
    assert n_pages * HASH_BYTES + 64 <= MAX_ROOT_BYTES


@pytest.mark.parametrize(
    ("total_size", "chunk_size"),
    [
        (0, 256 * KIB),
        (64 * MIB, 256 * KIB),
        (128 * MIB, 256 * KIB),
        (128 * MIB + 1, 512 * KIB),
        (1024 * MIB, 2 * MIB),
        (2048 * MIB, 4 * MIB),
        (1 << 44, 4 * MIB),
    ],
)
def test_chunk_sizes(total_size: int, chunk_size: int) -> None:
    assert chunk_size_for(total_size) == chunk_size


@given(st.integers(0, 1 << 44))
def test_chunk_size_is_the_smallest_that_gives_few_chunks(total_size: int) -> None:
    chunk_size = chunk_size_for(total_size)
    assert total_size <= 512 * chunk_size or chunk_size == 4 * MIB
    assert chunk_size == 256 * KIB or total_size > 512 * (chunk_size // 2)


def test_what_is_too_large_for_one_object() -> None:
    with pytest.raises(LocalError, match="share it in parts"):
        build(table_of((1 << 40) + 1), 256 * KIB, bytes(HASH_BYTES * ((1 << 22) + 1)))


def test_hashes_of_another_number_of_chunks_are_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="1 chunks"):
        build(table_of(5), 256 * KIB, b"")


def test_a_root_of_other_bytes() -> None:
    built = build_any(table_of(5))
    for data in (b"", built.data[:-1], built.data + b"\0", bytes(MAX_ROOT_BYTES + 1)):
        with pytest.raises(RemoteError) as caught:
            decode_root(data, built.content_id)
        assert caught.value.penalty > 0


def test_pages_take_any_buffer() -> None:
    built = build_any(table_of({"a": 1}))
    built.root.check_page(PageKind.ENTRIES, 0, memoryview(bytearray(built.entry_pages[0])))
    assert decode_root(memoryview(built.data), ContentId(built.content_id)) == built.root
    assert encode_entries(EntryTable.of(entries_of({"a": 1}))) == built.entry_pages
