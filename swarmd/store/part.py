"""NAME.part beside the target: made once, found again after a restart, synced, and renamed to NAME at the end.

Invariants: a chunk's files are noted for `sync` only when its bytes are written, so whoever takes a list of the chunks
that are here and then calls `sync` has all of them on the disk. NAME.part is known by its inode: one that we did not
make is never written to. A file in it that is not the one noted in `inodes`, or is shorter than its chunks, is found by
`strange_files`. Empty files, links, and the modes of folders and large files come last, in `complete`: until then there
is no link in NAME.part.

It knows neither hashes, database nor peers. A crash at any point leaves a part that `open` or `create` goes on with, or
the object under its last name, which `adopt` recognises.
"""

from __future__ import annotations

import os
import stat
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from swarmd.core.errors import AlreadyExists, DiskFull, NotAllowed, NotFound
from swarmd.core.ranges import RangeSet
from swarmd.core.terminal import escape
from swarmd.store.descriptors import Descriptors
from swarmd.store.entries import EntryKind, EntryTable
from swarmd.store.faults import local_error
from swarmd.store.layout import Layout
from swarmd.store.part_files import OWNER_LISTS, OWNER_READS, Opened, PartFiles
from swarmd.store.stamps import NO_STAMP, FileStamp, StampTable
from swarmd.store.sync import MAX_SINGLE, sync_file_system
from swarmd.store.tree import Tree

SUFFIX = ".part"
_MAX_NAME_BYTES = 255
_OWNER_WRITES = 0o700  # of a folder


def part_name(name: str) -> str:
    """`name` and the suffix; a name too long for that is cut, at a whole character."""
    room = _MAX_NAME_BYTES - len(SUFFIX)
    return name.encode()[:room].decode(errors="ignore") + SUFFIX


@dataclass(frozen=True, slots=True)
class PartIdentity:
    """What NAME.part is known by after a restart."""

    target_device: int
    """Device of the target folder: another one may mean that its file system is not mounted."""
    inode: int

    def encode(self) -> bytes:
        return struct.pack("<QQ", self.target_device, self.inode)

    @classmethod
    def decode(cls, data: bytes) -> PartIdentity:
        return cls(*struct.unpack("<QQ", data))


