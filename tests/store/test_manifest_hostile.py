"""Manifests that somebody made to hurt: well hashed, so that only the decoder stands in between.

They are put together here byte by byte; the product's encoder could not say most of this.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence

import pytest
from blake3 import blake3
from hypothesis import example, given
from hypothesis import strategies as st

from swarmd.core.codec import Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ContentId
from swarmd.store.manifest import (
    HASH_BYTES,
    MAX_CHUNKS,
    MAX_ENTRY_PAGES,
    MAX_ROOT_BYTES,
    PAGE_BYTES,
    MalformedObject,
    PageKind,
    Root,
    build,
    decode_entries,
    decode_root,
    encode_entries,
)
from tests.store.samples import table_of

KIB = 1 << 10
FILE, DIRECTORY, SYMLINK = range(3)
TOP = bytes([0, 3, 0o355])


def record(depth: int, kind: int, name: str, value: int | str | None = None, mode: int = 0o755) -> bytes:
    writer = Writer().u8(depth).u16(kind << 9 | mode).text(name)
    if isinstance(value, int):
        writer.varint(value)
    elif isinstance(value, str):
        writer.text(value)
    return writer.bytes()


def root_bytes(
    pages: Sequence[bytes],
    *,
    kind: int = DIRECTORY,
    log2: int = 18,
    size: int = 0,
    chunks: int = 0,
    entries: int = 1,
    n_entry_pages: int | None = None,
    version: int = 1,
    hashes: bytes = b"",
) -> bytes:
    writer = Writer().raw(b"swarmd").u8(version).u8(kind).u8(log2).varint(size).varint(chunks).varint(entries)
    writer.varint(len(pages) if n_entry_pages is None else n_entry_pages)
    for page in pages:
        writer.raw(blake3(page).digest())
    return writer.raw(hashes).bytes()


def decode(data: bytes) -> Root:
    return decode_root(data, ContentId(blake3(data).digest()))


ROOTS = {
    "nothing": b"",
    "no magic": b"SWARMD" + root_bytes([TOP])[6:],
    "a later version": root_bytes([TOP], version=2),
    "an unknown kind": root_bytes([TOP], kind=3),
    "a link as object": root_bytes([TOP], kind=SYMLINK),
    "small chunks": root_bytes([TOP], log2=17),
    "huge chunks": root_bytes([TOP], log2=23),
    "chunks of 2^255": root_bytes([TOP], log2=255),
    "2^40 chunks": root_bytes([TOP], chunks=1 << 40, size=1 << 44, entries=1),
    "as many chunks as a root may have, without their hashes": root_bytes([TOP], chunks=MAX_CHUNKS, size=1 << 44),
    "2^63 bytes": root_bytes([TOP], size=1 << 63, chunks=1),
    "2^40 entries": root_bytes([TOP], entries=1 << 40),
    "more entries than the pages can hold": root_bytes([TOP], entries=PAGE_BYTES),
    "2^40 pages of entries": root_bytes([TOP], n_entry_pages=1 << 40),
    "as many pages as a root may have, without their hashes": root_bytes([TOP], n_entry_pages=MAX_ENTRY_PAGES),
    "more pages than entries": root_bytes([TOP, TOP], entries=1),
    "no entries": root_bytes([], entries=0),
    "more chunks than its bytes can make": root_bytes([TOP], size=1 << 18, chunks=3, hashes=bytes(32)),
    "fewer chunks than its bytes need": root_bytes([TOP], size=(1 << 18) + 1, chunks=1, hashes=bytes(32)),
    "chunks of no bytes": root_bytes([TOP], size=0, chunks=2, hashes=bytes(32)),
    "a file of two entries": root_bytes([TOP], kind=FILE, entries=2),
    "a file of a chunk too many": root_bytes([TOP], kind=FILE, size=1, chunks=2, hashes=bytes(32)),
    "a file of two pages": root_bytes([TOP, TOP], kind=FILE, entries=2),
    "a missing hash": root_bytes([TOP])[:-1],
    "a byte too many": root_bytes([TOP]) + b"\0",
    "a long form of a number": root_bytes([TOP])[:9] + b"\x80\0" + root_bytes([TOP])[10:],
}


@pytest.mark.parametrize("data", ROOTS.values(), ids=ROOTS.keys())
def test_malformed_roots(data: bytes) -> None:
    with pytest.raises(MalformedObject) as caught:
        decode(data)
    assert caught.value.penalty == 0, "whoever passed it on has done nothing wrong"


def test_a_later_version_says_what_to_do() -> None:
    with pytest.raises(MalformedObject, match=r"version 2.*upgrade"):
        decode(ROOTS["a later version"])


PAGES: dict[str, tuple[list[bytes], str]] = {
    "dot dot": ([record(1, FILE, "..", 0)], "cannot be the name"),
    "absolute": ([record(1, FILE, "/etc/passwd", 0)], "contains '/'"),
    "a path in a name": ([record(1, FILE, "a/../../b", 0)], "contains '/'"),
    "a link out of the tree": ([record(1, SYMLINK, "a", "../b", 0o777)], "leads out"),
    "an absolute link": ([record(1, SYMLINK, "a", "/etc", 0o777)], "relative"),
    "a link as parent": ([record(1, SYMLINK, "a", "b", 0o777), record(2, FILE, "c", 0)], "no folder"),
    "a file as parent": ([record(1, FILE, "a", 0), record(2, FILE, "c", 0)], "no folder"),
    "a missing parent": ([record(2, FILE, "c", 0)], "no folder"),
    "two equal names": ([record(1, FILE, "a", 0)] * 2, "twice"),
    "names that differ in case": ([record(1, FILE, "A", 0), record(1, FILE, "a", 0)], "only in case"),
    "in Unicode form": ([record(1, FILE, "e\u0301", 0), record(1, FILE, "\u00e9", 0)], "or Unicode form"),
    "unsorted": ([record(1, FILE, "b", 0), record(1, FILE, "a", 0)], "out of order"),
    "a second top": ([TOP], "one file or folder at its top"),
    "a depth bomb": ([record(depth, DIRECTORY, "d") for depth in range(1, 110)], "more than 100 folders"),
    "an unknown kind": ([record(1, 3, "a")], "unknown kind"),
    "bits above the mode": ([bytes([1, 0xFF, 0xFF, 1, 97])], "unknown kind"),
    "a name that is not UTF-8": ([bytes([1, 1, 0xA4, 1, 0xFF, 0])], "not UTF-8"),
    "a name in overlong UTF-8": ([bytes([1, 1, 0xA4, 2, 0xC0, 0xAE, 0])], "not UTF-8"),
    "half a surrogate": ([bytes([1, 1, 0xA4, 3, 0xED, 0xA0, 0x80, 0])], "not UTF-8"),
    "a name of 2^40 bytes": ([Writer().u8(1).u16(0o644).varint(1 << 40).bytes()], "over the limit"),
    "a record cut short": ([record(1, FILE, "a", 300)[:-1]], "ends early"),
    "a size beyond 64 bits": ([record(1, FILE, "a") + bytes([0x80] * 9 + [2])], "over the limit"),
    "sizes that add up beyond the bound": ([record(1, FILE, name, 1 << 43) for name in "abc"], "larger than"),
}


@pytest.mark.parametrize(("records", "reason"), PAGES.values(), ids=PAGES.keys())
def test_malformed_pages(records: list[bytes], reason: str) -> None:
    page = TOP + b"".join(records)
    root = decode(root_bytes([page], entries=1 + len(records)))
    root.check_page(PageKind.ENTRIES, 0, page)
    with pytest.raises(MalformedObject, match=reason) as caught:
        decode_entries(root, [page])
    assert caught.value.penalty == 0


def test_sums_that_do_not_add_up() -> None:
    one = TOP + record(1, FILE, "a", 10)
    two = TOP + record(1, FILE, "a", 3 << 17)
    cases = [
        ([TOP], root_bytes([TOP], entries=2), "fewer entries"),
        ([one], root_bytes([one], entries=1, size=10, chunks=1, hashes=bytes(32)), "more entries"),
        ([one], root_bytes([one], entries=2, size=11, chunks=1, hashes=bytes(32)), "sizes"),
        ([one], root_bytes([one], entries=2, size=10, chunks=2, hashes=bytes(32)), "number of chunks"),
        ([two], root_bytes([two], entries=2, size=3 << 17, chunks=3, hashes=bytes(32)), "number of chunks"),
        ([TOP], root_bytes([TOP], kind=FILE), "another kind"),
        ([b"\0\1\xa4\5"], root_bytes([b"\0\1\xa4\5"], size=5, chunks=1, hashes=bytes(32)), "another kind"),
    ]
    for pages, data, reason in cases:
        root = decode(data)
        with pytest.raises(MalformedObject, match=reason):
            decode_entries(root, pages)


def test_pages_that_are_not_filled_are_another_spelling() -> None:
    """One tree has one content ID."""
    pages = [TOP, record(1, DIRECTORY, "a")]
    root = decode(root_bytes(pages, entries=2))
    with pytest.raises(MalformedObject, match="has room"):
        decode_entries(root, pages)


def test_hash_pages_of_the_wrong_length() -> None:
    page = TOP + record(1, FILE, "a", 300 * KIB)
    for data in (bytes(32), bytes(96)):
        hashes = blake3(data).digest()
        root = decode(root_bytes([page], entries=2, size=300 * KIB, chunks=2, hashes=hashes))
        with pytest.raises(MalformedObject, match="wrong length"):
            root.check_page(PageKind.HASHES, 0, data)
    for size in (0, PAGE_BYTES + 1):
        with pytest.raises(RemoteError, match="a page of"):
            root.check_page(PageKind.HASHES, 0, bytes(size))


@given(st.binary(max_size=300))
@example(build(table_of(5), 1 << 18, bytes(32)).data)
def test_any_bytes_are_a_root_or_refused(data: bytes) -> None:
    for candidate in (data, b"swarmd\1" + data):
        try:
            root = decode(candidate)
        except RemoteError:
            continue
        assert len(root.hash_page_hashes) == -(-root.n_chunks // 2048) * HASH_BYTES


@given(st.binary(max_size=300), st.integers(1, 40))
@example(encode_entries(table_of({"a": 1, "b": {"c": 2}}))[0], 4)
def test_any_bytes_are_entries_or_refused(data: bytes, n_entries: int) -> None:
    page = TOP + data
    root = decode(root_bytes([page], entries=n_entries))
    try:
        entries = decode_entries(root, [page])
    except RemoteError:
        return
    assert encode_entries(entries) == [page], "nothing but the one encoding decodes"


@given(st.data())
def test_any_damage_to_a_manifest_is_refused_or_still_canonical(data: st.DataObject) -> None:
    """Damage that the publisher himself has hashed."""
    page = bytearray(encode_entries(table_of({"a": 1, "b": {"c": 2, "l": "../a"}, "z": 3}))[0])
    for _ in range(data.draw(st.integers(1, 3))):
        page[data.draw(st.integers(0, len(page) - 1))] = data.draw(st.integers(0, 255))
    root = decode(root_bytes([bytes(page)], entries=6, size=6, chunks=1, hashes=bytes(32)))
    try:
        entries = decode_entries(root, [bytes(page)])
    except RemoteError:
        return
    assert encode_entries(entries) == [bytes(page)]


def peak_bytes(function: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        function()
    except RemoteError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("data", ROOTS.values(), ids=ROOTS.keys())
def test_a_root_that_claims_much_takes_no_memory(data: bytes) -> None:
    assert peak_bytes(lambda: decode(data)) < 100 * KIB
    assert len(data) < MAX_ROOT_BYTES


def test_pages_take_memory_by_their_bytes_and_not_by_what_they_claim() -> None:
    page = TOP + b"".join(record(1, FILE, f"{number:04}", 0) for number in range(7000))
    root = decode(root_bytes([page], entries=7001))
    peak = peak_bytes(lambda: decode_entries(root, [page]))
    assert peak < 30 * len(page)
