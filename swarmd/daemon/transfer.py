"""One download from its first request to the finished object: phases, commits, and what it stands for when it stands
still.

In: what the exchange tells (`metadata_stored`, `chunk_written`, `disk_failed`, ...), `pause`, `resume`. Out: calls of
the replicator, and of the store on threads; `state`, `error`, `standing` for whoever asks.

    METADATA     root and entry pages are fetched             -> DOWNLOADING  (`Download.prepare`)
    DOWNLOADING  chunks are fetched, committed every few s    -> FINISHING    all stored
    FINISHING    synced and renamed                           -> DONE
    any          an error that waiting does not mend          -> FAILED       (`resume` starts again)

Not a state but a condition of the first two: paused by the user, or standing for a full disk, which ends by itself
when there is room (`stands`): in the folder or for the database, whichever was full. One task runs the phases; it is
the only one that changes `state`.

Crash contract: what was written is committed at most COMMIT_PERIOD later (design §7 allows 5 s or 64 MiB), so a
crash costs no more than that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol

from swarmd.core.errors import DiskFull, Incomplete, IntegrityError, LocalError, RemoteError
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.ranges import RangeSet
from swarmd.daemon.exchange import Exchange
from swarmd.daemon.stands import Standing, Stands
from swarmd.daemon.workers import Workers
from swarmd.replication.pickers import Order
from swarmd.replication.shape import HASH_PAGE_CHUNKS, MetaKind, Shape
from swarmd.store.database import StateFull
from swarmd.store.download import Download
from swarmd.store.manifest import PageKind, Root
from swarmd.store.source import ObjectSource
from swarmd.store.store import Store
from swarmd.store.tables.downloads import State as RowState

log = logging.getLogger(__name__)

COMMIT_PERIOD = 3.0


class TransferState(Enum):
    METADATA = "metadata"
    DOWNLOADING = "downloading"
    FINISHING = "finishing"
    DONE = "done"
    FAILED = "failed"


class TransferObserver(Protocol):
    """Who is told about steps of a transfer."""

    def transfer_changed(self, transfer: Transfer, what: str) -> None: ...
    def transfer_finished(self, transfer: Transfer, source: ObjectSource) -> None: ...


Step = Callable[[], Awaitable[object]]


class Transfer:
    """Made for a row of the store; `start` begins, `stop` ends its task and leaves the row for the next start."""

    def __init__(
        self,
        download: Download,
        group: GroupId,
        exchange: Exchange,
        store: Store,
        slow: Workers,
        observer: TransferObserver,
    ) -> None:
        self.download = download
        self.group = group
        """Where it was asked for last: after a restart it is fetched there."""
        self.groups = {group}
        """Everywhere that it is fetched."""
        self.state = TransferState.METADATA
        self.error: LocalError | None = None
        self._stands = Stands()
        self.is_paused = download.row.paused
        self.is_temporary = False
        self.is_left = False
        """Whether it was removed because this node has left its group."""
        self.reused_bytes = 0
        self.moved_at = exchange.now
        """When something last arrived, or it began."""
        self.received_bytes = 0
        self.sources: dict[PeerId, int] = {}
        """What peers gave, kept when the transfer is over."""
        self.finished = asyncio.Event()  # done or failed
        self._exchange, self._store, self._slow, self._observer = exchange, store, slow, observer
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()  # something that the task waits for has come
        self._chunks = asyncio.Event()
        self._entries_are_here = self._is_complete = False
        self._failure: LocalError | None = None
        self._new_pages: set[int] = set()
        if download.row.state is RowState.FINISHED:
            self.state = TransferState.DONE
            self.finished.set()

    @property
    def id(self) -> str:
        return self.download.id

    @property
    def content_id(self) -> ContentId:
        return self.download.content_id

    @property
    def standing(self) -> Standing | None:
        return self._stands.current

    @property
    def is_active(self) -> bool:
        return self.state not in (TransferState.DONE, TransferState.FAILED)

    # Commands ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Fetch, from wherever it was left."""
        self.state, self.error, self._failure = TransferState.METADATA, None, None
        self.finished.clear()
        self.moved_at = self._exchange.now
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"transfer {self.id}")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End the task; commit what there is."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if not self.is_active:
            return
        self._exchange.replicator.cancel(self.content_id, self._exchange.now)
        self._exchange.detach(self.content_id)
        self._exchange.schedule()
        if self.download.is_prepared:
            try:
                await self._slow.run(self.download.commit)
            except LocalError as error:
                log.warning("transfer %s: its last chunks are not kept: %s", self.id, error)

    async def pause(self) -> None:
        if self.is_paused or self.state is TransferState.DONE:
            return
        await self._slow.run(lambda: self.download.set_paused(True))
        self.is_paused = True
        self._exchange.replicator.pause(self.content_id, self._exchange.now)
        self._exchange.schedule()
        self._tell("paused")

    async def resume(self) -> None:
        """Go on: after a pause, and after a failure."""
        if self.is_paused:
            await self._slow.run(lambda: self.download.set_paused(False))
            self.is_paused = False
        if self.state is TransferState.FAILED or self._task is None or self._task.done():
            if self.state is not TransferState.DONE:
                self.start()
        elif self.standing is None:
            self._exchange.replicator.resume(self.content_id, self._exchange.now)
            self._exchange.schedule()
        self._tell("changed")

    async def add_group(self, group: GroupId) -> None:
        """Fetch it from members of that group too."""
        if group in self.groups:
            return
        await self._slow.run(lambda: self.download.set_group(group))
        self.group = group
        self.groups.add(group)
        if self._exchange.is_attached(self.download):
            self._fetch()

    async def leave_group(self, group: GroupId) -> None:
        """Nobody of that group is left; there are other groups."""
        rest = min(self.groups - {group})
        await self._slow.run(lambda: self.download.set_group(rest))
        self.groups.discard(group)
        self.group = rest

    async def wait_for_chunks(self) -> None:
        """Until a further chunk is stored or the transfer ends."""
        await self._chunks.wait()

    # From the exchange ------------------------------------------------------------------------------------------

    def metadata_stored(self, kind: MetaKind, index: int) -> None:
        if kind is MetaKind.ROOT:
            self._exchange.replicator.shape_known(self.content_id, self._shape(), self._exchange.now)
        elif kind is MetaKind.HASHES:
            self._new_pages.add(index)
        self._check_entries()
        self.moved_at = self._exchange.now
        self._news.set()

    def chunk_written(self) -> None:
        self.moved_at = self._exchange.now
        chunks, self._chunks = self._chunks, asyncio.Event()
        chunks.set()

    def completed(self) -> None:
        self._is_complete = True
        self._news.set()

    def failed(self, error: LocalError) -> None:
        """A write did not work, or the object can never be had."""
        if self._failure is None:
            self._failure = error
            self._news.set()

    # Phases -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._standing_for_room(self._fetch_metadata)
            await self._standing_for_room(self._prepare)
            if self.download.row.state is not RowState.FINISHED:
                await self._fetch_chunks()
                self._enter(TransferState.FINISHING)
            await self._standing_for_room(self._finish)
            self._keep_sources()
            self._exchange.detach(self.content_id)
            self._enter(TransferState.DONE, "done")
        except RemoteError as error:
            await self._fail(IntegrityError(f"what was published is no valid object: {error}"))
        except LocalError as error:
            await self._fail(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A fault of our own must not look like a transfer that waits."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("transfer %s ended by a fault of swarmd", self.id, exc_info=error)
            self.error = LocalError(
                f"a fault of swarmd ({type(error).__name__}): its log says more; swarm resume {self.id}"
            )
            self._enter(TransferState.FAILED, "failed")

    async def _fail(self, error: LocalError) -> None:
        log.warning("transfer %s failed: %s", self.id, error)
        self.error = error
        self._exchange.replicator.cancel(self.content_id, self._exchange.now)
        self._exchange.detach(self.content_id)
        self._exchange.schedule()
        self._enter(TransferState.FAILED, "failed")
        try:
            await self._slow.run(lambda: self.download.set_error(str(error)))
        except LocalError as other:
            log.warning("transfer %s: why it failed is not kept: %s", self.id, other)

    async def _fetch_metadata(self) -> None:
        self._check_entries()
        if self._entries_are_here:
            return  # also after a restart: what the replicator is told of chunks needs a prepared download
        self._exchange.attach(self.download)
        self._refetch()
        while not self._entries_are_here:
            await self._next_news(None)
            self._raise_failure()

    async def _prepare(self) -> None:
        await self._slow.run(self.download.prepare)
        if self.download.notice:
            log.warning("transfer %s: %s", self.id, self.download.notice)

    async def _fetch_chunks(self) -> None:
        self._enter(TransferState.DOWNLOADING)
        self._new_pages.clear()
        await self._standing_for_room(self._reuse)
        if self.download.is_complete:
            return  # all of it was on this machine; whoever gives it from there was not disturbed
        self._exchange.attach(self.download)
        self._news.set()
        self._is_complete = False
        self._refetch()
        while not self._is_complete:
            await self._next_news(COMMIT_PERIOD)
            await self._use_new_pages()
            await self._standing_for_room(self._commit)

    async def _commit(self) -> None:
        self._raise_failure()
        try:
            await self._slow.run(self.download.commit)
        except LocalError:
            self._is_complete = False
            self._refetch()  # what was not committed is not claimed any more
            raise

    async def _finish(self) -> None:
        try:
            source = await self._slow.run(self.download.finish)
        except Incomplete:
            await self._fetch_chunks()
            self._enter(TransferState.FINISHING)
            source = await self._slow.run(self.download.finish)
        self._observer.transfer_finished(self, source)

    async def _use_new_pages(self) -> None:
        """Chunks whose hashes have come may be fetched, unless this machine has them already."""
        while self._new_pages:
            pages, self._new_pages = self._new_pages, set()
            await self._standing_for_room(self._reuse_more)
            chunks = RangeSet()
            for page in pages:
                chunks.add(*self._chunks_of_page(page))
            self._exchange.replicator.verifiable(self.content_id, chunks, self._exchange.now)
            self._exchange.schedule()

    async def _reuse(self) -> bool:
        """Copy what is on this machine; whether there was anything."""
        copied = await self._slow.run(lambda: self._store.reuse_local(self.download))
        self.reused_bytes += copied
        return bool(copied)

    async def _reuse_more(self) -> None:
        """The same while others give us chunks: say that these are here."""
        if await self._reuse():
            have, now = self.download.have, self._exchange.now
            self._exchange.replicator.serve(self.group, self.content_id, self._shape(), have, now)
            self.chunk_written()

    # What phases are made of ------------------------------------------------------------------------------------

    async def _standing_for_room(self, step: Step) -> None:
        """Do it; when the disk is full, stand still until there is room, and do it again."""
        while True:
            try:
                await step()
                return
            except DiskFull as error:
                await self._stand(error)

    async def _stand(self, error: DiskFull) -> None:
        """Until there is room where there was none."""
        is_news = self._stands.begin(error, self._exchange.now)
        if is_news:
            log.warning("transfer %s waits for room: %s", self.id, error)
        self._exchange.replicator.pause(self.content_id, self._exchange.now)
        self._exchange.schedule()
        self._tell("paused")
        lacks_room = self._store.lacks_room if isinstance(error, StateFull) else self.download.lacks_room
        try:
            await asyncio.sleep(self._stands.period)
            while await self._slow.run(lacks_room):  # noqa: ASYNC110 (there is no event for it)
                await asyncio.sleep(self._stands.period)
        finally:
            self._stands.end(self._exchange.now)
            self._failure = None
        if is_news:
            log.info("transfer %s goes on: there is room again", self.id)
        if not self.is_paused:
            self._exchange.replicator.resume(self.content_id, self._exchange.now)
            self._exchange.schedule()
        self._tell("changed")

    def _keep_sources(self) -> None:
        progress = self._exchange.progress(self.content_id)
        if progress is not None:
            self.received_bytes = progress.received_bytes
            self.sources = {source.peer: source.received_bytes for source in progress.sources}

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def _next_news(self, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    def _fetch(self) -> None:
        """Tell the replicator what is wanted, and what is here."""
        download, root, now = self.download, self.download.root, self._exchange.now
        entry_pages = RangeSet()
        if root is not None:
            entry_pages = RangeSet([(0, root.n_pages(PageKind.ENTRIES))])
            for page in download.missing_entry_pages():
                entry_pages.discard(page)
        for group in sorted(self.groups):
            self._exchange.replicator.fetch(
                group,
                self.content_id,
                Order(download.row.order),
                self._shape() if root is not None else None,
                download.have,
                self._usable_chunks(),
                now,
                entry_pages=entry_pages,
                hash_pages=RangeSet((page, page + 1) for page in self._pages_here()),
            )
        if self.is_paused:
            self._exchange.replicator.pause(self.content_id, now)
        self._exchange.schedule()

    def _refetch(self) -> None:
        """Tell the replicator anew what is here: less than it thinks, or that chunks can be written now."""
        self._exchange.replicator.cancel(self.content_id, self._exchange.now)
        self._fetch()

    def _usable_chunks(self) -> RangeSet:
        """Chunks that may be asked for: verifiable, and looked for on this machine before."""
        if not self.download.is_prepared:
            return RangeSet()
        chunks = self.download.verifiable
        for page in self._new_pages:
            chunks.discard(*self._chunks_of_page(page))
        return chunks

    def _check_entries(self) -> None:
        if self.download.root is not None and not self.download.missing_entry_pages():
            self._entries_are_here = True

    def _shape(self) -> Shape:
        root = self._root()
        download = self.download
        return Shape(
            root.n_chunks,
            root.chunk_size,
            root.total_size,
            root.n_pages(PageKind.ENTRIES),
            lambda chunk: download.layout.chunk_length(chunk),
        )

    def _root(self) -> Root:
        root = self.download.root
        assert root is not None
        return root

    def _pages_here(self) -> list[int]:
        root = self.download.root
        return (
            []
            if root is None
            else [page for page in range(root.n_pages(PageKind.HASHES)) if self.download.has_hash_page(page)]
        )

    def _chunks_of_page(self, page: int) -> tuple[int, int]:
        return page * HASH_PAGE_CHUNKS, min((page + 1) * HASH_PAGE_CHUNKS, self._root().n_chunks)

    def _enter(self, state: TransferState, what: str = "changed") -> None:
        self.state = state
        if not self.is_active:
            self.finished.set()
            self.chunk_written()
        self._tell(what)

    def _tell(self, what: str) -> None:
        self._observer.transfer_changed(self, what)
