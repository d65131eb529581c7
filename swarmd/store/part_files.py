"""The files inside NAME.part: chunks written to them and read from them at their offsets.

A file that lies in one chunk is made whole, with its last mode, and never opened for writing again; the others, and a
single-file object, are opened for their chunks and stay open in the cache. `inodes` says which files were made.

Invariant: everything goes through `tree.Tree`. It verifies no hash and syncs nothing. A crash leaves files that no
committed chunk claims; they are written again.
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Sequence
from contextlib import AbstractContextManager

from swarmd.core.errors import AlreadyExists, LocalError, NotFound
from swarmd.core.terminal import escape
from swarmd.store.descriptors import Descriptors
from swarmd.store.entries import EntryKind, EntryTable
from swarmd.store.faults import local_error
from swarmd.store.layout import Extent, Layout
from swarmd.store.source import read_fully
from swarmd.store.tree import Tree

# What we must be able to do with our own files whatever the publisher's mode says: read them, list folders.
OWNER_READS = 0o400
OWNER_LISTS = 0o500
_MAX_VECTOR = 1024  # buffers of one system call (IOV_MAX)

# What says that these two files cannot be copied inside the kernel, and not that anything is wrong.
_NO_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM})

Buffer = bytes | bytearray | memoryview


class PartFiles:
    """Thread-safe for different chunks."""

    def __init__(self, target: Tree, name: str, entries: EntryTable, layout: Layout, descriptors: Descriptors) -> None:
        """`name` is that of the file or folder in `target` that holds the object for now."""
        self.name = name
        self.entries = entries
        self.layout = layout
        self.inodes = array("Q", bytes(8 * len(entries)))
        """By entry; 0 for a file that is not made yet."""
        self.is_folder = entries.kind(0) is EntryKind.DIRECTORY
        self.target = target
        self.folder: Tree | None = None
        """NAME.part itself, for an object that is a folder."""
        self._descriptors = descriptors

    @property
    def path(self) -> str:
        return os.path.join(self.target.path, self.name)

    def close(self) -> None:
        self._descriptors.drop(self)
        if self.folder is not None:
            self.folder.close()
        self.target.close()

    def close_file(self, entry: int) -> None:
        """The next one who needs it opens what is there then."""
        self._descriptors.drop_one((self, entry))

    def place(self, entry: int) -> tuple[Tree, tuple[str, ...]]:
        """Where an entry lies."""
        if entry and self.folder is not None:
            return self.folder, self.entries.path(entry)
        return self.target, (self.name,)

    # In memory 0.3 ms for a chunk of 1 MiB, all of it the kernel's copy, and 25 us for each small file (50 us
    # on ext4), most of it making the file: python -m tests.bench.store [FOLDER]
    def write(self, chunk: int, parts: Sequence[Buffer]) -> None:
        """DiskFull, or another LocalError, when it is not all written."""
        extents = self.layout.extents(chunk)
        if len(extents) == 1:
            self._write_extent(extents[0], parts)
        else:
            data = memoryview(b"".join(parts))
            position = 0
            for extent in extents:
                self._write_extent(extent, [data[position : position + extent.length]])
                position += extent.length
        self.note_written([extent.entry for extent in extents])

    def copy(self, chunk: int, source: int, offset: int) -> bool:
        """Write a chunk from an open file without moving its bytes through here; False when the system cannot.

        A reflink where the file system has them (Btrfs, XFS), else a copy inside the kernel.
        """
        extents = self.layout.extents(chunk)
        if len(extents) != 1 or self.is_whole(extents[0]):
            return False
        entry, position, left = extents[0]
        with self.borrow(entry) as descriptor:
            while left:
                try:
                    n_bytes = os.copy_file_range(source, descriptor, left, offset, position)
                except OSError as error:
                    if error.errno in _NO_COPY:
                        return False
                    raise local_error(error, self.shown(entry)) from error
                if not n_bytes:
                    return False
                offset, position, left = offset + n_bytes, position + n_bytes, left - n_bytes
        self.note_written([entry])
        return True

    def note_written(self, entries: list[int]) -> None:
        """Called when bytes of these entries are written."""

    def read(self, chunk: int, view: memoryview) -> None:
        """Fill `view`, of the chunk's length. LocalError when it is not all there."""
        position = 0
        for extent in self.layout.extents(chunk):
            self._read_extent(extent, view[position : position + extent.length])
            position += extent.length

    def borrow(self, entry: int) -> AbstractContextManager[int]:
        """The open file of an entry in several chunks, or of a single-file object; made when it is not there."""
        return self._descriptors.borrow((self, entry), lambda: self._open_or_create(entry))

    def is_whole(self, extent: Extent) -> bool:
        """Whether this is all of a file, which is then made in one go."""
        return bool(extent.entry) and extent.length == self.entries.size(extent.entry)

    def shown(self, entry: int) -> str:
        return os.path.join(self.path, *self.entries.path(entry))

    def _write_extent(self, extent: Extent, parts: Sequence[Buffer]) -> None:
        try:
            if self.is_whole(extent):
                self._write_whole(extent.entry, parts)
            else:
                with self.borrow(extent.entry) as descriptor:
                    _write_fully(descriptor, parts, extent.offset)
        except OSError as error:
            raise local_error(error, self.shown(extent.entry)) from error

    def _write_whole(self, entry: int, parts: Sequence[Buffer]) -> None:
        tree, path = self.place(entry)
        try:
            descriptor = tree.create_file(path)
        except AlreadyExists:  # of before a crash, or of a write that failed half way
            tree.remove_file(path)
            descriptor = tree.create_file(path)
        try:
            _write_fully(descriptor, parts, 0)
            os.fchmod(descriptor, self.entries.mode(entry) | OWNER_READS)
            self.inodes[entry] = os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)

    def _open_or_create(self, entry: int) -> int:
        tree, path = self.place(entry)
        try:
            descriptor = tree.open_file(path, writable=True)
        except NotFound:
            try:
                descriptor = tree.create_file(path)
            except AlreadyExists:  # another thread was faster
                descriptor = tree.open_file(path, writable=True)
        if not self.inodes[entry]:  # else it stays what it was, for `Part.strange_files` to compare
            self.inodes[entry] = os.fstat(descriptor).st_ino
        return descriptor

    def _read_extent(self, extent: Extent, view: memoryview) -> None:
        tree, path = self.place(extent.entry)
        try:
            if self.is_whole(extent):
                with Opened(tree, path) as descriptor:
                    is_all = read_fully(descriptor, view, extent.offset)
            else:
                key = (self, extent.entry)
                with self._descriptors.borrow(key, lambda: tree.open_file(path, writable=True)) as descriptor:
                    is_all = read_fully(descriptor, view, extent.offset)
        except OSError as error:
            raise local_error(error, self.shown(extent.entry), "readable") from error
        if not is_all:
            raise LocalError(f"{escape(self.shown(extent.entry))} has shrunk")


class Opened:
    """A file that is there, open for the length of a block."""

    __slots__ = ("_descriptor", "_path", "_tree", "_writable")

    def __init__(self, tree: Tree, path: tuple[str, ...], writable: bool = False) -> None:
        self._tree = tree
        self._path = path
        self._writable = writable

    def __enter__(self) -> int:
        self._descriptor = self._tree.open_file(self._path, writable=self._writable)
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _write_fully(descriptor: int, parts: Sequence[Buffer], offset: int) -> None:
    if len(parts) > _MAX_VECTOR:
        parts = [b"".join(parts)]
    left = sum(map(len, parts))
    while (n_bytes := os.pwritev(descriptor, parts, offset)) < left:
        offset += n_bytes
        left -= n_bytes
        parts = [memoryview(b"".join(parts))[n_bytes:]]
