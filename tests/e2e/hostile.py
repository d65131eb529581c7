"""A hostile member: it joins the group like anybody, over the project's own transport, and then lies.

A `Liar` is put together from the daemon's own parts (sessions, join proof, group, replicator), so that it gets as far
as a real attacker would. What it gives is up to a `Lie`: any root, any page, any bytes for a chunk, or nothing at all.
`say` sends whatever bytes one likes on any flow.

In the test process, on its event loop; what the daemon under test does is waited for on threads (`beside`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from blake3 import blake3

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.errors import Incomplete
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.ranges import RangeSet
from swarmd.core.rng import SystemRng
from swarmd.daemon.connection import Connection
from swarmd.daemon.exchange import Exchange
from swarmd.daemon.flows import FlowKind
from swarmd.daemon.peers import Peers
from swarmd.daemon.workers import Workers
from swarmd.groups.contacts import Contact
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.tickets import NamedObject, ObjectTicket
from swarmd.identity.identity import Identity
from swarmd.net.tcpcarrier import TcpCarrier
from swarmd.net.udpcarrier import UdpCarrier
from swarmd.replication.replicator import Replicator
from swarmd.replication.shape import Shape
from swarmd.store.manifest import Built, PageKind, Root
from tests.e2e.nodes import EXTRA_ARGUMENTS

T = TypeVar("T")
STALL_TIMEOUT = 60.0


@dataclass
class Lie:
    """An object as the liar has it. Thread-safe: nothing in it changes but the counts."""

    root_data: bytes
    pages: dict[tuple[PageKind, int], bytes]
    shape: Shape
    chunk: Callable[[int], bytes | None] = lambda _: None
    """The bytes it gives for a chunk; None: it says that it cannot after all."""
    content_id: ContentId = field(init=False)
    named: ContentId | None = None
    """What it pretends that this is; by default what it is."""
    stalled: set[int] = field(default_factory=set)
    """Chunks that it never gives, and never denies."""
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.content_id = self.named or ContentId(blake3(self.root_data).digest())

    @classmethod
    def of(cls, built: Built, chunk: Callable[[int], bytes | None]) -> Lie:
        """With a true manifest of a single file."""
        pages = {(PageKind.ENTRIES, number): page for number, page in enumerate(built.entry_pages)}
        pages |= {(PageKind.HASHES, number): page for number, page in enumerate(built.hash_pages)}
        return cls(built.data, pages, shape_of(built.root), chunk)

    # What the exchange asks of a source (store.source.Source)

    @property
    def root(self) -> Root | None:
        return None

    @property
    def have(self) -> RangeSet:
        return RangeSet.single(0, self.shape.n_chunks)

    def page(self, kind: PageKind, index: int) -> bytes | None:
        return self.pages.get((kind, index))

    def read_chunk(self, index: int, buffer: bytearray | memoryview) -> int:
        if index in self.stalled:
            self.released.wait(STALL_TIMEOUT)
        data = self.chunk(index)
        if data is None or index in self.stalled:
            raise Incomplete("it was a lie")
        buffer[: len(data)] = data
        return len(data)

    def ticket(self, liar: Liar, name: str = "gift") -> str:
        """One that leads to the liar."""
        contact = Contact(liar.peer_id, (liar.address,))
        return ObjectTicket(liar.spec, NamedObject(self.content_id, name, 1000), (contact,)).text()


def shape_of(root: Root) -> Shape:
    """Of a single file."""

    def length(chunk: int) -> int:
        return min(root.chunk_size, root.total_size - chunk * root.chunk_size)

    return Shape(root.n_chunks, root.chunk_size, root.total_size, root.n_pages(PageKind.ENTRIES), length)


class Liar:
    """One hostile node; implements `peers.PeerSink`. Use `lying`."""

    def __init__(self, spec: GroupSpec) -> None:
        rng, clock, loop = SystemRng(), SystemClock(), asyncio.get_running_loop()
        identity = Identity.generate(rng)
        self.spec = spec
        self.peer_id = identity.peer_id
        self.linked = asyncio.Event()
        """A member has a session with it."""
        self.lost = asyncio.Event()
        """And has ended it."""
        self._clock = clock
        self._lies: list[Lie] = []
        self._peers = Peers(identity.peer_id, rng, clock, self)
        carrier = UdpCarrier if "--no-tcp" in EXTRA_ARGUMENTS else TcpCarrier  # what the daemons of this run speak
        self._peers.add_carrier(carrier(identity, rng, clock, self._peers))
        self._disk = Workers(loop, "liar", 4)
        self._exchange = Exchange(Replicator(rng, clock.monotonic()), self._peers, self._disk, clock)
        self._group = Group(spec, identity, rng, clock.monotonic())
        self._peers.listen([self._peers.open_listener(Address("127.0.0.1", 0))])
        self.address = self._peers.listening[0]
        self._group.set_addresses(self.address.port, [self.address], clock.monotonic())
        self._peers.add_group(spec.group_id, spec.join_key)

    def tell(self, lie: Lie) -> Lie:
        """Offer it from now on."""
        self._lies.append(lie)
        self._exchange.hold(lie)
        now = self._clock.monotonic()
        self._exchange.replicator.serve(self.spec.group_id, lie.content_id, lie.shape, lie.have, now)
        self._exchange.schedule()
        return lie

    def keep_nothing(self) -> None:
        """From now on let the records of others wait, instead of spending seconds on them."""
        self._group.verify_in_slices()

    async def dial(self, address: str) -> None:
        await self._peers.dial(Address.parse(address), None)

    def say(self, kind: FlowKind, data: bytes) -> None:
        """Send this to everybody."""
        for connection in self._peers.connections():
            self._peers.send(self.spec.group_id, connection.peer, kind, (data,))

    @property
    def victim(self) -> Connection:
        """The session with the only one who is there."""
        (connection,) = self._peers.connections()
        return connection

    async def close(self) -> None:
        for lie in self._lies:
            lie.released.set()
        self._exchange.close()
        await self._peers.stop()
        await asyncio.to_thread(self._disk.close)

    # From the sessions

    def member_linked(self, group: GroupId, peer: PeerId, connection: Connection) -> None:
        self._group.open_link(peer, connection.dialled or connection.link.remote, self._clock.monotonic())
        self._exchange.replicator.peer_joined(group, peer, self._clock.monotonic())
        self._drain()
        self.linked.set()

    def member_unlinked(self, group: GroupId, peer: PeerId, has_left: bool) -> None:
        self._group.close_link(peer, self._clock.monotonic())
        self._exchange.replicator.peer_left(group, peer, self._clock.monotonic())
        self._drain()
        self.lost.set()

    def group_message(self, group: GroupId, peer: PeerId, data: bytes) -> None:
        self._group.receive_message(peer, data, self._clock.monotonic(), self._clock.wall())
        self._drain()

    def object_message(self, group: GroupId, peer: PeerId, data: bytes) -> None:
        self._exchange.object_message(group, peer, data)

    def bulk_message(self, group: GroupId, peer: PeerId, parts: Sequence[memoryview]) -> None:
        self._exchange.bulk_message(group, peer, parts)

    def bulk_sent(self, group: GroupId, peer: PeerId, size: int) -> None:
        self._exchange.bulk_sent(group, peer, size)

    def peer_changed(self, connection: Connection, connected: bool) -> None:
        pass

    def _drain(self) -> None:
        for peer, data in self._group.messages_to_send():
            self._peers.send(self.spec.group_id, peer, FlowKind.GROUP, (data,))
        self._exchange.schedule()


@asynccontextmanager
async def lying(spec: GroupSpec | None = None) -> AsyncIterator[Liar]:
    """A liar in that group, or in an unlisted one of its own."""
    liar = Liar(spec or GroupSpec.create("", SystemRng(), capabilities=Capability.REPLICATION, unique=False).spec)
    try:
        yield liar
    finally:
        await liar.close()


async def beside(call: Callable[..., T], *arguments: object) -> T:
    """The call on a thread, while the liar goes on."""
    return await asyncio.to_thread(call, *arguments)
