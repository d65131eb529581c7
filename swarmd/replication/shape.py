"""What replication has to know about an object: how many chunks of which length, and how many pages of metadata.

Files, names and hashes are the store's business. A chunk's length follows from its index by `lengths`: the store's
layout starts every large file on a chunk boundary, so any chunk may be short, not only the last one.

A *loose* object is a program's (`programs`): it has no metadata and no end, only indices, and how long a chunk is shows
when it comes. Until then a chunk counts as one byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

MAX_CHUNKS = 1 << 22
"""As in the manifest: 2^22 chunks of 4 MiB are 16 TiB."""
MAX_CHUNK_BYTES = 4 << 20
MAX_PAGES = 1 << 12
HASH_PAGE_CHUNKS = 2048
"""Chunk hashes in one page: 64 KiB of 32 bytes."""
LOOSE_CHUNKS = 1 << 18
"""Indices of a program's object: 16 GiB of the longest chunks. Sets of chunks are bits, and each chunk fetched costs a
few operations on whole sets. Where all indices are wanted and had, that makes 67 us of CPU at both ends together with
2^16, 123 with so many, 481 with 2^20, 2,277 with MAX_CHUNKS; and sets of 2^20 would be 140 KB for each neighbour."""
LOOSE_CHUNK_BYTES = 64 << 10
"""At most, and at least 1. It is one block then: there is no more of it to come."""


class MetaKind(IntEnum):
    """What a metadata request names. A root has only index 0."""

    ROOT = 0
    ENTRIES = 1
    HASHES = 2


@dataclass(frozen=True, slots=True)
class Shape:
    """Known once the root is verified. `lengths(i)` is the length of chunk i, 1..chunk_size, cheap and pure.

    is_loose: the lengths are not known before, and there are no pages.
    """

    n_chunks: int
    chunk_size: int
    total_size: int
    entry_pages: int
    lengths: Callable[[int], int]
    is_loose: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.n_chunks <= MAX_CHUNKS and 0 < self.chunk_size <= MAX_CHUNK_BYTES):
            raise ValueError(f"no object has {self.n_chunks} chunks of {self.chunk_size} bytes")

    @property
    def hash_pages(self) -> int:
        return 0 if self.is_loose else -(-self.n_chunks // HASH_PAGE_CHUNKS)

    @property
    def everything(self) -> int:
        """All chunks, as bits."""
        return (1 << self.n_chunks) - 1

    def chunk_length(self, index: int) -> int:
        return self.lengths(index)

    def pages(self, kind: MetaKind) -> int:
        """How many pages of a kind there are."""
        return (1, self.entry_pages, self.hash_pages)[kind]

    def size_of(self, bits: int) -> int:
        """Bytes of a set of chunks, exact when it is everything, else as if every chunk were as long as the average."""
        count = bits.bit_count()
        return self.total_size * count // self.n_chunks if self.n_chunks else 0


def uniform(total_size: int, chunk_size: int, entry_pages: int = 1) -> Shape:
    """The shape of a single file."""
    n_chunks = -(-total_size // chunk_size)

    def length(index: int) -> int:
        return min(chunk_size, total_size - index * chunk_size)

    return Shape(n_chunks, chunk_size, total_size, entry_pages, length)


LOOSE = Shape(LOOSE_CHUNKS, LOOSE_CHUNK_BYTES, LOOSE_CHUNKS, 0, lambda index: 1, is_loose=True)
"""The shape of every program's object."""
