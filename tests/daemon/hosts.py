"""Real `Peers` over loopback in one process, with a sink that writes down what it is told; and a hostile peer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from swarmd.core.addresses import Address
from swarmd.core.clock import ManualClock
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import SystemRng
from swarmd.daemon.connection import Connection
from swarmd.daemon.flows import FlowKind
from swarmd.daemon.peers import Peers
from swarmd.groups.groupspec import GroupSpec
from swarmd.identity.identity import Identity
from swarmd.net.link import Link
from swarmd.net.tcp import TcpLink
from swarmd.net.tcpcarrier import TcpCarrier, connect
from swarmd.transport.api import Closed, Event, Opened, Priority
from swarmd.transport.tcp.session import TcpSession

PATIENCE = 20.0  # for something that should have come at once


def make_group(name: str = "") -> GroupSpec:
    return GroupSpec.create(name, SystemRng(), unique=True).spec


class Recorder:
    """A `PeerSink`: who is linked now, and everything that came."""

    def __init__(self) -> None:
        self.linked: set[tuple[GroupId, PeerId]] = set()
        self.left: list[tuple[GroupId, PeerId]] = []
        self.group_messages: list[bytes] = []
        self.object_messages: list[bytes] = []
        self.bulk_messages: list[bytes] = []
        self.bulk_sizes: list[int] = []
        self.changes: list[bool] = []
        self.problems: list[str] = []
        self._changed = asyncio.Event()

    def member_linked(self, group: GroupId, peer: PeerId, connection: Connection) -> None:
        self._note((group, peer) not in self.linked, "linked twice")
        self.linked.add((group, peer))

    def member_unlinked(self, group: GroupId, peer: PeerId, has_left: bool) -> None:
        self._note((group, peer) in self.linked, "unlinked without being linked")
        self.linked.discard((group, peer))
        if has_left:
            self.left.append((group, peer))

    def group_message(self, group: GroupId, peer: PeerId, data: bytes) -> None:
        self._note((group, peer) in self.linked, "a message without a link")
        self.group_messages.append(data)

    def object_message(self, group: GroupId, peer: PeerId, data: bytes) -> None:
        self._note((group, peer) in self.linked, "a message without a link")
        self.object_messages.append(data)

    def bulk_message(self, group: GroupId, peer: PeerId, parts: Sequence[memoryview]) -> None:
        self._note((group, peer) in self.linked, "a message without a link")
        self.bulk_messages.append(b"".join(parts))

    def bulk_sent(self, group: GroupId, peer: PeerId, size: int) -> None:
        self.bulk_sizes.append(size)
        self._changed.set()

    def peer_changed(self, connection: Connection, connected: bool) -> None:
        self.changes.append(connected)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it; it is looked at whenever something has come."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()
        assert not self.problems

    def _note(self, is_right: bool, problem: str) -> None:
        if not is_right:
            self.problems.append(problem)
        self._changed.set()


class Host:
    """A node as far as its connections go; listens on loopback. Groups by `join`."""

    def __init__(self, clock: ManualClock, identity: Identity | None = None, max_sessions: int | None = None) -> None:
        self.identity = identity or Identity.generate()
        self.clock = clock
        self.sink = Recorder()
        self.peers = Peers(self.identity.peer_id, SystemRng(), clock, self.sink, max_sessions)
        self.peers.add_carrier(TcpCarrier(self.identity, SystemRng(), clock, self.peers))
        self.peers.listen([self.peers.open_listener(Address("127.0.0.1", 0))])

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    @property
    def address(self) -> Address:
        return self.peers.listening[0]

    def join(self, *groups: GroupSpec) -> None:
        for group in groups:
            self.peers.add_group(group.group_id, group.join_key)

    async def dial(self, other: Host) -> PeerId:
        async with asyncio.timeout(PATIENCE):
            return await self.peers.dial(other.address, other.peer_id)

    async def linked(self, other: Host, *groups: GroupSpec) -> None:
        """Until exactly these groups are joined with `other`."""
        wanted = {group.group_id for group in groups}
        await self.sink.until(lambda: {group for group, peer in self.sink.linked if peer == other.peer_id} == wanted)

    async def alone(self) -> None:
        """Until nobody is connected."""
        await self.sink.until(lambda: not self.peers.connections())

    def send(self, group: GroupSpec, other: Host, kind: FlowKind, data: bytes) -> None:
        self.peers.send(group.group_id, other.peer_id, kind, (data[:3], data[3:]))

    def tick(self) -> None:
        self.peers.handle_timer(self.clock.monotonic())


class Stranger:
    """A peer that does what no `Peers` would: a bare session over a real socket."""

    def __init__(self, link: TcpLink, events: asyncio.Queue[Event]) -> None:
        self.link = link
        self.events = events

    @classmethod
    async def connected(cls, host: Host, identity: Identity | None = None, address: Address | None = None) -> Stranger:
        """Keyed with `host`; `address`: one of its others."""
        sock = await connect(address or host.address)
        session = TcpSession(identity or Identity.generate(), SystemRng(), host.clock.monotonic(), is_initiator=True)
        events: asyncio.Queue[Event] = asyncio.Queue()
        link = TcpLink(sock, session, _Collector(events), host.clock, asyncio.get_running_loop())
        link.start()
        stranger = cls(link, events)
        await stranger.wait(Opened)
        return stranger

    def say(self, metadata: bytes, *messages: bytes) -> int:
        """Open a flow and send these, all in one record if they fit."""
        flow = self.link.session.open_flow(metadata, Priority.DATA)
        for message in messages:
            self.link.session.send(flow, [message])
        self.link.pump()
        return flow

    async def wait(self, kind: type[Event]) -> Event:
        async with asyncio.timeout(PATIENCE):
            while not isinstance(event := await self.events.get(), kind):
                pass
            return event

    async def closed(self) -> Closed:
        event = await self.wait(Closed)
        assert isinstance(event, Closed)
        return event


class _Collector:
    def __init__(self, events: asyncio.Queue[Event]) -> None:
        self._events = events

    def link_event(self, link: Link, event: Event) -> None:
        self._events.put_nowait(event)


def raw_connection(address: Address) -> socket.socket:
    """A blocking connection that speaks nothing yet."""
    return socket.create_connection((address.host, address.port), timeout=PATIENCE)
