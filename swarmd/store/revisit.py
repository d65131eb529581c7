"""Is a tree still what it was when it was read? A walk that compares, and keeps nothing.

`scan` followed by a comparison gives the same answer. This is for the usual case, a path that is shared again
untouched: no names are checked and no table is built, since there is one. It costs a third of a scan.

Invariant: True is only said of a tree in which a scan would have found the same entries and, but for the device,
the same stamps. False may be said for any reason, such as a folder that cannot be read: the scan that follows finds
it again and names it. Nothing is opened but folders, and no link is followed below the path.
"""

from __future__ import annotations

import os
import stat
import threading

from swarmd.core.errors import Incomplete
from swarmd.core.terminal import escape
from swarmd.store.entries import OWNER_READS, EntryKind, EntryTable
from swarmd.store.scan import FOLDER_FLAGS, canonical_target
from swarmd.store.stamps import StampTable

_FILE_READS = OWNER_READS[EntryKind.FILE]
_FOLDER_READS = OWNER_READS[EntryKind.DIRECTORY]
_OTHER = -1


def revisit(path: str, entries: EntryTable, stamps: StampTable, cancel: threading.Event) -> StampTable | None:
    """The stamps of today when everything at `path` (absolute, without links) is as `entries` and `stamps` say; None
    when it is not, or cannot be read. Incomplete: `cancel` was set."""
    if len(stamps) != len(entries):
        return None
    walk = _Walk(path, entries, stamps, cancel)
    try:
        return stamps.with_devices(walk.devices) if walk.is_same() else None
    except OSError:
        return None


class _Walk:
    def __init__(self, path: str, entries: EntryTable, stamps: StampTable, cancel: threading.Event) -> None:
        self._path, self._entries, self._stamps, self._cancel = path, entries, stamps, cancel
        self.devices = stamps.devices()

    def is_same(self) -> bool:
        if self._entries.kind(0) is EntryKind.FILE:
            return self._is_same_file(0, os.stat(self._path, follow_symlinks=False))
        folder = os.open(self._path, FOLDER_FLAGS)
        try:
            return self._visit(folder, 0, 0) == len(self._entries)
        finally:
            os.close(folder)

    # 2.5 us a file, of which 1.5 are the stat: python -m tests.bench.hashing
    def _visit(self, folder: int, index: int, depth: int) -> int:
        """The index behind the last entry in the folder; _OTHER when it is not the same. Ends at MAX_DEPTH."""
        entries, is_cancelled = self._entries, self._cancel.is_set
        if os.fstat(folder).st_mode & 0o777 | _FOLDER_READS != entries.mode(index):
            return _OTHER
        n_entries = len(entries)
        inner = depth + 1
        at = index + 1
        for name in sorted(os.listdir(folder)):
            if is_cancelled():
                raise Incomplete(f"sharing {escape(self._path)} was cancelled")
            if at >= n_entries or entries.depth(at) != inner or os.fsencode(name) != entries.name_bytes(at):
                return _OTHER
            kind = entries.kind(at)
            if kind is EntryKind.FILE:
                if not self._is_same_file(at, os.stat(name, dir_fd=folder, follow_symlinks=False)):
                    return _OTHER
                at += 1
            elif kind is EntryKind.DIRECTORY:
                at = self._enter(folder, name, at, inner)
                if at == _OTHER:
                    return _OTHER
            elif canonical_target(os.readlink(name, dir_fd=folder)) != entries.target(at):
                return _OTHER
            else:
                at += 1
        return _OTHER if at < n_entries and entries.depth(at) >= inner else at

    def _enter(self, folder: int, name: str, index: int, depth: int) -> int:
        inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
        try:
            return self._visit(inner, index, depth)
        finally:
            os.close(inner)

    def _is_same_file(self, index: int, status: os.stat_result) -> bool:
        self.devices[index] = status.st_dev
        return (
            self._stamps.vouches_for(index, status)
            and stat.S_ISREG(status.st_mode)
            and status.st_mode & 0o777 | _FILE_READS == self._entries.mode(index)
        )
