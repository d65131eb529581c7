"""Serving an object in place: chunks read straight from the user's files into the caller's buffer.

`Source` is what can be served: a complete copy (`ObjectSource`, here) or an unfinished download (`download.Download`).

Invariant: a chunk is only given out when its files are those that were hashed. A file's size, modification time and
inode are held against its stamp on the open descriptor, before and after the read; when one differs, all chunks of
that file are lost until it is shared again. When only the change time or the device differs (a chmod, a hard link
made, another mount of the same disk) the chunk's own hash decides, at every read. What a memory mapping writes shows in
no stamp before the kernel writes it back; peers check hashes all the same.

It never writes, and keeps no state across restarts: what is lost is found again by `check` or by the next read.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import Protocol

from blake3 import blake3

from swarmd.core.errors import Incomplete, IntegrityError, InvalidArgument, LocalError
from swarmd.core.ids import ContentId
from swarmd.core.ranges import RangeSet
from swarmd.core.terminal import escape
from swarmd.store.descriptors import Descriptors
from swarmd.store.entries import EntryKind, EntryTable
from swarmd.store.faults import local_error
from swarmd.store.layout import Extent, Layout
from swarmd.store.manifest import PageKind, Root
from swarmd.store.pages import Pages
from swarmd.store.stamps import FileStamp, StampTable

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a pipe put in its place
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
# What says that the file is not there, and not that this node is short of something.
_GONE = {
    errno.ENOENT: "is gone",
    errno.ESTALE: "is gone",
    errno.ENOTDIR: "is gone",
    errno.ELOOP: "was replaced by a link",
    errno.ENXIO: "was replaced",
    errno.EACCES: "may not be read any more",
}

Buffer = bytearray | memoryview


class SourceChanged(LocalError):
    """A served file is no longer what was hashed. `lost`: the chunks that cannot be served any more."""

    code = "changed"

    def __init__(self, path: str, reason: str, lost: RangeSet) -> None:
        super().__init__(f"{escape(path)} {reason}: it is not served any more; share it again")
        self.path = path
        self.lost = lost


class Source(Protocol):
    """What replication serves from. Thread-safe, synchronous."""

    @property
    def content_id(self) -> ContentId: ...
    @property
    def root(self) -> Root | None: ...
    @property
    def root_data(self) -> bytes | None: ...
    @property
    def have(self) -> RangeSet:
        """The chunks that can be served now; the caller's to keep."""
        ...

    def page(self, kind: PageKind, index: int) -> bytes | None:
        """None when it is not here, or not yet."""
        ...

    def read_chunk(self, index: int, buffer: Buffer) -> int:
        """Fill the front of `buffer` with the chunk; its length. SourceChanged, Incomplete, Conflict, LocalError."""
        ...


def front(buffer: Buffer, length: int) -> memoryview:
    """Its first `length` bytes."""
    view = memoryview(buffer)[:length]
    if len(view) < length:
        raise ValueError(f"a buffer of {len(buffer)} bytes for a chunk of {length}")
    return view


def read_fully(descriptor: int, view: memoryview, offset: int) -> bool:
    """Fill `view` from that offset of a file. False when the file ends before. OSError."""
    while view:
        n_bytes = os.preadv(descriptor, [view], offset)
        if not n_bytes:
            return False
        view = view[n_bytes:]
        offset += n_bytes
    return True