class Part(PartFiles):
    """`read` and `write` may run in many threads; the rest is for one thread at a time."""

    def __init__(self, target: Tree, name: str, entries: EntryTable, layout: Layout, descriptors: Descriptors) -> None:
        """For an object that is to be called `name`. `target` is closed with the part."""
        super().__init__(target, part_name(name), entries, layout, descriptors)
        self._inode = 0
        self._lock = threading.Lock()
        self._touched: set[int] = set()
        """Entries written since the last sync; at most MAX_SINGLE + 1, beyond which their number does not matter."""

    def note_written(self, entries: list[int]) -> None:
        with self._lock:
            self._touched.update(entries[: MAX_SINGLE + 1 - len(self._touched)])

    # Making it, finding it again

    def check_free(self, name: str, overwrite: bool) -> None:
        """AlreadyExists when there is something that we would have to overwrite without having been asked."""
        check_name(self.target, name, overwrite)
        there = self.target.stat((name,))
        if there is not None and (self.is_folder or stat.S_ISDIR(there.st_mode)):
            shown = escape(os.path.join(self.target.path, name))
            raise AlreadyExists(f"{shown} is there, and folders are never overwritten: move it elsewhere")

    def find(self) -> os.stat_result | None:
        return self.target.stat((self.name,))

    def is_there(self, name: str) -> bool:
        """Whether what was opened has that name now."""
        found = self.target.stat((name,))
        return found is not None and found.st_ino == self._inode

    def is_mounted(self, identity: PartIdentity) -> bool:
        """Whether the target folder is on the file system it was on."""
        return os.fstat(self.target.fileno()).st_dev == identity.target_device

    def create(self) -> PartIdentity:
        """Make NAME.part, empty, and see that it lasts; or find it, when it was made before a crash."""
        if self.find() is None:
            if self.is_folder:
                self.target.mkdir((self.name,))
            else:
                os.close(self.target.create_file((self.name,)))
            self.target.sync()
        return self.open()

    def fill(self) -> None:
        """Make the folders in it, and get them onto the disk."""
        if self.is_folder:
            self.make_folders()
            self._sync_all()
        else:
            self.inodes[0] = self._inode

    def open(self) -> PartIdentity:
        """Find NAME.part and use it. NotFound; AlreadyExists when it is no part of this kind of object."""
        found = self.find()
        if found is None:
            raise NotFound(f"{escape(self.path)} is gone: it was deleted or moved")
        if stat.S_IFMT(found.st_mode) != (stat.S_IFDIR if self.is_folder else stat.S_IFREG):
            raise AlreadyExists(f"{escape(self.path)} is in the way: move it elsewhere")
        if self.folder is not None:
            self.folder.close()
        if self.is_folder:
            self.folder = self.target.subtree((self.name,))
        self._inode = found.st_ino
        return PartIdentity(os.fstat(self.target.fileno()).st_dev, found.st_ino)

    def adopt(self, identity: PartIdentity, name: str) -> bool:
        """After a crash: use NAME instead, if it is the part that was renamed. False when it is not."""
        found = self.target.stat((name,))
        if found is None or found.st_ino != identity.inode:
            return False
        self.name = name
        self.open()
        return True

    def make_folders(self) -> None:
        """Make the folders that are not there, and the ones that have their last mode writable again."""
        for entry in range(len(self.entries)):
            if self.entries.kind(entry) is EntryKind.DIRECTORY:
                tree, path = self.place(entry)
                found = tree.stat(path)
                if found is None:
                    tree.mkdir(path)
                elif found.st_mode & _OWNER_WRITES != _OWNER_WRITES:
                    tree.chmod(path, _OWNER_WRITES)

    # Onto the disk

    def sync(self) -> None:
        """What was written before this call is on the disk after it. LocalError, and nothing is known, otherwise."""
        with self._lock:
            touched, self._touched = self._touched, set()
        if not self.is_there(self.name):
            raise NotFound(f"{escape(self.path)} is gone: it was deleted or moved")
        try:
            if len(touched) > MAX_SINGLE:
                sync_file_system(self.target.fileno())
            else:
                self._sync_each(touched)
        except OSError as error:
            raise local_error(error, self.path) from error

    def _sync_each(self, entries: Iterable[int]) -> None:
        parents = set()
        for entry in entries:
            with Opened(*self.place(entry)) as descriptor:
                os.fsync(descriptor)
            if entry:
                parents.add(self.entries.parent(entry))
        for parent in parents:  # files may be new
            tree, path = self.place(parent)
            tree.sync(path)

    def _sync_all(self) -> None:
        try:
            if self.is_folder:
                sync_file_system(self.target.fileno())
            else:
                self._sync_each([0])
                self.target.sync()
        except OSError as error:
            raise local_error(error, self.path) from error

    # Is it still what we wrote?

    def strange_files(self, have: RangeSet) -> list[int]:
        """Files with chunks in `have` that are missing, are another file than ours, or have an impossible size.

        They are closed, so that what is read next is what is there.
        """
        sizes = self.entries.sizes
        held = (entry for entry, size in enumerate(sizes) if size and self._held_end(entry, size, have))
        strange = [
            entry
            for entry, found in self._stats(held)
            if found is None
            or not stat.S_ISREG(found.st_mode)
            or found.st_ino != self.inodes[entry]
            or not self._held_end(entry, sizes[entry], have) <= found.st_size <= sizes[entry]
        ]
        for entry in strange:
            self.close_file(entry)
        return strange

    def accept(self, entry: int) -> None:
        """Its chunks were read: take the file that is there for ours, without what is too long; or none."""
        tree, path = self.place(entry)
        found = tree.stat(path)
        if found is None or not stat.S_ISREG(found.st_mode):
            self.inodes[entry] = 0
            return
        self.inodes[entry] = found.st_ino
        if entry and len(self.layout.chunks_of(entry)) == 1:  # which has its last mode already
            tree.chmod(path, self.entries.mode(entry) | OWNER_READS)
        if found.st_size > self.entries.size(entry):
            with Opened(tree, path, writable=True) as descriptor:
                os.ftruncate(descriptor, self.entries.size(entry))

    def _held_end(self, entry: int, size: int, have: RangeSet) -> int:
        """Where the last chunk of it that is in `have` ends; 0 when there is none."""
        chunks = self.layout.chunks_of(entry)
        if chunks[-1] in have:
            return size
        if len(chunks) == 1:
            return 0
        last = (have & RangeSet.single(chunks.start, chunks.stop)).last()
        if last is None:
            return 0
        return next(e.offset + e.length for e in self.layout.extents(last) if e.entry == entry)

    # The end

    def complete(self) -> None:
        """Everything that is in no chunk: empty files, links, modes. May be done again."""
        self.make_folders()
        for entry in range(len(self.entries) - 1, -1, -1):  # what is in a folder before the folder
            kind = self.entries.kind(entry)
            if kind is EntryKind.SYMLINK:
                self._make_link(entry)
            elif kind is EntryKind.DIRECTORY:
                tree, path = self.place(entry)
                tree.chmod(path, self.entries.mode(entry) | OWNER_LISTS)
            elif not entry or len(self.layout.chunks_of(entry)) != 1:
                self._finish_file(entry)
        self._sync_all()

    def publish(self, name: str, overwrite: bool) -> None:
        """Rename it, and see that the name lasts. AlreadyExists."""
        if overwrite and not self.is_folder:
            self.target.replace((self.name,), (name,))
        else:
            self.target.rename((self.name,), (name,))
        self.name = name
        self.target.sync()

    def stamps(self) -> StampTable:
        """Of all files as they are now."""
        table = StampTable()
        for entry, found in self._stats(range(len(self.entries))):
            is_file = found is not None and self.entries.kind(entry) is EntryKind.FILE
            table.append(FileStamp.of(found) if found is not None and is_file else NO_STAMP)
        return table

    # 7 us for each file in a folder of many, half of a `Tree.stat` by its whole path: python -m tests.bench.store
    def _stats(self, entries: Iterable[int]) -> Iterator[tuple[int, os.stat_result | None]]:
        """Each entry with what is there; None for nothing, and for what lies in a folder that is not one any more."""
        held, folder = 0, None
        try:
            for entry in entries:
                if not entry:
                    yield entry, self.find()
                    continue
                parent = self.entries.parent(entry)
                if folder is None or parent != held:
                    if folder is not None:
                        folder.close()
                    held, folder = parent, self._subfolder(parent)
                yield entry, None if folder is None else folder.stat((self.entries.name(entry),))
        finally:
            if folder is not None:
                folder.close()

    def _subfolder(self, entry: int) -> Tree | None:
        tree, path = self.place(entry)
        try:
            return tree.subtree(path)
        except (NotFound, NotAllowed):
            return None

    def _make_link(self, entry: int) -> None:
        tree, path = self.place(entry)
        if tree.stat(path) is not None:
            tree.remove_file(path)
        tree.symlink(path, self.entries.target(entry) or "")

    def _finish_file(self, entry: int) -> None:
        tree, path = self.place(entry)
        if not self.entries.size(entry) and tree.stat(path) is None:
            os.close(tree.create_file(path))
        tree.chmod(path, self.entries.mode(entry) | OWNER_READS)


