"""The store of one node: shared objects, downloads, and what the node remembers about groups.

A facade: the work is in `share`, `source`, `download`, `reuse` and `removal`. Everything here is synchronous, may wait
for a disk, and may be called from several threads at once; the daemon calls it on worker threads.

Invariant: one process has the state folder at a time (a lock on the file `lock` in it, which ends with the process).
A crash loses what the parts say that they lose: uncommitted chunks of downloads, and a share that was being hashed.
"""

from __future__ import annotations

import base64
import fcntl
import logging
import os
import stat
import threading
from dataclasses import dataclass
from typing import Literal

from swarmd.core.clock import Clock, SystemClock
from swarmd.core.errors import AlreadyExists, Conflict, InvalidArgument, LocalError, NotFound, RemoteError
from swarmd.core.ids import ContentId, GroupId
from swarmd.core.names import check_component
from swarmd.core.rng import Rng, SystemRng
from swarmd.core.terminal import escape
from swarmd.store.database import Database
from swarmd.store.download import Download
from swarmd.store.faults import local_error
from swarmd.store.hashing import Progress
from swarmd.store.library import Library
from swarmd.store.part import check_name
from swarmd.store.removal import delete_copy
from swarmd.store.reuse import Reuse, ReuseProgress
from swarmd.store.share import SharedObject, share_path
from swarmd.store.source import ObjectSource
from swarmd.store.tables.addresses import AddressesTable
from swarmd.store.tables.dht import DhtTable
from swarmd.store.tables.downloads import DownloadRow, State
from swarmd.store.tables.groups import GroupsTable, MembersTable, NumbersTable, RecordsTable
from swarmd.store.tables.values import ValuesTable
from swarmd.store.tree import Tree

_logger = logging.getLogger(__name__)
_ID_BYTES = 5  # 8 letters of base32
STATE_ROOM_BYTES = 1 << 20
"""As much as some hundred commits of a download add to the log of the database before it is written over again."""

Order = Literal["rarest", "lowest"]


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """What to fetch, and where to: `name` in the folder `target` (absolute)."""

    content_id: ContentId
    target: str
    name: str
    order: Order = "rarest"
    group_id: GroupId | None = None
    overwrite: bool = False
    """Replace a file of that name at the end. Folders are never replaced."""
    background: bool = False
    """It gives way to all other traffic."""


