"""One replicator and one peer of it that can say anything: the peer's side is written by the test.

The victim serves HELD and fetches WANTED; its store answers at once. Handles: the attacker opens HELD as 1 and WANTED
as 2; `victim_handle` is how the victim calls WANTED.
"""

from __future__ import annotations

from collections import Counter

from swarmd.core.ids import PeerId
from swarmd.core.ranges import RangeSet
from swarmd.core.rng import SeededRng
from swarmd.replication import blocks, commands, messages
from swarmd.replication.blocks import BulkType
from swarmd.replication.messages import Message, Wish
from swarmd.replication.pickers import Order
from swarmd.replication.replicator import Replicator
from swarmd.replication.shape import MetaKind
from tests.replication.mesh import GROUP, Content

PEER = PeerId(b"\7" * 32)
HELD = Content(1, n_chunks=10, chunk_size=1000)
WANTED = Content(2, n_chunks=12, chunk_size=1000)
HELD_HANDLE, WANTED_HANDLE = 1, 2


class Victim:
    """`knows_shape`: whether it has the metadata of WANTED already."""

    def __init__(self, *, knows_shape: bool = True, answers: bool = True) -> None:
        self.now = 50.0
        self.replicator = Replicator(SeededRng(1), self.now)
        self.answers = answers
        self.heard: list[Message] = []
        self.got: list[commands.StoreChunk] = []
        self.penalties: list[commands.PenalisePeer] = []
        self.lent: Counter[int] = Counter()
        self.released: Counter[int] = Counter()
        self.reads: list[commands.ReadChunk] = []
        self.page_reads: list[commands.ReadMeta] = []
        self.owed: list[commands.ReadChunk] = []
        self.owed_pages: list[commands.ReadMeta] = []
        self.undrained = 0
        self.bulk_bytes = 0
        self.is_joined = True
        self.replicator.serve(GROUP, HELD.content_id, HELD.shape, HELD.everything, self.now)
        self._knows_shape = knows_shape
        self.fetch()
        self.replicator.peer_joined(GROUP, PEER, self.now)
        self.drain()

    def fetch(self) -> None:
        is_known = self._knows_shape
        pages = RangeSet.single(0, 1) if is_known else RangeSet()
        self.replicator.fetch(
            GROUP,
            WANTED.content_id,
            Order.RAREST,
            WANTED.shape if is_known else None,
            RangeSet(),
            WANTED.everything if is_known else RangeSet(),
            self.now,
            entry_pages=pages,
            hash_pages=pages,
        )

    def catch_up(self) -> None:
        """The store answers what it owes, and what was handed over leaves; again and again until nothing is owed."""
        while self.owed or self.owed_pages or self.undrained:
            owed, self.owed = self.owed, []
            for command in owed:
                self.answer(command)
            owed_pages, self.owed_pages = self.owed_pages, []
            for page in owed_pages:
                self.replicator.meta_read(page.read_id, HELD.page((page.kind, page.index)), self.now)
            count, self.undrained = self.undrained, 0
            self.replicator.bulk_drained(GROUP, PEER, count, self.now)
            self.drain()

    def introduce(self) -> None:
        """Hello, and both objects opened."""
        self.say(messages.Hello(messages.VERSION, messages.VERSION))
        self.say(messages.Open(HELD_HANDLE, HELD.content_id, Wish.CHUNKS))
        self.say(messages.Open(WANTED_HANDLE, WANTED.content_id, Wish.NOTHING))

    @property
    def victim_handle(self) -> int:
        return next(m.handle for m in self.heard if isinstance(m, messages.Open) and m.content_id == WANTED.content_id)

    def say(self, *said: Message) -> None:
        self.say_bytes(b"".join(map(messages.encode, said)))

    def say_bytes(self, data: bytes) -> None:
        self.replicator.receive_control(GROUP, PEER, data, self.now)
        self.drain()

    def send_bulk(self, type_: int, handle: int, first: int, second: int, payload: bytes) -> None:
        self.send_bulk_bytes(blocks.HEADER.pack(type_, handle, first, second, 0) + payload)

    def send_block(self, chunk: int, offset: int, payload: bytes) -> None:
        self.send_bulk(BulkType.BLOCK, self.victim_handle, chunk, offset, payload)

    def send_bulk_bytes(self, data: bytes) -> None:
        self.replicator.receive_bulk(GROUP, PEER, [memoryview(data)], self.now)
        self.drain()

    def requested(self) -> list[int]:
        """Which chunks the victim has asked of us."""
        return [message.chunk for message in self.heard if isinstance(message, messages.Request)]

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.replicator.next_deadline()) is not None and deadline <= end:
            self.now = max(deadline, self.now)
            self.replicator.handle_timer(self.now)
            self.drain()
        self.now = end

    def leave(self) -> None:
        self.is_joined = False
        self.replicator.peer_left(GROUP, PEER, self.now)
        self.drain()

    def drain(self) -> None:
        while (command := self.replicator.next_command()) is not None:
            self._carry_out(command)

    def _carry_out(self, command: commands.Command) -> None:
        match command:
            case commands.SendControl(_, _, data):
                self.heard += messages.decode_packet(data)
            case commands.SendBulk(_, _, parts):
                size = sum(map(len, parts))
                self.bulk_bytes += size
                if self.answers and self.is_joined:
                    self.replicator.bulk_drained(GROUP, PEER, size, self.now)
                else:
                    self.undrained += size
            case commands.ReadChunk():
                self.reads.append(command)
                if self.answers:
                    self.answer(command)
                else:
                    self.owed.append(command)
            case commands.ReleaseBuffer(read_id):
                self.released[read_id] += 1
            case commands.ReadMeta(read_id, _, kind, index):
                self.page_reads.append(command)
                if self.answers:
                    self.replicator.meta_read(read_id, HELD.page((kind, index)), self.now)
                else:
                    self.owed_pages.append(command)
            case commands.StoreChunk(content_id, index, parts):
                self.got.append(command)
                if b"".join(parts) == WANTED.chunk(index):
                    self.replicator.chunk_stored(content_id, index, self.now)
                else:
                    self.replicator.chunk_rejected(content_id, index, self.now)
            case commands.StoreMeta(content_id, kind, index, data):
                self._store_page(command)
            case commands.PenalisePeer():
                self.penalties.append(command)
            case commands.Completed():
                pass

    def answer(self, command: commands.ReadChunk) -> None:
        self.lent[command.read_id] += 1
        content = HELD if command.content_id == HELD.content_id else WANTED
        self.replicator.chunk_read(command.read_id, content.chunk(command.index), self.now)

    def _store_page(self, command: commands.StoreMeta) -> None:
        page = (command.kind, command.index)
        if command.data != WANTED.page(page):
            self.replicator.meta_rejected(command.content_id, *page, self.now)
            return
        if command.kind is MetaKind.ROOT:
            self.replicator.shape_known(command.content_id, WANTED.shape, self.now)
        self.replicator.meta_accepted(command.content_id, *page, self.now)
        if command.kind is MetaKind.HASHES:
            self.replicator.verifiable(command.content_id, WANTED.everything, self.now)
