"""All downloads of a node: made by `get`, found again after a restart, one at a time for each object.

It is the exchange's `TransferSink`: what concerns one download goes to its `Transfer`.

What is done stays listed, and served in its group, until `rm`. Temporary transfers (`get --stdout`) live in the
state folder and go with the connection that asked for them.
"""

from __future__ import annotations

import logging
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Protocol

from swarmd.core.errors import AlreadyExists, Conflict, IntegrityError, LocalError, NotFound, RemoteError
from swarmd.core.ids import ContentId, GroupId
from swarmd.core.terminal import escape
from swarmd.daemon.exchange import Exchange
from swarmd.daemon.serving import Serving, serve_quietly
from swarmd.daemon.transfer import Transfer, TransferState
from swarmd.daemon.workers import Workers
from swarmd.replication.shape import MetaKind
from swarmd.store.download import Download
from swarmd.store.entries import EntryKind
from swarmd.store.source import ObjectSource, SourceChanged
from swarmd.store.store import DownloadRequest, Order, Store

log = logging.getLogger(__name__)


class TransfersObserver(Protocol):
    """Who is told what becomes of transfers and of what they have left."""

    def transfer_changed(self, transfer: Transfer, what: str) -> None: ...
    def source_changed(self, content_id: ContentId, error: SourceChanged) -> None: ...