class Store:
    def __init__(self, state_dir: str, lock: int, database: Database, clock: Clock, rng: Rng) -> None:
        """Use `Store.open`."""
        self.state_dir = state_dir
        self._lock_file = lock
        self._database = database
        self._clock = clock
        self._rng = rng
        self._library = Library(database)
        self.groups = GroupsTable(database)
        self.members = MembersTable(database)
        self.records = RecordsTable(database)
        self.numbers = NumbersTable(database)
        self.addresses = AddressesTable(database)
        self.values = ValuesTable(database)
        self.dht = DhtTable(database)
        self._lock = threading.Lock()  # the dict, not what is in it
        self._downloads = {row.id: Download(self._library, row) for row in self._library.downloads.rows()}

    @classmethod
    def open(cls, state_dir: str | os.PathLike[str], clock: Clock | None = None, rng: Rng | None = None) -> Store:
        """Conflict when another swarmd has it; LocalError when its database is damaged or newer than this swarmd."""
        path = os.path.abspath(state_dir)
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
            lock = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise local_error(error, path) from error
        try:
            _take_lock(lock, path)
            database = Database(os.path.join(path, "swarmd.db"))
        except BaseException:
            os.close(lock)
            raise
        _warn_of_writers(path)
        store = cls(path, lock, database, clock or SystemClock(), rng or SystemRng())
        store._resume_discards()
        return store

    @property
    def streams_dir(self) -> str:
        """Where downloads go that are only read from here (`get --stdout`): the one part of the state for such."""
        return os.path.join(self.state_dir, "streams")

    def close(self) -> None:
        """Commit and close all downloads, and give the state folder up."""
        for download in self.downloads():
            try:
                download.commit()
            except LocalError as error:
                _logger.warning("download %s: its last chunks are not kept: %s", download.id, error)
            download.close()
        self._library.descriptors.close()
        self._database.close()
        os.close(self._lock_file)

    def lacks_room(self) -> bool:
        """Whether there is too little for the database, which was refused room (StateFull)."""
        try:
            room = os.statvfs(self.state_dir)
        except OSError as error:
            raise local_error(error, self.state_dir) from error
        return room.f_bavail * room.f_frsize < STATE_ROOM_BYTES

    def close_idle(self) -> None:
        """Close files that nobody used since the last call: call it every half minute or so."""
        self._library.descriptors.close_idle()

    # Objects that are here as a whole

    def share(self, path: str, progress: Progress | None = None, cancel: threading.Event | None = None) -> SharedObject:
        """Hash what is at the absolute `path` and serve it from there. Of an unchanged path only `stat`s are read."""
        self._check_state_not_in(path)
        return share_path(self._library, path, clock=self._clock, progress=progress, cancel=cancel)

    def objects(self) -> list[SharedObject]:
        """Shared or downloaded, in the order they came; an object with two copies is there twice."""
        return [SharedObject.of(copy, row) for copy, row in self._library.copies.rows()]

    def object(self, content_id: ContentId) -> SharedObject:
        """Its first copy. NotFound."""
        for shared in self.objects():
            if shared.content_id == content_id:
                return shared
        raise NotFound(f"object {content_id.short} is not here")

    def object_at(self, path: str) -> SharedObject | None:
        place = os.path.realpath(path)
        return next((shared for shared in self.objects() if shared.path == place), None)

    def open_object(self, content_id: ContentId) -> ObjectSource:
        """To serve it; the copy of which most is unchanged, if there are several. NotFound."""
        source = self._library.open_best_copy(content_id)
        if source is None:
            raise NotFound(f"object {content_id.short} is not here")
        return source

    def forget(self, content_id: ContentId) -> None:
        """Do not serve it any more. Its files stay. NotFound."""
        copies = self._library.copies.of(content_id)
        if not copies:
            raise NotFound(f"object {content_id.short} is not here")
        with self._database.transaction():
            for copy in copies:
                self._library.copies.delete(copy.path)
            self._library.collect()

    def delete_files(self, path: str) -> None:
        """Delete a copy from the disk and forget it. NotFound; NotAllowed when it was changed since."""
        copy = self._library.copies.at(path)
        if copy is None:
            raise NotFound(f"nothing at {escape(path)} is shared or was downloaded")
        delete_copy(self._library, copy)

    # Downloads

    def create_download(self, request: DownloadRequest) -> Download:
        """Remember it; `prepare` makes the files. AlreadyExists when the name is taken or the object is under way;
        NotFound or NotAllowed for the target folder; InvalidArgument for a name that no file may have."""
        target = _check_request(request)
        if _is_within(target, self.state_dir) and not _is_within(target, self.streams_dir):
            raise InvalidArgument(f"{escape(target)} is swarmd's own state folder: choose another one")
        with self._lock:
            self._check_not_under_way(request.content_id, target, request.name)
            row = DownloadRow(
                id=self._new_id(),
                content_id=request.content_id,
                group_id=request.group_id,
                target=target,
                name=request.name,
                order=request.order,
                overwrite=request.overwrite,
                created_at=int(self._clock.wall() * 1000),
                background=request.background,
            )
            self._library.downloads.add(row)
            download = self._downloads[row.id] = Download(self._library, row)
        return download

    def downloads(self) -> list[Download]:
        """In the order they were made, finished ones included. After a restart each needs `prepare`."""
        with self._lock:
            return list(self._downloads.values())

    def download(self, download_id: str) -> Download:
        """NotFound."""
        with self._lock:
            download = self._downloads.get(download_id)
        if download is None:
            raise NotFound(f"there is no transfer {escape(download_id)}")
        return download

    def discard_download(self, download_id: str, delete_data: bool) -> None:
        """Forget a download, also a finished one; with `delete_data` its files go too, as `delete_files` does it."""
        download = self.download(download_id)
        if delete_data and download.row.state is State.FINISHED and self._library.copies.at(download.path):
            self.delete_files(download.path)
        download.discard(delete_data)
        with self._lock:
            self._downloads.pop(download_id, None)

    def reuse_local(
        self, download: Download, progress: ReuseProgress | None = None, cancel: threading.Event | None = None
    ) -> int:
        """Copy the chunks of a prepared download that are on this machine already: how many bytes that were.

        Only chunks whose hashes are here are looked for.
        """
        others = {other.content_id: other for other in self.downloads() if other.is_prepared and other is not download}
        reuse = Reuse(self._library, download, others)
        reuse.run(self._clock, progress or _silent, cancel or threading.Event())
        return reuse.n_bytes

    def _resume_discards(self) -> None:
        """What a crash interrupted."""
        for download in self.downloads():
            if download.row.state is State.DISCARDING:
                try:
                    self.discard_download(download.id, delete_data=True)
                except LocalError as error:
                    _logger.warning("download %s cannot be deleted: %s", download.id, error)

    def _check_not_under_way(self, content_id: ContentId, target: str, name: str) -> None:
        for other in self._downloads.values():
            row = other.row
            if row.state is State.FINISHED:
                continue
            if row.content_id == content_id:
                raise AlreadyExists(f"transfer {row.id} fetches that already, to {escape(other.path)}")
            if (row.target, row.name) == (target, name):
                raise AlreadyExists(f"transfer {row.id} writes {escape(other.path)} already: choose another folder")

    def _check_state_not_in(self, path: str) -> None:
        """Our own state holds keys."""
        if _is_within(self.state_dir, path) or _is_within(path, self.state_dir):
            raise InvalidArgument(
                f"{escape(path)} holds swarmd's own state, with its keys ({escape(self.state_dir)}): "
                "share something else, or move the state elsewhere"
            )

    def _new_id(self) -> str:
        while True:
            download_id = base64.b32encode(self._rng.bytes(_ID_BYTES)).decode().lower()
            if download_id not in self._downloads:
                return download_id


def _warn_of_writers(path: str) -> None:
    """Who may write in the folder can put another identity and another database in the place of ours."""
    mode = os.stat(path).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        _logger.warning("other users may write in the state folder %s; run: chmod 700 %s", escape(path), escape(path))


def _take_lock(lock: int, path: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
        raise Conflict(
            f"another swarmd runs on this state folder, {escape(path)} (pid {escape(owner) or 'unknown'}): "
            "stop it, or use another --state-dir"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _is_within(path: str, folder: str) -> bool:
    outer = os.path.realpath(folder)
    return os.path.commonpath([os.path.realpath(path), outer]) == outer


def _check_request(request: DownloadRequest) -> str:
    """The target folder without links. Nothing is made yet."""
    try:
        check_component(request.name)
    except RemoteError as error:
        raise InvalidArgument(f"{escape(request.name)} cannot be the name of a file: {error}") from None
    with Tree.open(request.target) as target:
        check_name(target, request.name, request.overwrite)
    return os.path.realpath(request.target)


def _silent(done_bytes: int, done_chunks: int) -> None:
    pass