class ObjectSource:
    """One complete copy of an object, at `path`."""

    def __init__(
        self,
        path: str,
        pages: Pages,
        root_data: bytes,
        entries: EntryTable,
        stamps: StampTable,
        descriptors: Descriptors,
    ) -> None:
        self.path = path
        self.root_data = root_data
        self.entries = entries
        self._pages = pages
        self._stamps = stamps
        self._descriptors = descriptors
        self.layout = Layout(self.entries, self.root.chunk_size)
        self._lock = threading.Lock()
        self._lost = RangeSet()
        if len(stamps) != len(self.entries):
            raise IntegrityError(f"the stored stamps of {path} do not fit its files: share it again")

    @property
    def root(self) -> Root:
        return self._pages.root

    @property
    def content_id(self) -> ContentId:
        return self.root.content_id

    @property
    def have(self) -> RangeSet:
        with self._lock:
            return self._lost.missing(self.root.n_chunks)

    @property
    def lost(self) -> RangeSet:
        """Chunks of files found changed so far."""
        with self._lock:
            return self._lost.copy()

    def page(self, kind: PageKind, index: int) -> bytes | None:
        return self._pages.get(kind, index)

    def read_chunk(self, index: int, buffer: Buffer) -> int:
        length = self.layout.chunk_length(index)
        view = front(buffer, length)
        extents = self.layout.extents(index)
        with self._lock:
            if index in self._lost:
                raise SourceChanged(self._path(extents[0].entry), "or a file beside it has changed", RangeSet())
        position = 0
        doubtful = []
        for extent in extents:
            if self._read(extent, view[position : position + extent.length]):
                doubtful.append(extent.entry)
            position += extent.length
        if doubtful and blake3(view).digest() != self._pages.hash_of(index):
            raise self._changed(doubtful, "has other contents than when it was shared")
        return length

    def check(self) -> RangeSet:
        """Hold every file against its stamp, reading none: the chunks newly found lost."""
        before = self.lost
        self.close()  # what is open stays what it was, wherever its folder has gone
        for entry in range(len(self.entries)):
            if self.entries.kind(entry) is EntryKind.FILE and self.entries.size(entry):
                self._check(entry)
        return self.lost - before

    def open_file(self, entry: int) -> int:
        """A descriptor of its own for a file, for the caller to close. Nothing is checked: verify what you read."""
        try:
            return self._open(entry)
        except OSError as error:
            raise local_error(error, self._path(entry), "readable") from error

    def close(self) -> None:
        """Close its open files. Using it again opens them again."""
        self._descriptors.drop(self)

    def _read(self, extent: Extent, view: memoryview) -> bool:
        """Fill `view`; True when only the chunk's hash can tell whether this is what was shared."""
        entry = extent.entry
        try:
            if extent.length < self.entries.size(entry):
                with self._descriptors.borrow((self, entry), lambda: self._open(entry)) as descriptor:
                    return self._read_open(descriptor, extent, view)
            descriptor = self._open(entry)
            try:
                return self._read_open(descriptor, extent, view)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in _GONE:
                raise self._changed([entry], _GONE[error.errno]) from None
            raise local_error(error, self._path(entry), "readable") from error

    def _read_open(self, descriptor: int, extent: Extent, view: memoryview) -> bool:
        stamp = self._stamps[extent.entry]
        is_in_doubt = self._is_in_doubt(extent.entry, stamp, os.fstat(descriptor))
        if not read_fully(descriptor, view, extent.offset):
            raise self._changed([extent.entry], "has shrunk")
        return self._is_in_doubt(extent.entry, stamp, os.fstat(descriptor)) or is_in_doubt

    def _is_in_doubt(self, entry: int, stamp: FileStamp, now: os.stat_result) -> bool:
        """SourceChanged when the file is another one than that of the stamp."""
        reason = _difference(stamp, now)
        if reason:
            raise self._changed([entry], reason)
        return now.st_ctime_ns != stamp.ctime_ns or now.st_dev != stamp.device

    def _check(self, entry: int) -> None:
        try:
            reason = _difference(self._stamps[entry], self._stat(entry))
        except OSError:
            reason = "is gone or cannot be reached"
        if reason:
            self._changed([entry], reason)

    def _changed(self, entries: list[int], reason: str) -> SourceChanged:
        """Note that the chunks of these files are lost, and make the error that says so."""
        lost = RangeSet()
        for entry in entries:
            chunks = self.layout.chunks_of(entry)
            lost.add(chunks.start, chunks.stop)
            self._descriptors.drop_one((self, entry))
        with self._lock:
            self._lost.update(lost)
        return SourceChanged(self._path(entries[0]), reason, lost)

    def _open(self, entry: int) -> int:
        if entry == 0:
            return os.open(self.path, _FILE)
        parent = self.entries.parent(entry)
        with self._descriptors.borrow((self, ~parent), lambda: self._open_folder(parent)) as folder:
            return os.open(self.entries.name(entry), _FILE, dir_fd=folder)

    def _open_folder(self, index: int) -> int:
        if index == 0:
            return os.open(self.path, _FOLDER)
        parent = self.entries.parent(index)
        with self._descriptors.borrow((self, ~parent), lambda: self._open_folder(parent)) as folder:
            return os.open(self.entries.name(index), _FOLDER, dir_fd=folder)

    def _stat(self, entry: int) -> os.stat_result:
        if entry == 0:
            return os.lstat(self.path)
        parent = self.entries.parent(entry)
        with self._descriptors.borrow((self, ~parent), lambda: self._open_folder(parent)) as folder:
            return os.stat(self.entries.name(entry), dir_fd=folder, follow_symlinks=False)

    def _path(self, entry: int) -> str:
        return os.path.join(self.path, *self.entries.path(entry))


def _difference(stamp: FileStamp, now: os.stat_result) -> str:
    """Why the file is not the one of the stamp; empty when it is."""
    if not stat.S_ISREG(now.st_mode) or now.st_ino != stamp.inode:
        return "was replaced"
    if not now.st_nlink:
        return "was deleted"
    if now.st_size != stamp.size:
        return "has another size"
    if now.st_mtime_ns != stamp.mtime_ns:
        return "was written to"
    return ""


def read_range(source: Source, offset: int, length: int) -> bytes:
    """Bytes of a single-file object, fewer at its end; reads whole chunks, so ask for such. Incomplete, SourceChanged.

    InvalidArgument for a folder: its bytes are in no order that means something.
    """
    root = source.root
    if root is None:
        raise Incomplete(f"the manifest of {source.content_id.short} is not here yet")
    if root.kind is not EntryKind.FILE:
        raise InvalidArgument(f"{source.content_id.short} is a folder: only a single file can be read as a stream")
    stop = min(offset + length, root.total_size)
    pieces = []
    while offset < stop:
        index, skip = divmod(offset, root.chunk_size)
        buffer = bytearray(min(root.chunk_size, root.total_size - index * root.chunk_size))
        source.read_chunk(index, buffer)
        piece = memoryview(buffer)[skip : skip + stop - offset]
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)