class Transfers:
    def __init__(
        self,
        store: Store,
        exchange: Exchange,
        serving: Serving,
        slow: Workers,
        observer: TransfersObserver,
        temporary: Path,
    ) -> None:
        self._store, self._exchange, self._serving = store, exchange, serving
        self._slow, self._observer = slow, observer
        self._temporary = temporary
        self._transfers: dict[str, Transfer] = {}
        self._active: dict[ContentId, Transfer] = {}

    # Commands ---------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Everything that there was when the daemon stopped is listed again, and what was under way goes on."""
        await self._slow.run(lambda: shutil.rmtree(self._temporary, ignore_errors=True))
        for download in await self._slow.run(self._store.downloads):
            if Path(download.row.target).is_relative_to(self._temporary) or download.row.group_id is None:
                await self._discard_left(download.id)
                continue
            self._adopt(download, download.row.group_id)

    async def serve(self) -> None:
        """What was fetched in earlier runs; opening many objects takes a while."""
        for transfer in self.all():
            if transfer.state is TransferState.DONE:
                await self._serve(transfer)

    async def stop(self) -> None:
        """Commit what there is of each."""
        for transfer in self._transfers.values():
            if transfer.is_active:
                await transfer.stop()

    def all(self) -> list[Transfer]:
        """Oldest first."""
        return list(self._transfers.values())

    def get(self, transfer_id: str) -> Transfer:
        transfer = self._transfers.get(transfer_id)
        if transfer is None:
            raise NotFound(f"there is no transfer {transfer_id!r}: `swarm transfers` lists them")
        return transfer

    def is_fetched_in(self, group: GroupId) -> bool:
        """Whether there is a transfer of that group."""
        return any(group in transfer.groups for transfer in self._transfers.values())

    def has(self, transfer: Transfer) -> bool:
        """Whether it is still listed."""
        return self._transfers.get(transfer.id) is transfer

    async def create(
        self,
        group: GroupId,
        content_id: ContentId,
        name: str,
        target: str | None,
        order: Order,
        overwrite: bool,
        background: bool | None = None,
    ) -> Transfer:
        """A transfer to `target`/`name` (None: temporary), started; the one that is on its way there already, if
        any, or has put there what still is there.

        `background`: whether it gives way to all other traffic; None: not, or as it was.
        AlreadyExists when something else is there, or the object is on its way to somewhere else.
        """
        if target is not None:
            path = os.path.join(await self._slow.run(partial(os.path.realpath, target)), name)
            known = await self._to_same_place(content_id, path)
            if known is not None:
                await self.add_group(known, group)
                if background is not None:
                    await self._slow.run(partial(known.download.set_background, background))
                    self._settle_background()
                await known.resume()
                return known
            await self._slow.run(partial(_check_free, path, overwrite))
        for other in self.all():
            if other.content_id == content_id and other.state is not TransferState.DONE:
                raise AlreadyExists(_way_out(other, target))
        if self._exchange.replicator.programs.is_open(content_id):
            raise Conflict("that is no file or folder: a program on this machine has it open")
        folder = target if target is not None else await self._slow.run(partial(self._make_temporary, content_id))
        request = DownloadRequest(content_id, folder, name, order, group, overwrite, background=bool(background))
        transfer = self._adopt(await self._slow.run(partial(self._store.create_download, request)), group)
        transfer.is_temporary = target is None
        self._observer.transfer_changed(transfer, "added")
        return transfer

    async def add_group(self, transfer: Transfer, group: GroupId) -> None:
        """Fetch it from members of that group too, or serve it to them when it is done."""
        if group not in transfer.groups:
            await transfer.add_group(group)
            if transfer.state is TransferState.DONE:
                await self._serve(transfer)

    async def remove(self, transfer: Transfer, delete_data: bool) -> str | None:
        """Forget it; the path that stays on the disk, if any does.

        When it was done, this object is not served any more unless another transfer has it too: whoever has also
        shared it sees to that (`Shares.restore`).
        """
        path, content_id = transfer.download.path, transfer.content_id
        was_done = transfer.state is TransferState.DONE
        self._transfers.pop(transfer.id, None)
        self._settle_background()
        if self._active.get(content_id) is transfer:
            del self._active[content_id]
        await transfer.stop()
        try:
            await self._slow.run(partial(self._store.discard_download, transfer.id, delete_data))
        except LocalError:
            self._transfers[transfer.id] = transfer  # it is not forgotten: the next start would find it
            self._settle_background()
            if not was_done:
                transfer.start()
                self._active[content_id] = transfer
            raise
        if was_done:
            for group in self._serving.groups(content_id):
                self._serving.withdraw(group, content_id)
        else:
            self._serving.restore(content_id)
        if transfer.is_temporary:
            await self._slow.run(partial(shutil.rmtree, transfer.download.row.target, ignore_errors=True))
        for other in self.all() if was_done else ():
            if other.content_id == content_id and other.state is TransferState.DONE:
                await self._serve(other)
        self._observer.transfer_changed(transfer, "removed")
        left = path if was_done else path + ".part"
        return left if await self._slow.run(lambda: os.path.lexists(left)) else None

    async def leave_group(self, group: GroupId, *, delete_data: bool) -> list[str]:
        """Nothing is fetched in this group any more. The paths of what is half fetched in it alone, and stays."""
        left = []
        for transfer in [each for each in self._transfers.values() if group in each.groups and each.is_active]:
            if len(transfer.groups) > 1:
                await transfer.leave_group(group)
            elif transfer.is_active:  # it may have come to its end meanwhile
                left.append(await self._remove_left(transfer, delete_data))
        return [path for path in left if path is not None]

    # From the exchange ------------------------------------------------------------------------------------------
    # It may have had something to tell of a transfer that is being removed: nobody waits for that.

    def metadata_stored(self, content_id: ContentId, kind: MetaKind, index: int) -> None:
        if (transfer := self._active.get(content_id)) is not None:
            transfer.metadata_stored(kind, index)

    def object_malformed(self, content_id: ContentId, error: RemoteError) -> None:
        if (transfer := self._active.get(content_id)) is not None:
            transfer.failed(IntegrityError(f"what was published is no valid object: {error}"))

    def disk_failed(self, content_id: ContentId, error: LocalError) -> None:
        if (transfer := self._active.get(content_id)) is not None:
            transfer.failed(error)

    def chunk_written(self, content_id: ContentId, index: int) -> None:
        if (transfer := self._active.get(content_id)) is not None:
            transfer.chunk_written()

    def transfer_completed(self, content_id: ContentId) -> None:
        if (transfer := self._active.get(content_id)) is not None:
            transfer.completed()

    def source_changed(self, content_id: ContentId, error: SourceChanged) -> None:
        self._observer.source_changed(content_id, error)

    # From transfers ---------------------------------------------------------------------------------------------

    def transfer_changed(self, transfer: Transfer, what: str) -> None:
        if not transfer.is_active:
            self._active.pop(transfer.content_id, None)
            if transfer.error is not None:
                self._serving.restore(transfer.content_id)
        else:
            self._active[transfer.content_id] = transfer
        self._observer.transfer_changed(transfer, what)

    def transfer_finished(self, transfer: Transfer, source: ObjectSource) -> None:
        for group in transfer.groups:
            self._serving.remember(group, source)

    # Inside -----------------------------------------------------------------------------------------------------

    async def _remove_left(self, transfer: Transfer, delete_data: bool) -> str | None:
        """One whose only group is left; the path that stays."""
        transfer.is_left = True
        try:
            return await self.remove(transfer, delete_data)
        except LocalError:
            transfer.is_left = False
            raise

    async def _discard_left(self, transfer_id: str) -> None:
        """What a stream of the last run has left behind; it can wait until there is room for forgetting it."""
        try:
            await self._slow.run(partial(self._store.discard_download, transfer_id, delete_data=True))
        except LocalError as error:
            log.warning("what is left of transfer %s cannot be deleted yet: %s", transfer_id, error)

    async def _serve(self, transfer: Transfer) -> None:
        """What it has fetched."""
        for group in transfer.groups:
            await serve_quietly(self._serving, group, transfer.content_id, transfer.download.path)

    def _adopt(self, download: Download, group: GroupId) -> Transfer:
        transfer = Transfer(download, group, self._exchange, self._store, self._slow, self)
        self._transfers[transfer.id] = transfer
        self._settle_background()
        if transfer.is_active:
            self._active[transfer.content_id] = transfer
            transfer.start()
        return transfer

    def _settle_background(self) -> None:
        """An object is in the background when every transfer of it is; also when it is done, and given to others."""
        pressing = {each.content_id for each in self.all() if not each.download.row.background}
        background = frozenset(each.content_id for each in self.all()) - pressing
        self._exchange.replicator.set_background(background, self._exchange.now)
        self._exchange.schedule()

    async def _to_same_place(self, content_id: ContentId, path: str) -> Transfer | None:
        """One that is under way to there; or one that is done, if what it has put there is there unchanged."""
        there = [each for each in self.all() if each.content_id == content_id and each.download.path == path]
        for transfer in there:
            if transfer.state is not TransferState.DONE:
                return transfer
        if not there:
            return None
        is_unchanged = await self._slow.run(partial(self._is_unchanged, content_id, path))
        return there[-1] if is_unchanged else None

    def _is_unchanged(self, content_id: ContentId, path: str) -> bool:
        """Whether the copy there is as it was when it was fetched, as far as `stat` tells."""
        try:
            source = self._store.open_object(content_id)
        except LocalError:
            return False
        try:
            if source.path != path or not os.path.lexists(path) or source.check():
                return False
            is_file = source.root.kind is EntryKind.FILE
            return os.path.getsize(path) == source.root.total_size if is_file else os.path.isdir(path)
        except OSError:
            return False
        finally:
            source.close()

    def _make_temporary(self, content_id: ContentId) -> str:
        """A folder of its own for each, since names may be equal."""
        self._temporary.mkdir(mode=0o700, exist_ok=True)
        number = 0
        while True:
            folder = self._temporary / f"{content_id.short}-{number}"
            try:
                folder.mkdir(mode=0o700)
                return str(folder)
            except FileExistsError:
                number += 1


