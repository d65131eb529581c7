"""Walks what a user shares and notes what is there: entries and stamps, from nothing but listings and
`stat`s.

The path comes from our own user, so links in it are followed. Below it nothing is followed: the walk goes
from descriptor to descriptor, one for each level, and a folder that is swapped for a link meanwhile is
refused by the kernel.

Invariant: what is returned can be fetched on every system; what cannot is refused by name, and the whole
share with it, because a folder that arrives with holes is worse than an error. That means names, links out
of the tree, and what is no file, folder or link. No file is opened. What vanishes during the walk is not in
the result.
"""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass

from swarmd.core.errors import Incomplete, InvalidArgument
from swarmd.core.terminal import escape
from swarmd.store.entries import LINK_MODE, OWNER_READS, EntryKind, EntryTable, TableBuilder, TreeFault
from swarmd.store.faults import first_obstacle, local_error
from swarmd.store.stamps import NO_STAMP, StampTable

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHER_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a pipe",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


@dataclass(frozen=True, slots=True)
class Scan:
    """`path` is absolute and free of links; `stamps` has the indices of `entries`."""

    path: str
    entries: EntryTable
    stamps: StampTable


def scan_tree(path: str, cancel: threading.Event | None = None) -> Scan:
    """What is at the absolute `path`, a file or a folder.

    NotFound or NotAllowed says which component is missing or not readable, InvalidArgument what cannot be
    shared, Incomplete that `cancel` was set.
    """
    if not os.path.isabs(path):
        raise InvalidArgument(f"{escape(path)} is not an absolute path")
    walk = _Walk(os.path.realpath(path), cancel or threading.Event())
    try:
        walk.start()
        return Scan(walk.path, walk.builder.finish(), walk.stamps)
    except TreeFault as fault:
        raise InvalidArgument(
            f"{escape(walk.path)} cannot be shared: {fault}. Rename or remove that, then share again"
        ) from None


class _Walk:
    def __init__(self, path: str, cancel: threading.Event) -> None:
        self.path = path
        self.builder = TableBuilder()
        self.stamps = StampTable()
        self._cancel = cancel

    def start(self) -> None:
        try:
            status = os.stat(self.path)
            folder = os.open(self.path, FOLDER_FLAGS) if stat.S_ISDIR(status.st_mode) else None
        except OSError as error:
            raise first_obstacle(self.path, error) from None
        if folder is None:
            self._add(0, "", status, self.path)
            return
        try:
            self._add_folder(folder, 0, "", self.path)
        finally:
            os.close(folder)

    # Recursion ends at MAX_DEPTH, which the builder holds.
    def _walk_folder(self, folder: int, depth: int, path: str) -> None:
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise local_error(error, path, "readable") from None
        for name in names:
            if self._cancel.is_set():
                raise Incomplete(f"sharing {escape(self.path)} was cancelled")
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    self._add(depth, name, status, path)
                elif stat.S_ISDIR(status.st_mode):
                    self._enter(folder, depth, name, path)
                elif stat.S_ISLNK(status.st_mode):
                    target = canonical_target(os.readlink(name, dir_fd=folder))
                    self.builder.add(depth, EntryKind.SYMLINK, LINK_MODE, 0, name, target)
                    self.stamps.append(NO_STAMP)
                else:
                    self._add(depth, name, status, f"{path}/{name}")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise local_error(error, f"{path}/{name}", "readable") from None

    def _enter(self, folder: int, depth: int, name: str, path: str) -> None:
        inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
        try:
            self._add_folder(inner, depth, name, f"{path}/{name}")
        finally:
            os.close(inner)

    def _add_folder(self, folder: int, depth: int, name: str, path: str) -> None:
        mode = os.fstat(folder).st_mode & 0o777 | OWNER_READS[EntryKind.DIRECTORY]
        self.builder.add(depth, EntryKind.DIRECTORY, mode, 0, name)
        self.stamps.append(NO_STAMP)
        self._walk_folder(folder, depth + 1, path)

    def _add(self, depth: int, name: str, status: os.stat_result, path: str) -> None:
        if not stat.S_ISREG(status.st_mode):
            kind = _OTHER_KINDS.get(stat.S_IFMT(status.st_mode), "no file, folder or link")
            raise InvalidArgument(f"{escape(path)} is {kind}, which cannot be shared: move it out of the way")
        mode = status.st_mode & 0o777 | OWNER_READS[EntryKind.FILE]
        self.builder.add(depth, EntryKind.FILE, mode, status.st_size, name)
        self.stamps.append_of(status)


def canonical_target(target: str) -> str:
    """The same place without "./", "//" and a "/" at the end, which links made by hand often have."""
    start = "/" if target.startswith("/") else ""
    return start + "/".join(part for part in target.split("/") if part not in ("", ".")) or "."
