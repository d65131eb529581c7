"""The manifest of an object: a root, pages of entries, pages of chunk hashes.

The content ID is the BLAKE3 of the root's bytes, and the root holds the BLAKE3 of every page. So each page
is checked by itself when it arrives, and a terabyte starts after its root, one page of entries and one of
hashes. There is no name, time or owner in it: equal files have equal content IDs, wherever they lie.

    root        "swarmd" u8 version=1, u8 kind, u8 log2(chunk size), varint total size, varint chunks, varint
                entries, varint entry pages, 32 bytes for each entry page, 32 bytes for each hash page
    entry page  entries, each: u8 depth, u16 kind << 9 | mode, blob name (not for depth 0), then FILE: varint
                size, SYMLINK: blob target. A page is as full as whole entries make it. The parent of an
                entry is the last folder before it of depth - 1.
    hash page   the BLAKE3 of 2,048 chunks, of the remaining ones in the last page

Invariant: one tree and chunk size has one encoding, and nothing else decodes. Before anything is allocated
for a number that a peer chose, that number has been held against the bytes that are there.

Chunk data never passes through here, and nothing is read or written.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from blake3 import blake3

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import LocalError, RemoteError
from swarmd.core.ids import ContentId
from swarmd.core.names import NAME_BYTES_LIMIT
from swarmd.store.entries import (
    MAX_ENTRIES,
    MAX_SIZE,
    MAX_TARGET_BYTES,
    MODE_BITS,
    EntryKind,
    EntryTable,
    TableBuilder,
    TreeFault,
)
from swarmd.store.layout import count_chunks

MAGIC = b"swarmd"
VERSION = 1
HASH_BYTES = 32
PAGE_BYTES = 1 << 16
"""Small enough to be checked and stored one by one, large enough that a terabyte has 128 pages of hashes."""
HASHES_PER_PAGE = PAGE_BYTES // HASH_BYTES
MIN_CHUNK_LOG2 = 18
MAX_CHUNK_LOG2 = 22
TARGET_CHUNKS = 512
"""Enough pieces for a group to share out, few enough that requests and hashes cost nothing."""
MAX_CHUNKS = MAX_SIZE >> MAX_CHUNK_LOG2
"""Four million: 128 MiB of hashes."""
MAX_ENTRY_PAGES = 1 << 11
"""128 MiB of names and sizes: MAX_ENTRIES at 64 bytes each. They all have to be here before the first
chunk."""
MAX_ROOT_BYTES = 1 << 18
"""One message. Page hashes take at most 128 KiB with the bounds above; the rest is room for raising them."""
_MIN_RECORD_BYTES = 5
"""Of an entry that is not the first: depth, kind and mode, a name of one letter, no target."""


class PageKind(enum.IntEnum):
    """Of the pages below the root. Numbers are on the wire."""

    ENTRIES = 0
    HASHES = 1


class MalformedObject(RemoteError):
    """The bytes match the hash that names them and are no manifest all the same: the publisher made it so.

    Whoever passed it on is not to blame (penalty 0), and no other peer has a better one.
    """

    def __init__(self, message: str) -> None:
        super().__init__(f"the object is malformed: {message}", penalty=0)


def chunk_size_for(total_size: int) -> int:
    """256 KiB to 4 MiB: the smallest power of two that makes at most TARGET_CHUNKS of that many bytes."""
    for log2 in range(MIN_CHUNK_LOG2, MAX_CHUNK_LOG2):
        if total_size <= TARGET_CHUNKS << log2:
            return 1 << log2
    return 1 << MAX_CHUNK_LOG2


@dataclass(frozen=True, slots=True)
class Root:
    """A decoded root, valid in itself; its counts hold for the pages only once those are decoded."""

    content_id: ContentId
    kind: EntryKind
    """FILE or DIRECTORY."""
    chunk_size: int
    total_size: int
    n_chunks: int
    n_entries: int
    entry_page_hashes: bytes
    hash_page_hashes: bytes

    def n_pages(self, kind: PageKind) -> int:
        return len(self._page_hashes(kind)) // HASH_BYTES

    def check_page(self, kind: PageKind, index: int, data: bytes | memoryview) -> None:
        """RemoteError unless `data` is page `index` of that kind, 0 <= index < n_pages(kind)."""
        if not 0 <= index < self.n_pages(kind):
            raise IndexError(f"{kind.name} page {index} of {self.n_pages(kind)}")
        if not 0 < len(data) <= PAGE_BYTES:
            raise RemoteError(f"a page of {len(data)} bytes", penalty=10)
        at = index * HASH_BYTES
        if blake3(data).digest() != self._page_hashes(kind)[at : at + HASH_BYTES]:
            raise RemoteError("a page does not match its hash", penalty=10)
        if kind is PageKind.HASHES and len(data) != len(self.chunks_of_page(index)) * HASH_BYTES:
            raise MalformedObject("a page of hashes has the wrong length")

    def chunks_of_page(self, index: int) -> range:
        """The chunks whose hashes are in hash page `index`, 32 bytes for each."""
        return range(index * HASHES_PER_PAGE, min((index + 1) * HASHES_PER_PAGE, self.n_chunks))

    def _page_hashes(self, kind: PageKind) -> bytes:
        return self.entry_page_hashes if kind is PageKind.ENTRIES else self.hash_page_hashes


@dataclass(frozen=True, slots=True)
class Built:
    """A manifest made here: `data` is the root as bytes."""

    root: Root
    data: bytes
    entry_pages: list[bytes]
    hash_pages: list[bytes]

    @property
    def content_id(self) -> ContentId:
        return self.root.content_id


def build(entries: EntryTable, chunk_size: int, hashes: bytes | bytearray) -> Built:
    """The manifest of `entries`; `hashes` has 32 bytes for each chunk of their Layout. LocalError: too
    large."""
    n_chunks = count_chunks(entries, chunk_size)
    if len(hashes) != n_chunks * HASH_BYTES:
        raise ValueError(f"{n_chunks} chunks have {n_chunks * HASH_BYTES} bytes of hashes, not {len(hashes)}")
    if n_chunks > MAX_CHUNKS:
        raise LocalError(f"{n_chunks} chunks are too many for one object ({MAX_CHUNKS}): share it in parts")
    entry_pages = encode_entries(entries)
    if len(entry_pages) > MAX_ENTRY_PAGES:
        raise LocalError(f"its names take more than {MAX_ENTRY_PAGES * PAGE_BYTES} bytes: share it in parts")
    hash_pages = [bytes(hashes[at : at + PAGE_BYTES]) for at in range(0, len(hashes), PAGE_BYTES)]
    writer = Writer().raw(MAGIC).u8(VERSION).u8(entries.kind(0)).u8(chunk_size.bit_length() - 1)
    writer.varint(entries.total_size).varint(n_chunks).varint(len(entries)).varint(len(entry_pages))
    for page in (*entry_pages, *hash_pages):
        writer.raw(blake3(page).digest())
    data = writer.bytes()
    root = decode_root(data, ContentId(blake3(data).digest()))
    return Built(root, data, entry_pages, hash_pages)


def encode_entries(entries: EntryTable) -> list[bytes]:
    """The entry pages. Trees are equal exactly when these are."""
    pages = []
    page = bytearray()
    for index in range(len(entries)):
        record = _encode_entry(entries, index)
        if len(page) + len(record) > PAGE_BYTES:
            pages.append(bytes(page))
            page.clear()
        page += record
    pages.append(bytes(page))
    return pages


def decode_root(data: bytes | memoryview, expected: ContentId) -> Root:
    """RemoteError when `data` is not what `expected` names, MalformedObject when it is, and no root."""
    if len(data) > MAX_ROOT_BYTES:
        raise RemoteError(f"a root of {len(data)} bytes", penalty=10)
    if blake3(data).digest() != expected:
        raise RemoteError("a root does not match its content ID", penalty=10)
    try:
        return _read_root(Reader(data), expected)
    except MalformedObject:
        raise
    except RemoteError as error:
        raise MalformedObject(str(error)) from None


def decode_entries(root: Root, pages: Iterable[bytes]) -> EntryTable:
    """The entries in `pages`: all of them in order, each passed by `root.check_page` before.
    MalformedObject."""
    builder = TableBuilder()
    left = root.n_entries
    room = 0
    try:
        for page in pages:
            reader = Reader(page)
            first = True
            while reader.remaining:
                if not left:
                    raise MalformedObject("more entries than its root says")
                left -= 1
                _read_entry(reader, builder)
                if first and len(page) - reader.remaining <= room:
                    raise MalformedObject("a page of entries has room for the first of the next")
                first = False
            room = PAGE_BYTES - len(page)
        entries = builder.finish()
    except MalformedObject:
        raise
    except (RemoteError, TreeFault) as error:
        raise MalformedObject(str(error)) from None
    _check_sums(root, entries, left)
    return entries


def _read_root(reader: Reader, content_id: ContentId) -> Root:
    if reader.raw(len(MAGIC)) != MAGIC:
        raise MalformedObject("it does not start with a manifest")
    if (version := reader.u8()) != VERSION:
        raise MalformedObject(f"its manifest has version {version}, this swarmd reads {VERSION}: upgrade it")
    if (kind := reader.u8()) not in (EntryKind.FILE, EntryKind.DIRECTORY):
        raise MalformedObject(f"it is of unknown kind {kind}")
    if not MIN_CHUNK_LOG2 <= (log2 := reader.u8()) <= MAX_CHUNK_LOG2:
        raise MalformedObject(f"chunks of 2^{log2} bytes")
    total_size = reader.varint(MAX_SIZE)
    n_chunks = reader.varint(MAX_CHUNKS)
    n_entries = reader.varint(MAX_ENTRIES)
    n_entry_pages = reader.varint(MAX_ENTRY_PAGES)
    n_hash_pages = -(-n_chunks // HASHES_PER_PAGE)
    root = Root(
        content_id=content_id,
        kind=EntryKind(kind),
        chunk_size=1 << log2,
        total_size=total_size,
        n_chunks=n_chunks,
        n_entries=n_entries,
        entry_page_hashes=reader.raw(n_entry_pages * HASH_BYTES),
        hash_page_hashes=reader.raw(n_hash_pages * HASH_BYTES),
    )
    reader.end()
    _check_root(root)
    return root


def _check_root(root: Root) -> None:
    """What can be known before the pages are here."""
    least = -(-root.total_size // root.chunk_size)
    if root.kind is EntryKind.FILE:
        if (root.n_entries, root.n_pages(PageKind.ENTRIES), root.n_chunks) != (1, 1, least):
            raise MalformedObject("a single file with more than itself in it")
        return
    # Every file leaves at most one chunk short; the packed ones leave one in all.
    if not least <= root.n_chunks <= root.total_size // root.chunk_size + root.n_entries:
        raise MalformedObject(f"{root.n_chunks} chunks for {root.total_size} bytes")
    n_pages = root.n_pages(PageKind.ENTRIES)
    if not n_pages <= root.n_entries <= n_pages * (PAGE_BYTES // _MIN_RECORD_BYTES + 1) or not n_pages:
        raise MalformedObject(f"{root.n_entries} entries in {n_pages} pages")


def _check_sums(root: Root, entries: EntryTable, left: int) -> None:
    if left:
        raise MalformedObject("fewer entries than its root says")
    if entries.kind(0) is not root.kind:
        raise MalformedObject("its first entry is of another kind than its root says")
    if entries.total_size != root.total_size:
        raise MalformedObject("the sizes of its files do not add up to what its root says")
    if count_chunks(entries, root.chunk_size) != root.n_chunks:
        raise MalformedObject("its files make another number of chunks than its root says")


def _encode_entry(entries: EntryTable, index: int) -> bytes:
    kind = entries.kind(index)
    depth = entries.depth(index)
    writer = Writer().u8(depth).u16(kind << MODE_BITS | entries.mode(index))
    if depth:
        writer.blob(entries.name_bytes(index))
    if kind is EntryKind.FILE:
        writer.varint(entries.size(index))
    elif kind is EntryKind.SYMLINK:
        writer.text(entries.target(index) or "")
    return writer.bytes()


def _read_entry(reader: Reader, builder: TableBuilder) -> None:
    depth = reader.u8()
    meta = reader.u16()
    if (number := meta >> MODE_BITS) > EntryKind.SYMLINK:
        raise RemoteError(f"an entry of unknown kind {number}")
    kind = EntryKind(number)
    name = reader.text(NAME_BYTES_LIMIT) if depth else ""
    size = reader.varint(MAX_SIZE) if kind is EntryKind.FILE else 0
    target = reader.text(MAX_TARGET_BYTES) if kind is EntryKind.SYMLINK else None
    builder.add(depth, kind, meta & ((1 << MODE_BITS) - 1), size, name, target)
