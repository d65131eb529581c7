"""Which chunks of a tree are known already, from an earlier reading of it.

A file is unchanged when its path and its stamp are, but for the device. A chunk is known when all its bytes
lie in unchanged files, at the same places of one chunk of the earlier reading. So a file of a chunk or more
keeps its hashes whatever happens around it; packed small files keep theirs up to the first one that was added,
removed or changed in size.
"""

from __future__ import annotations

from array import array

from swarmd.store.entries import EntryKind, EntryTable
from swarmd.store.layout import Layout
from swarmd.store.manifest import HASH_BYTES
from swarmd.store.stamps import StampTable

_NO_MATCH = -1


class Reading:
    """A tree as it was read: entries, stamps, and for each chunk 32 bytes and whether they hold."""

    __slots__ = ("distrusted", "entries", "hashes", "is_known", "layout", "stamps")

    def __init__(self, entries: EntryTable, stamps: StampTable, chunk_size: int) -> None:
        self.entries = entries
        self.stamps = stamps
        self.layout = Layout(entries, chunk_size)
        self.hashes = bytearray(self.layout.n_chunks * HASH_BYTES)
        self.is_known = bytearray(self.layout.n_chunks)
        self.distrusted: set[int] = set()
        """Entries that were not what their stamp says when they were read."""

    def take_over(self, earlier: Reading) -> None:
        """Fill in every chunk that `earlier` knows and that is unchanged since."""
        if earlier.layout.chunk_size != self.layout.chunk_size:
            return
        if self.stamps.is_as(earlier.stamps) and self.entries == earlier.entries and not earlier.distrusted:
            self.hashes[:], self.is_known[:] = earlier.hashes, earlier.is_known
            return
        matches = _match(self, earlier)
        for entry, match in enumerate(matches):
            if match != _NO_MATCH and self.entries.size(entry) >= self.layout.chunk_size:
                pairs = zip(self.layout.chunks_of(entry), earlier.layout.chunks_of(match), strict=True)
                for chunk, old in pairs:
                    self._take(chunk, earlier, old)
        for chunk in self.layout.packed_chunks:
            same = None if self.is_known[chunk] else _same_chunk(self, chunk, earlier, matches)
            if same is not None:
                self._take(chunk, earlier, same)

    def known_totals(self) -> tuple[int, int]:
        """How many bytes, and files to their end, lie in the chunks that are known."""
        layout = self.layout
        n_bytes = sum(layout.chunk_length(chunk) for chunk, known in enumerate(self.is_known) if known)
        n_files = 0
        for entry, size in enumerate(self.entries.sizes):
            if self.entries.kind(entry) is EntryKind.FILE:
                n_files += not size or bool(n_bytes and self.is_known[layout.chunks_of(entry)[-1]])
        return n_bytes, n_files

    def put(self, chunk: int, digest: bytes | bytearray) -> None:
        self.hashes[chunk * HASH_BYTES : (chunk + 1) * HASH_BYTES] = digest
        self.is_known[chunk] = True

    def _take(self, chunk: int, earlier: Reading, old: int) -> None:
        if earlier.is_known[old]:
            self.put(chunk, earlier.hashes[old * HASH_BYTES : (old + 1) * HASH_BYTES])


def _match(new: Reading, old: Reading) -> array[int]:
    """For each entry of `new`, the one of `old` that is the same unchanged file. Both are in order: one
    pass."""
    matches = array("q", [_NO_MATCH]) * len(new.entries)
    old_paths = enumerate(old.entries.paths())
    at, old_path = next(old_paths)
    for index, path in enumerate(new.entries.paths()):
        while old_path < path:
            try:
                at, old_path = next(old_paths)
            except StopIteration:
                return matches
        if old_path == path and _is_same_file(new, index, old, at):
            matches[index] = at
    return matches


def _is_same_file(new: Reading, index: int, old: Reading, at: int) -> bool:
    return (
        new.entries.kind(index) is EntryKind.FILE
        and old.entries.kind(at) is EntryKind.FILE
        and at not in old.distrusted
        and new.stamps[index].is_as(old.stamps[at])
    )


def _same_chunk(new: Reading, chunk: int, old: Reading, matches: array[int]) -> int | None:
    extents = new.layout.extents(chunk)
    match = matches[extents[0].entry]
    if match == _NO_MATCH:
        return None
    wanted = [(matches[extent.entry], extent.offset, extent.length) for extent in extents]
    return next((at for at in old.layout.chunks_of(match) if old.layout.extents(at) == wanted), None)
