"""Replicators joined by function calls: all lines are wide, all disks fast, and time is a number that `run` moves.

On wide lines a window doubles in no time, and after the first chunks the rest may come at once. A test of what happens
in the middle of a transfer gives its lines a rate: then the middle is where it says, whatever the pacing.

Each member is driven as the daemon does it: inputs in, commands out until there are none, a timer at the deadline. It
keeps what it stored, byte for byte, and a record of what it was told. What can be wrong with it is in `Faults`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count

from swarmd.core.errors import RemoteError
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.ranges import RangeSet
from swarmd.core.rng import SeededRng
from swarmd.replication import commands, messages
from swarmd.replication.pickers import Order
from swarmd.replication.progress import Progress
from swarmd.replication.replicator import Replicator
from swarmd.replication.shape import HASH_PAGE_CHUNKS, MetaKind, uniform

GROUP = GroupId(bytes(31) + b"\1")
OTHER_GROUP = GroupId(bytes(31) + b"\2")
LATENCY = 0.001
LINE_RATE = (64 << 10) / 0.001
"""Bytes a second: a chunk of 64 KiB each millisecond."""
MAX_ROUNDS = 2000
"""Rounds without any time passing: more, and a deadline does not move."""

Page = tuple[MetaKind, int]
Payload = bytes | Sequence[commands.Buffer]
Flight = tuple[float, int, GroupId, PeerId, PeerId, Payload]
"""When it arrives, its number, group, sender, receiver, what."""


class Content:
    """An object of one file; its last chunk is short."""

    def __init__(self, number: int, n_chunks: int = 16, chunk_size: int = 1000, entry_pages: int = 1) -> None:
        size = max(0, n_chunks * chunk_size - chunk_size // 3)
        self.content_id = ContentId(number.to_bytes(32, "big"))
        self.data = SeededRng(number).bytes(size)
        self.shape = uniform(size, chunk_size, entry_pages)

    def chunk(self, index: int) -> bytes:
        start = index * self.shape.chunk_size
        return self.data[start : start + self.shape.chunk_size]

    def page(self, page: Page) -> bytes:
        return self.content_id + bytes([page[0], page[1] >> 8, page[1] & 255])

    @property
    def everything(self) -> RangeSet:
        return RangeSet.single(0, self.shape.n_chunks)

    def verifiable(self, pages: set[Page]) -> RangeSet:
        """The chunks whose hashes are in these pages, once all names are."""
        if any((MetaKind.ENTRIES, index) not in pages for index in range(self.shape.entry_pages)):
            return RangeSet()
        return RangeSet(
            (index * HASH_PAGE_CHUNKS, min((index + 1) * HASH_PAGE_CHUNKS, self.shape.n_chunks))
            for kind, index in pages
            if kind is MetaKind.HASHES
        )


@dataclass
class Faults:
    """What is wrong with a member. Sets of chunk indices, of whatever object."""

    lies: set[int] = field(default_factory=set)
    false_pages: set[MetaKind] = field(default_factory=set)
    unreadable: set[int] = field(default_factory=set)
    is_mute: bool = False
    """Nothing that it sends on the bulk flow arrives, or leaves, for now."""
    is_disk_full: bool = False
    is_disk_slow: bool = False
    """What is given to its store to write is not answered, for now."""


class Member:
    def __init__(self, mesh: Mesh, number: int) -> None:
        self.peer = PeerId(number.to_bytes(32, "big"))
        self.replicator = Replicator(SeededRng(number), mesh.now)
        self.faults = Faults()
        self.contents: dict[ContentId, Content] = {}
        self.disk: dict[ContentId, dict[int, bytes]] = defaultdict(dict)
        self.pages: dict[ContentId, set[Page]] = defaultdict(set)
        self.writes: Counter[tuple[ContentId, int]] = Counter()
        self.got_from: dict[tuple[ContentId, int], list[PeerId]] = defaultdict(list)
        self.completed: list[ContentId] = []
        self.penalties: list[commands.PenalisePeer] = []
        self.lent: Counter[int] = Counter()
        self.released: Counter[int] = Counter()
        self.said: list[tuple[PeerId, messages.Message]] = []
        self.sent_bytes: Counter[GroupId] = Counter()
        self.unwritten: list[commands.StoreChunk] = []
        self.told: Callable[[commands.ForProgram], None] = self.told_nobody
        self._mesh = mesh
        self._held: list[commands.SendBulk] = []
        self._recalled: list[Flight] = []

    # what its user does

    def seed(self, *contents: Content, group: GroupId = GROUP) -> None:
        for content in contents:
            self.contents[content.content_id] = content
            self.disk[content.content_id] = {i: content.chunk(i) for i in range(content.shape.n_chunks)}
            self.pages[content.content_id] = set(all_pages(content))
            self.serve(content, content.everything, group)

    def serve(self, content: Content, have: RangeSet, group: GroupId = GROUP) -> None:
        self.replicator.serve(group, content.content_id, content.shape, have, self._mesh.now)

    def fetch(self, *contents: Content, order: Order = Order.RAREST, group: GroupId = GROUP) -> None:
        """With whatever is on its disk already."""
        for content in contents:
            self.contents[content.content_id] = content
            pages = self.pages[content.content_id]
            self.replicator.fetch(
                group,
                content.content_id,
                order,
                content.shape if (MetaKind.ROOT, 0) in pages else None,
                RangeSet((index, index + 1) for index in self.disk[content.content_id]),
                content.verifiable(pages),
                self._mesh.now,
                entry_pages=RangeSet((i, i + 1) for kind, i in pages if kind is MetaKind.ENTRIES),
                hash_pages=RangeSet((i, i + 1) for kind, i in pages if kind is MetaKind.HASHES),
            )

    def fall_silent(self) -> None:
        """Mute from now on; and what it has sent does not arrive either, for now."""
        self.faults.is_mute = True
        self._recalled = self._mesh.recall(self)

    def speak(self) -> None:
        """What it sent while it was mute goes on its way."""
        self.faults.is_mute = False
        self._mesh.send_again(self._recalled)
        self._recalled = []
        held, self._held = self._held, []
        for command in held:
            self._mesh.transmit(self, command.group, command.peer, command.parts)

    def write(self) -> None:
        """The disk catches up."""
        self.faults.is_disk_slow = False
        unwritten, self.unwritten = self.unwritten, []
        for command in unwritten:
            self._store(command)

    # what it has to show for it

    def has(self, content: Content) -> bool:
        """Whether every byte is there."""
        disk = self.disk[content.content_id]
        return len(disk) == content.shape.n_chunks and all(disk[i] == content.chunk(i) for i in disk)

    def n_chunks(self, content: Content) -> int:
        return len(self.disk[content.content_id])

    def progress(self, content: Content) -> Progress:
        self.replicator.handle_timer(self._mesh.now)
        progress = self.replicator.progress(content.content_id)
        assert progress is not None
        return progress

    def sources_of(self, content: Content) -> set[PeerId]:
        return {
            peer
            for (content_id, _), peers in self.got_from.items()
            if content_id == content.content_id
            for peer in peers
        }

    def heard_of(self, type_: type[messages.Message]) -> list[tuple[PeerId, messages.Message]]:
        """What it said of that type, and to whom."""
        return [(peer, message) for peer, message in self.said if isinstance(message, type_)]

    # driving

    def carry_out(self, command: commands.Command) -> None:
        match command:
            case commands.SendControl(group, peer, data):
                self.said += [(peer, message) for message in messages.decode_packet(data)]
                self._mesh.transmit(self, group, peer, data)
            case commands.SendBulk():
                self._send_bulk(command)
            case commands.ReadChunk():
                self._read(command)
            case commands.ReleaseBuffer(read_id):
                self.released[read_id] += 1
            case commands.StoreChunk():
                self._store(command)
            case commands.ReadMeta(read_id, content_id, kind, index):
                self.replicator.meta_read(read_id, self._page(content_id, (kind, index)), self._mesh.now)
            case commands.StoreMeta():
                self._store_page(command)
            case commands.PenalisePeer():
                self.penalties.append(command)
            case commands.Completed(content_id):
                self.completed.append(content_id)
            case commands.ForProgram():
                self.told(command)

    def told_nobody(self, command: commands.ForProgram) -> None:
        raise AssertionError(f"no program is there for {command}")

    def _send_bulk(self, command: commands.SendBulk) -> None:
        self.sent_bytes[command.group] += sum(map(len, command.parts))
        if self.faults.is_mute:
            self._held.append(command)
        else:
            self._mesh.transmit(self, command.group, command.peer, command.parts)

    def _read(self, command: commands.ReadChunk) -> None:
        chunk = self.disk[command.content_id].get(command.index)
        if chunk is None or command.index in self.faults.unreadable:
            self.replicator.chunk_read(command.read_id, None, self._mesh.now)
            return
        assert len(chunk) == command.length
        if command.index in self.faults.lies:
            chunk = bytes(byte ^ 0xFF for byte in chunk)
        self.lent[command.read_id] += 1
        self.replicator.chunk_read(command.read_id, bytearray(chunk), self._mesh.now)

    def _store(self, command: commands.StoreChunk) -> None:
        if self.faults.is_disk_slow:
            self.unwritten.append(command)
            return
        content_id, index, now = command.content_id, command.index, self._mesh.now
        chunk = b"".join(command.parts)
        self.got_from[content_id, index].append(command.peer)
        if chunk != self.contents[content_id].chunk(index):
            self.replicator.chunk_rejected(content_id, index, now)
        elif self.faults.is_disk_full:
            self.replicator.chunk_failed(content_id, index, now)
        else:
            self.writes[content_id, index] += 1
            self.disk[content_id][index] = chunk
            self.replicator.chunk_stored(content_id, index, now)

    def _page(self, content_id: ContentId, page: Page) -> bytes | None:
        if page not in self.pages[content_id]:
            return None
        return b"false" if page[0] in self.faults.false_pages else self.contents[content_id].page(page)

    def _store_page(self, command: commands.StoreMeta) -> None:
        content, now = self.contents[command.content_id], self._mesh.now
        page = (command.kind, command.index)
        if command.data != content.page(page):
            self.replicator.meta_rejected(command.content_id, *page, now)
            return
        self.pages[command.content_id].add(page)
        if command.kind is MetaKind.ROOT:
            self.replicator.shape_known(command.content_id, content.shape, now)
        self.replicator.meta_accepted(command.content_id, *page, now)
        self.replicator.verifiable(command.content_id, content.verifiable(self.pages[command.content_id]), now)


class Mesh:
    """Members and the links between them. A RemoteError cuts the link and is kept in `faults`."""

    def __init__(self, members: int = 2, line_rate: float | None = None) -> None:
        """`line_rate`: bytes a second of bulk that each member sends, to all others together; None: any."""
        self.now = 100.0
        self.faults: list[tuple[PeerId, RemoteError]] = []
        self.members = [Member(self, number) for number in range(1, members + 1)]
        self._links: set[tuple[GroupId, PeerId, PeerId]] = set()
        self._line_rate = line_rate
        self._free_at: dict[PeerId, float] = {}
        self._sent = count()
        self._wire: list[Flight] = []

    # links

    def join(self, *members: Member, group: GroupId = GROUP) -> None:
        """Each of them with each; all members when none is named."""
        members = members or tuple(self.members)
        for i, one in enumerate(members):
            for other in members[:i]:
                self._links |= {(group, one.peer, other.peer), (group, other.peer, one.peer)}
                one.replicator.peer_joined(group, other.peer, self.now)
                other.replicator.peer_joined(group, one.peer, self.now)

    def part(self, one: Member, other: Member, group: GroupId = GROUP) -> None:
        """The session between them is gone, with what was on its way."""
        pair = {one.peer, other.peer}
        self._links -= {(group, one.peer, other.peer), (group, other.peer, one.peer)}
        self._wire = [item for item in self._wire if item[2] != group or {item[3], item[4]} != pair]
        heapify(self._wire)
        one.replicator.peer_left(group, other.peer, self.now)
        other.replicator.peer_left(group, one.peer, self.now)

    def isolate(self, member: Member, group: GroupId = GROUP) -> None:
        for other in self.members:
            if (group, member.peer, other.peer) in self._links:
                self.part(member, other, group)

    def forge(self, sender: Member, receiver: Member, payload: Payload, group: GroupId = GROUP) -> None:
        """Something that the sender's replicator never said."""
        self._put(self.now, group, sender.peer, receiver.peer, payload)

    def transmit(self, sender: Member, group: GroupId, peer: PeerId, payload: Payload) -> None:
        """Bytes are control; a sequence is bulk, and has left our end at once."""
        if (group, sender.peer, peer) not in self._links:
            return
        sent_at = self.now
        if not isinstance(payload, bytes):
            size = sum(map(len, payload))
            if self._line_rate is not None:
                sent_at = max(self._free_at.get(sender.peer, sent_at), sent_at) + size / self._line_rate
                self._free_at[sender.peer] = sent_at
            sender.replicator.bulk_drained(group, peer, size, self.now)
        self._put(sent_at, group, sender.peer, peer, payload)

    def _put(self, sent_at: float, group: GroupId, sender: PeerId, receiver: PeerId, payload: Payload) -> None:
        heappush(self._wire, (sent_at + LATENCY, next(self._sent), group, sender, receiver, payload))

    def recall(self, sender: Member) -> list[Flight]:
        """The bulk messages of that member which have not arrived: they do not, until they are sent again."""
        recalled = [item for item in self._wire if item[3] == sender.peer and not isinstance(item[5], bytes)]
        self._wire = [item for item in self._wire if item[3] != sender.peer or isinstance(item[5], bytes)]
        heapify(self._wire)
        return sorted(recalled)

    def send_again(self, flights: Iterable[Flight]) -> None:
        for _, _, group, sender, receiver, payload in flights:
            if (group, sender, receiver) in self._links:
                self._put(self.now, group, sender, receiver, payload)

    # time

    def run(self, seconds: float) -> None:
        self.run_until(lambda: False, seconds)

    def run_until(self, is_over: Callable[[], bool], limit: float = 60.0) -> bool:
        """Until `is_over` or `limit` seconds later; False when it was the latter."""
        end = self.now + limit
        rounds = 0
        while True:
            self._settle()
            if is_over():
                return True
            event_at = max(min([end, *self._events()]), self.now)
            rounds = rounds + 1 if event_at == self.now else 0
            assert rounds < MAX_ROUNDS, "a deadline does not move"
            if event_at >= end:
                self.now = end
                return is_over()
            self.now = event_at
            self._deliver()
            for member in self.members:
                deadline = member.replicator.next_deadline()
                if deadline is not None and deadline <= self.now:
                    member.replicator.handle_timer(self.now)

    def _events(self) -> Iterable[float]:
        if self._wire:
            yield self._wire[0][0]
        for member in self.members:
            if (deadline := member.replicator.next_deadline()) is not None:
                yield deadline

    def _settle(self) -> None:
        """Everything that anybody has to do at this moment."""
        is_busy = True
        while is_busy:
            is_busy = False
            for member in self.members:
                while (command := member.replicator.next_command()) is not None:
                    is_busy = True
                    member.carry_out(command)

    def _deliver(self) -> None:
        by_peer = {member.peer: member for member in self.members}
        while self._wire and self._wire[0][0] <= self.now:
            _, _, group, sender, receiver, payload = heappop(self._wire)
            member = by_peer[receiver]
            try:
                if isinstance(payload, bytes):
                    member.replicator.receive_control(group, sender, payload, self.now)
                else:
                    member.replicator.receive_bulk(group, sender, [memoryview(part) for part in payload], self.now)
            except RemoteError as error:
                self.faults.append((sender, error))
                self.part(member, by_peer[sender], group)


def all_pages(content: Content) -> Iterable[Page]:
    return [(kind, index) for kind in MetaKind for index in range(content.shape.pages(kind))]


def assert_fetched_once(member: Member, *contents: Content) -> None:
    """Every byte is there, each chunk was written once, and Completed came once for each."""
    for content in contents:
        assert member.has(content)
    assert max(member.writes.values(), default=1) == 1
    assert Counter(member.completed) == Counter(content.content_id for content in contents)


def assert_clean(mesh: Mesh) -> None:
    """Nobody did wrong, and every buffer that was lent came back, once."""
    assert mesh.faults == []
    for member in mesh.members:
        assert member.penalties == []
        assert member.released == member.lent