def check_name(target: Tree, name: str, overwrite: bool) -> None:
    """AlreadyExists when NAME is there and shall not be overwritten, or when NAME.part is, which never is."""
    if not overwrite and target.stat((name,)) is not None:
        raise AlreadyExists(f"{escape(os.path.join(target.path, name))} is there already: choose another folder")
    if target.stat((part_name(name),)) is not None:
        shown = escape(os.path.join(target.path, part_name(name)))
        raise AlreadyExists(f"{shown} is there and is not ours: move or delete it, or choose another folder")


def remove_part(target: Tree, name: str, identity: bytes) -> None:
    """Delete NAME.part with everything in it, if it is the one of that (encoded) identity; empty: we made none."""
    path = (part_name(name),)
    found = target.stat(path)
    if identity and found is not None and PartIdentity.decode(identity).inode == found.st_ino:
        target.remove_tree(path)
        target.sync()


def free_bytes(target: Tree) -> int:
    """What this user may still write to the file system of a folder."""
    room = os.fstatvfs(target.fileno())
    return room.f_bavail * room.f_frsize


def check_room(target: Tree, needed: int) -> None:
    """DiskFull with both figures when there is less room than is needed."""
    free = free_bytes(target)
    if free < needed:
        raise DiskFull(
            f"{needed:,} bytes are needed on the file system of {escape(target.path)}, and {free:,} are free: "
            "free some space, or choose another folder"
        )
