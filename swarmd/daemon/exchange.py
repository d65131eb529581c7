"""Carries out what the replicator asks: sends for it, and reads and writes chunks for it on threads.

In: members come and go, their messages, what has been sent (from `groups`), the holdings and downloads that
there are (from `transfers` and `shares`). Out: calls of the replicator with every result; a `TransferSink`
hears what concerns a download beyond its chunks.

Buffers for reading are kept and used again; those of received chunks are the records themselves. Nothing blocks
the loop: every read, hash and write is a job of the disk threads. The replicator bounds how many there are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from swarmd.core.clock import Clock
from swarmd.core.errors import LocalError, RemoteError
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.daemon.flows import FlowKind
from swarmd.daemon.peers import Peers
from swarmd.daemon.traffic import Bytes
from swarmd.daemon.workers import Outcome, Workers
from swarmd.replication import commands
from swarmd.replication.progress import Progress
from swarmd.replication.replicator import Replicator
from swarmd.replication.shape import MetaKind
from swarmd.store.manifest import PageKind
from swarmd.store.source import Source, SourceChanged

log = logging.getLogger(__name__)

_SPARE_BUFFERS = 16  # kept between reads: 64 MiB at the most, 32 MiB for an object of 1 GiB
_PAGES = {MetaKind.ENTRIES: PageKind.ENTRIES, MetaKind.HASHES: PageKind.HASHES}


class Writable(Source, Protocol):
    """A download as the exchange sees it."""

    def accept_root(self, data: bytes | memoryview) -> object: ...
    def accept_page(self, kind: PageKind, index: int, data: bytes | memoryview) -> None: ...
    def write_chunk(self, index: int, parts: Sequence[bytes | bytearray | memoryview]) -> bool: ...


class TransferSink(Protocol):
    """Who is told about downloads (by content ID) and about holdings that changed."""

    def metadata_stored(self, content_id: ContentId, kind: MetaKind, index: int) -> None: ...
    def object_malformed(self, content_id: ContentId, error: RemoteError) -> None: ...
    def disk_failed(self, content_id: ContentId, error: LocalError) -> None: ...
    def chunk_written(self, content_id: ContentId, index: int) -> None: ...
    def transfer_completed(self, content_id: ContentId) -> None: ...
    def source_changed(self, content_id: ContentId, error: SourceChanged) -> None: ...


class ProgramSink(Protocol):
    """Who speaks with local programs about their objects."""

    def carry_out(self, command: commands.ForProgram) -> None: ...


class Exchange:
    """Drives one `Replicator`. Everything on the loop."""

    def __init__(self, replicator: Replicator, peers: Peers, disk: Workers, clock: Clock) -> None:
        self.replicator = replicator
        self.sink: TransferSink
        self.programs: ProgramSink
        self._peers, self._disk, self._clock = peers, disk, clock
        self._loop = asyncio.get_running_loop()
        self._sources: dict[ContentId, Source] = {}
        self._downloads: dict[ContentId, Writable] = {}
        self._reading: dict[int, bytearray] = {}
        self._spare: list[bytearray] = []
        self._unused = 0  # how many of them were not needed since the last `shrink`
        self._traffic: dict[GroupId, Bytes] = {}
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._closed = False

    @property
    def now(self) -> float:
        return self._clock.monotonic()

    # What there is ----------------------------------------------------------------------------------------------

    def hold(self, source: Source) -> None:
        """Read chunks and pages of this object from here from now on."""
        self._sources[source.content_id] = source

    def release(self, content_id: ContentId) -> None:
        self._sources.pop(content_id, None)

    def source(self, content_id: ContentId) -> Source | None:
        return self._sources.get(content_id)

    def attach(self, download: Writable) -> None:
        """Write what comes for this object there, and serve from it what has come."""
        self._downloads[download.content_id] = download
        self._sources[download.content_id] = download

    def is_attached(self, download: Writable) -> bool:
        return self._downloads.get(download.content_id) is download

    def detach(self, content_id: ContentId) -> None:
        """Nothing is written there any more; nor read from there, unless another source has taken its place."""
        download = self._downloads.pop(content_id, None)
        if download is not None and self._sources[content_id] is download:
            del self._sources[content_id]

    def progress(self, content_id: ContentId) -> Progress | None:
        """How a download stands now, and not as of the last time that something happened."""
        self.replicator.handle_timer(self.now)
        self.schedule()
        return self.replicator.progress(content_id)

    def shrink(self) -> bool:
        """Let go of buffers that were not needed since the last call; whether there were any."""
        unused = self._unused
        del self._spare[:unused]
        self._unused = len(self._spare)
        return unused > 0

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    # From peers -------------------------------------------------------------------------------------------------

    def object_message(self, group: GroupId, peer: PeerId, data: bytes) -> None:
        self._counted(group).control_received += len(data)
        self.replicator.receive_control(group, peer, data, self.now)
        self.schedule()

    def bulk_message(self, group: GroupId, peer: PeerId, parts: Sequence[memoryview]) -> None:
        self._counted(group).data_received += sum(map(len, parts))
        self.replicator.receive_bulk(group, peer, parts, self.now)
        self.schedule()

    def bulk_sent(self, group: GroupId, peer: PeerId, size: int) -> None:
        self._counted(group).data_sent += size
        self.replicator.bulk_drained(group, peer, size, self.now)
        self.schedule()

    def traffic(self, group: GroupId) -> Bytes:
        """Counted of that group so far."""
        return self._traffic.get(group, Bytes())

    def forget(self, group: GroupId) -> None:
        """This node has left it."""
        self._traffic.pop(group, None)

    def _counted(self, group: GroupId) -> Bytes:
        counted = self._traffic.get(group)
        if counted is None:
            counted = self._traffic[group] = Bytes()
        return counted

    # Running ----------------------------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Run the replicator's commands at the end of this turn of the loop; call after every input to it."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        deadline = self.replicator.next_deadline()
        if deadline is not None and deadline <= self.now:
            self.replicator.handle_timer(self.now)
        while (command := self.replicator.next_command()) is not None:
            self._carry_out(command)
        self._set_timer()

    def _set_timer(self) -> None:
        deadline = self.replicator.next_deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - self.now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._run()

    def _carry_out(self, command: commands.Command) -> None:
        if isinstance(command, commands.SendBulk):
            self._peers.send(
                command.group, command.peer, FlowKind.BULK, command.parts, is_background=command.is_background
            )
        elif isinstance(command, commands.SendControl):
            self._counted(command.group).control_sent += len(command.data)
            self._peers.send(command.group, command.peer, FlowKind.OBJECT, (command.data,))
        elif isinstance(command, commands.ReadChunk):
            self._read_chunk(command)
        elif isinstance(command, commands.StoreChunk):
            self._store_chunk(command)
        elif isinstance(command, commands.ReleaseBuffer):
            self._release_buffer(command.read_id)
        elif isinstance(command, commands.ForProgram):
            self.programs.carry_out(command)
        elif isinstance(command, commands.ReadMeta):
            self._read_meta(command)
        elif isinstance(command, commands.StoreMeta):
            self._store_meta(command)
        elif isinstance(command, commands.PenalisePeer):
            self._peers.penalise(command.peer, command.points, command.reason)
        else:
            self.sink.transfer_completed(command.content_id)

    # Reading ----------------------------------------------------------------------------------------------------

    def _read_chunk(self, command: commands.ReadChunk) -> None:
        source = self._sources.get(command.content_id)
        if source is None:
            self.replicator.chunk_read(command.read_id, None, self.now)
            return
        buffer = self._take_buffer(command.length)
        self._reading[command.read_id] = buffer
        index = command.index
        self._disk.submit(lambda: source.read_chunk(index, buffer), lambda done: self._chunk_read(command, done))

    def _chunk_read(self, command: commands.ReadChunk, done: Outcome[int]) -> None:
        view: memoryview | None = None
        try:
            view = memoryview(self._reading[command.read_id])[: done.result()]
        except SourceChanged as error:
            self.sink.source_changed(command.content_id, error)
        except LocalError as error:
            log.warning("chunk %d of %s cannot be read: %s", command.index, command.content_id.short, error)
        if view is None:
            self._release_buffer(command.read_id)
        self.replicator.chunk_read(command.read_id, view, self.now)
        self.schedule()

    def _take_buffer(self, length: int) -> bytearray:
        """A buffer of at least that size. Sizes of one object are alike, so the first one mostly fits."""
        for position, buffer in enumerate(self._spare):
            if length <= len(buffer) <= 4 * length:
                del self._spare[position]
                self._unused = min(self._unused, len(self._spare))
                return buffer
        return bytearray(length)

    def _release_buffer(self, read_id: int) -> None:
        buffer = self._reading.pop(read_id)
        self._spare.append(buffer)
        if len(self._spare) > _SPARE_BUFFERS:
            del self._spare[0]

    def _read_meta(self, command: commands.ReadMeta) -> None:
        source = self._sources.get(command.content_id)
        if source is None:
            self.replicator.meta_read(command.read_id, None, self.now)
            return
        kind, index = command.kind, command.index

        def read() -> bytes | None:
            return source.root_data if kind is MetaKind.ROOT else source.page(_PAGES[kind], index)

        self._disk.submit(read, lambda done: self._meta_read(command, done))

    def _meta_read(self, command: commands.ReadMeta, done: Outcome[bytes | None]) -> None:
        data: bytes | None = None
        try:
            data = done.result()
        except LocalError as error:
            log.warning("metadata of %s cannot be read: %s", command.content_id.short, error)
        self.replicator.meta_read(command.read_id, data, self.now)
        self.schedule()

    # Writing ----------------------------------------------------------------------------------------------------

    def _store_chunk(self, command: commands.StoreChunk) -> None:
        download = self._downloads.get(command.content_id)
        if download is None:
            return  # cancelled meanwhile; the replicator has forgotten it too
        index, parts = command.index, command.parts
        self._disk.submit(lambda: download.write_chunk(index, parts), lambda done: self._chunk_stored(command, done))

    def _chunk_stored(self, command: commands.StoreChunk, done: Outcome[bool]) -> None:
        content_id, index = command.content_id, command.index
        try:
            is_true = done.result()
        except LocalError as error:
            self.replicator.chunk_failed(content_id, index, self.now)
            if content_id in self._downloads:
                self.sink.disk_failed(content_id, error)
        else:
            if is_true:
                self.replicator.chunk_stored(content_id, index, self.now)
                if content_id in self._downloads:
                    self.sink.chunk_written(content_id, index)
            else:
                log.warning("peer %s sent false bytes for chunk %d of %s", command.peer.short, index, content_id.short)
                self.replicator.chunk_rejected(content_id, index, self.now)
        self.schedule()

    def _store_meta(self, command: commands.StoreMeta) -> None:
        download = self._downloads.get(command.content_id)
        if download is None:
            return
        kind, index, data = command.kind, command.index, command.data

        def store() -> None:
            if kind is MetaKind.ROOT:
                download.accept_root(data)
            else:
                download.accept_page(_PAGES[kind], index, data)

        self._disk.submit(store, lambda done: self._meta_stored(command, done))

    def _meta_stored(self, command: commands.StoreMeta, done: Outcome[None]) -> None:
        content_id, kind, index = command.content_id, command.kind, command.index
        try:
            done.result()
        except RemoteError as error:
            if error.penalty:
                log.warning("peer %s sent false metadata of %s: %s", command.peer.short, content_id.short, error)
                self.replicator.meta_rejected(content_id, kind, index, self.now)
            elif content_id in self._downloads:
                self.sink.object_malformed(content_id, error)
        except LocalError as error:
            if content_id in self._downloads:
                self.sink.disk_failed(content_id, error)
        else:
            if content_id in self._downloads:
                self.sink.metadata_stored(content_id, kind, index)
            self.replicator.meta_accepted(content_id, kind, index, self.now)
        self.schedule()
