"""Which bytes of which files are chunk i.

First, in canonical order, come the files of a chunk or more, each starting on a chunk boundary of its own,
so that a file moved or renamed keeps its chunk hashes; the last chunk of each is short, and nothing pads
it. Then all smaller files that have any bytes, packed back to back in canonical order and cut every
chunk_size bytes.

Invariant: every byte of every file is in exactly one chunk, and a chunk's extents in order are its bytes. A
single file is its chunks in order, whatever its size.

About 12 bytes for each file, and a look-up is a bisection.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import NamedTuple

from swarmd.store.entries import EntryTable


class Extent(NamedTuple):
    """`length` bytes from `offset` of the file at index `entry`. A tuple: a packed chunk has up to a
    million."""

    entry: int
    offset: int
    length: int


class Layout:
    """The chunks of one object. Nothing changes it, so threads may share it."""

    __slots__ = (
        "_large",
        "_large_first",
        "_packed_first",
        "_packed_total",
        "_sizes",
        "_small",
        "_small_at",
        "chunk_size",
        "n_chunks",
    )

    def __init__(self, entries: EntryTable, chunk_size: int) -> None:
        self.chunk_size = chunk_size
        self._sizes = entries.sizes
        self._large = array("I")
        self._large_first = array("Q")
        self._small = array("I")
        self._small_at = array("Q")
        chunk = position = 0
        for index, size in enumerate(self._sizes):
            if size >= chunk_size:
                self._large.append(index)
                self._large_first.append(chunk)
                chunk += -(-size // chunk_size)
            elif size:
                self._small.append(index)
                self._small_at.append(position)
                position += size
        self._packed_first = chunk
        self._packed_total = position
        self.n_chunks = chunk + -(-position // chunk_size)

    @property
    def packed_chunks(self) -> range:
        """The chunks that smaller files share."""
        return range(self._packed_first, self.n_chunks)

    def chunk_length(self, chunk: int) -> int:
        """In bytes: chunk_size, or less for the last chunk of a large file and of the small ones."""
        self._check(chunk)
        if chunk >= self._packed_first:
            return min(self.chunk_size, self._packed_total - (chunk - self._packed_first) * self.chunk_size)
        return self._large_extent(chunk).length

    def extents(self, chunk: int) -> list[Extent]:
        """Where its bytes lie, in their order; the lengths add up to `chunk_length`."""
        self._check(chunk)
        if chunk < self._packed_first:
            return [self._large_extent(chunk)]
        position = (chunk - self._packed_first) * self.chunk_size
        left = min(self.chunk_size, self._packed_total - position)
        extents = []
        number = bisect_right(self._small_at, position) - 1
        offset = position - self._small_at[number]
        while left:
            entry = self._small[number]
            length = min(self._sizes[entry] - offset, left)
            extents.append(Extent(entry, offset, length))
            left -= length
            offset = 0
            number += 1
        return extents

    def n_extents(self, chunk: int) -> int:
        """len(extents(chunk)), without making them."""
        self._check(chunk)
        if chunk < self._packed_first:
            return 1
        position = (chunk - self._packed_first) * self.chunk_size
        stop = min(position + self.chunk_size, self._packed_total)
        return bisect_left(self._small_at, stop) - bisect_right(self._small_at, position) + 1

    def chunks_of(self, entry: int) -> range:
        """The chunks that hold bytes of `entry`: none for folders, links and empty files."""
        size = self._sizes[entry]
        if size >= self.chunk_size:
            first = self._large_first[bisect_left(self._large, entry)]
            return range(first, first + -(-size // self.chunk_size))
        if not size:
            return range(0)
        position = self._small_at[bisect_left(self._small, entry)]
        first = self._packed_first + position // self.chunk_size
        return range(first, self._packed_first + (position + size - 1) // self.chunk_size + 1)

    def _large_extent(self, chunk: int) -> Extent:
        number = bisect_right(self._large_first, chunk) - 1
        entry = self._large[number]
        offset = (chunk - self._large_first[number]) * self.chunk_size
        return Extent(entry, offset, min(self.chunk_size, self._sizes[entry] - offset))

    def _check(self, chunk: int) -> None:
        if not 0 <= chunk < self.n_chunks:
            raise IndexError(f"chunk {chunk} of {self.n_chunks}")


def count_chunks(entries: EntryTable, chunk_size: int) -> int:
    """Layout(entries, chunk_size).n_chunks, without making it."""
    large = packed = 0
    for size in entries.sizes:
        if size >= chunk_size:
            large += -(-size // chunk_size)
        else:
            packed += size
    return large + -(-packed // chunk_size)