def _check_free(path: str, overwrite: bool) -> None:
    """AlreadyExists, with every way out, when there is something of that name. The store checks again, and decides."""
    if os.path.isdir(path) and not os.path.islink(path):
        raise AlreadyExists(
            f"{escape(path)} is there already, and folders are never overwritten: move it elsewhere, or choose another"
            " folder with -o"
        )
    if not overwrite and os.path.lexists(path):
        raise AlreadyExists(
            f"{escape(path)} is there already: choose another folder with -o, or replace it with --overwrite"
        )


def _way_out(known: Transfer, target: str | None) -> str:
    """An object is fetched once at a time: how it stands with that, and what to type to have it here instead."""
    wanted = "to stream it" if target is None else f"to fetch it to {escape(target)} instead"
    if known.is_temporary:
        return (
            f"transfer {known.id} streams that already, for another `swarm get --stdout`: wait for its end, or"
            f" `swarm rm {known.id}`, and then this command again"
        )
    return (
        f"transfer {known.id} fetches that already, to {escape(known.download.path)}{_how_it_stands(known)}; {wanted},"
        f" `swarm rm {known.id} --delete-data` (what it has fetched so far goes), and then this command again"
    )


def _how_it_stands(known: Transfer) -> str:
    if known.error is not None:
        return f", and has failed ({known.error}): `swarm resume {known.id}` tries again"
    if known.standing is not None:
        return f", and waits for room ({known.standing.error}): it goes on by itself when there is some"
    if known.is_paused:
        return f", and is paused: `swarm resume {known.id}` goes on"
    return f": `swarm transfers {known.id}` shows how far it is"
