"""A node of a simulated swarm: a real Replicator, a model of a disk, and streams to the other nodes.

It drives the replicator as the daemon does: inputs in, commands out until there are none, a timer at the deadline.
It also watches: each chunk stored once, each lent buffer given back once, nothing stored that is false.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from swarmd.core.errors import RemoteError
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.ranges import RangeSet
from swarmd.core.rng import SeededRng
from swarmd.replication import commands
from swarmd.replication.pickers import Order
from swarmd.replication.replicator import Replicator
from swarmd.replication.shape import HASH_PAGE_CHUNKS, MetaKind
from tests.sim.clockwork import Clockwork
from tests.sim.content import Content
from tests.sim.network import Host, Stream

GROUP = GroupId(bytes(31) + b"\2")
READ_PERIOD = 0.0005
STORE_PERIOD = 0.002
DISK_RATE = 500e6


@dataclass
class Habits:
    """What is wrong with a node: chances that a chunk it sends is false, or that the read of one never ends."""

    lies: float = 0.0
    hangs: float = 0.0
    fails: float = 0.0  # writes of its own that fail


@dataclass
class Tally:
    stored: dict[int, int] = field(default_factory=dict)
    rejected: int = 0
    penalties: int = 0
    faults: list[str] = field(default_factory=list)
    done_at: float | None = None


class Node:
    def __init__(
        self, number: int, clockwork: Clockwork, content: Content, host: Host, seed: int, habits: Habits
    ) -> None:
        self.number = number
        self.peer = PeerId(number.to_bytes(32, "big"))
        self.host = host
        self.tally = Tally()
        self.have = RangeSet()
        self.pages: dict[MetaKind, set[int]] = {kind: set() for kind in MetaKind}
        self.is_up = False
        self._clockwork = clockwork
        self._content = content
        self._habits = habits
        self._seed = seed
        self._rng = SeededRng(seed * 1_000_003 + number)
        self._starts = 0
        self._streams: dict[PeerId, Stream] = {}
        self._nodes: dict[PeerId, Node] = {}
        self._lent: set[int] = set()
        self._timer_at: float | None = None
        self.replicator = Replicator(self._rng, 0.0)

    # life

    def start(self) -> None:
        """A fresh replicator, as after a start of the daemon."""
        self._starts += 1
        self.is_up = True
        self._lent.clear()
        self._timer_at = None
        self.replicator = Replicator(self._rng, self._clockwork.now)

    def seed(self) -> None:
        shape = self._content.shape
        self.have = RangeSet.single(0, shape.n_chunks)
        self.replicator.serve(GROUP, self._content.content_id, shape, self.have, self._clockwork.now)
        self.drain()

    def fetch(self, order: Order) -> None:
        has_root = bool(self.pages[MetaKind.ROOT])
        self.replicator.fetch(
            GROUP,
            self._content.content_id,
            order,
            self._content.shape if has_root else None,
            self.have,
            self._verifiable(),
            self._clockwork.now,
            entry_pages=RangeSet((i, i + 1) for i in self.pages[MetaKind.ENTRIES]),
            hash_pages=RangeSet((i, i + 1) for i in self.pages[MetaKind.HASHES]),
        )
        self.drain()

    def _verifiable(self) -> RangeSet:
        n_chunks = self._content.shape.n_chunks
        if not self.pages[MetaKind.ENTRIES]:
            return RangeSet()
        return RangeSet(
            (page * HASH_PAGE_CHUNKS, min(n_chunks, (page + 1) * HASH_PAGE_CHUNKS))
            for page in self.pages[MetaKind.HASHES]
        )

    def stop(self) -> None:
        """The daemon is killed; what was stored stays."""
        self.is_up = False
        self._starts += 1
        for peer in list(self._streams):
            self.disconnect(peer)

    @property
    def is_done(self) -> bool:
        return len(self.have) == self._content.shape.n_chunks

    # links

    def connect(self, other: Node, stream: Stream) -> None:
        self._streams[other.peer] = stream
        self._nodes[other.peer] = other
        self.replicator.peer_joined(GROUP, other.peer, self._clockwork.now)
        self.drain()

    def disconnect(self, peer: PeerId) -> None:
        """Both ends of the session are gone."""
        other = self._nodes.get(peer)
        self._cut(peer)
        if other is not None:
            other._cut(self.peer)

    def _cut(self, peer: PeerId) -> None:
        stream = self._streams.pop(peer, None)
        self._nodes.pop(peer, None)
        if stream is not None:
            stream.cut()
            self.replicator.peer_left(GROUP, peer, self._clockwork.now)
            if self.is_up:
                self.drain()

    def is_connected(self, other: Node) -> bool:
        return other.peer in self._streams

    # what arrives

    def deliver(self, other: Node, payload: Any, is_bulk: bool) -> None:
        now = self._clockwork.now
        try:
            if is_bulk:
                self.replicator.receive_bulk(GROUP, other.peer, payload, now)
            else:
                self.replicator.receive_control(GROUP, other.peer, payload, now)
        except RemoteError as error:
            self.tally.faults.append(f"{self.number} of {other.number}: {error}")
            self.disconnect(other.peer)
            return
        self.drain()

    def drained(self, other: Node, size: int) -> None:
        self.replicator.bulk_drained(GROUP, other.peer, size, self._clockwork.now)
        self.drain()

    # what the replicator says

    def drain(self) -> None:
        next_command = self.replicator.next_command
        while (command := next_command()) is not None:
            self._carry_out(command)
        deadline = self.replicator.next_deadline()
        if deadline is not None and (self._timer_at is None or deadline < self._timer_at):
            self._timer_at = deadline
            self._clockwork.at(deadline, self._timer, self._starts, deadline)

    def _timer(self, start: int, deadline: float) -> None:
        if start != self._starts or deadline != self._timer_at:
            return
        self._timer_at = None
        self.replicator.handle_timer(self._clockwork.now)
        self.drain()

    def _carry_out(self, command: commands.Command) -> None:
        match command:
            case commands.SendBulk(_, peer, parts):
                if (stream := self._streams.get(peer)) is not None:
                    views = [memoryview(part) for part in parts]
                    stream.send(views, sum(map(len, views)), is_bulk=True)
            case commands.SendControl(_, peer, data):
                if (stream := self._streams.get(peer)) is not None:
                    stream.send(data, len(data), is_bulk=False)
            case commands.ReadChunk(read_id, _, index, length):
                self._later(READ_PERIOD + length / DISK_RATE, self._read, read_id, index)
            case commands.ReleaseBuffer(read_id):
                self._lent.remove(read_id)
            case commands.StoreChunk(_, index, parts, _):
                length = sum(map(len, parts))
                self._later(STORE_PERIOD + length / DISK_RATE, self._store, index, parts)
            case commands.ReadMeta(read_id, _, kind, index):
                self._later(READ_PERIOD, self._read_page, read_id, kind, index)
            case commands.StoreMeta(_, kind, index, data, _):
                self._later(STORE_PERIOD, self._store_page, kind, index, data)
            case commands.PenalisePeer(_, peer, points, _):
                self.tally.penalties += 1
                if points >= 10:
                    self.disconnect(peer)
            case commands.Completed():
                assert self.is_done, "completed without all chunks"
                self.tally.done_at = self._clockwork.now

    def _later(self, delay: float, action: Any, *args: Any) -> None:
        self._clockwork.after(delay, self._if_same_start, self._starts, action, args)

    def _if_same_start(self, start: int, action: Any, args: tuple[Any, ...]) -> None:
        if start == self._starts:
            action(*args)
            self.drain()

    # the disk

    def _read(self, read_id: int, index: int) -> None:
        if self._habits.hangs and self._rng.random() < self._habits.hangs:
            return
        is_lie = self._habits.lies and self._rng.random() < self._habits.lies
        buffer = self._content.false_chunk(index) if is_lie else self._content.chunk(index)
        self._lent.add(read_id)
        self.replicator.chunk_read(read_id, buffer, self._clockwork.now)

    def _store(self, index: int, parts: list[memoryview]) -> None:
        now = self._clockwork.now
        content_id = self._content.content_id
        if not self._content.is_true(index, parts):
            self.tally.rejected += 1
            self.replicator.chunk_rejected(content_id, index, now)
        elif self._habits.fails and self._rng.random() < self._habits.fails:
            self.replicator.chunk_failed(content_id, index, now)
        else:
            self.tally.stored[index] = self.tally.stored.get(index, 0) + 1
            self.have.add(index)
            self.replicator.chunk_stored(content_id, index, now)

    def _read_page(self, read_id: int, kind: MetaKind, index: int) -> None:
        is_held = len(self.have) == self._content.shape.n_chunks or index in self.pages[kind]
        self.replicator.meta_read(read_id, self._content.page(kind, index) if is_held else None, self._clockwork.now)

    def _store_page(self, kind: MetaKind, index: int, data: bytes) -> None:
        now = self._clockwork.now
        content_id = self._content.content_id
        if data != self._content.page(kind, index):
            self.replicator.meta_rejected(content_id, kind, index, now)
            return
        self.pages[kind].add(index)
        if kind is MetaKind.ROOT:
            self.replicator.shape_known(content_id, self._content.shape, now)
        self.replicator.meta_accepted(content_id, kind, index, now)
        if kind is not MetaKind.ROOT:
            self.replicator.verifiable(content_id, self._verifiable(), now)
