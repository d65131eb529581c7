"""Connections to other nodes, and which groups are shared with each: between `net`, `transport.sessions` and
`groups.join`.

A connection goes through: keying (the transport's) -> admitted (one session for each pair) -> joined (at least one
group proved by both ends). Who proves none within the time of `groups.join` is turned away. Flows of a group are
opened, and taken, only between proven members of it.

Up go calls of `PeerSink`, for groups and transfers; down come `send`, `close`, `dial`, `add_group`. What is sent is
collected and pumped once a turn of the loop.

Bounds: incoming connections on which no group is proved, in all and for each remote host; sessions in all
(`transport.sessions`). A peer that breaks the protocol is cut off, and refused for a while when it does so again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from weakref import WeakSet

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import InvalidArgument, LocalError, RemoteError, Unreachable
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.daemon.bans import BAN_PERIOD, Bans
from swarmd.daemon.connection import Connection
from swarmd.daemon.flows import FlowKind
from swarmd.groups import join
from swarmd.identity.identity import Identity
from swarmd.net import tcp
from swarmd.net.tcp import Accepted, TcpLink, TcpListener
from swarmd.transport.api import (
    Buffer,
    Closed,
    CloseReason,
    Event,
    FlowClosed,
    FlowOpened,
    MessageReceived,
    MessageSent,
    Opened,
)
from swarmd.transport.sessions import SessionTable, Verdict
from swarmd.transport.tcp.buffers import BufferPool
from swarmd.transport.tcp.session import TcpSession

log = logging.getLogger(__name__)

_MAX_UNPROVED = 128  # incoming connections without a group at a time: four X25519 each, and a place among the sessions
_MAX_UNPROVED_PER_HOST = 32
_NETWORK_BITS = 64  # of IPv6 addresses: whoever has one has all of its network
_FAULT_POINTS = 5  # of a protocol fault that ends the session, at the least; half of a ban


class PeerSink(Protocol):
    """Who is told about members of our groups. All calls come on the loop."""

    def member_linked(self, group: GroupId, peer: PeerId, connection: Connection) -> None: ...
    def member_unlinked(self, group: GroupId, peer: PeerId, has_left: bool) -> None: ...
    def group_message(self, group: GroupId, peer: PeerId, data: bytes) -> None: ...
    def object_message(self, group: GroupId, peer: PeerId, data: bytes) -> None: ...
    def bulk_message(self, group: GroupId, peer: PeerId, parts: Sequence[memoryview]) -> None: ...
    def bulk_sent(self, group: GroupId, peer: PeerId, size: int) -> None: ...
    def peer_changed(self, connection: Connection, connected: bool) -> None: ...


class Peers:
    """All connections of one node."""

    def __init__(
        self,
        identity: Identity,
        rng: Rng,
        clock: Clock,
        sink: PeerSink,
        max_sessions: int | None = None,
        moved: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`moved` is told of every count of bytes that goes through a socket."""
        self._moved = moved
        self._identity, self._rng, self._clock, self._sink = identity, rng, clock, sink
        self._loop = asyncio.get_running_loop()
        self._table = SessionTable(identity.peer_id, **({"max_sessions": max_sessions} if max_sessions else {}))
        self._pool = BufferPool()
        self._listeners: list[TcpListener] = []
        self._connections: dict[int, Connection] = {}  # by id of the link
        self._open: dict[PeerId, Connection] = {}
        self._groups: dict[GroupId, bytes] = {}
        self._dirty: dict[int, TcpLink] = {}
        self._bans = Bans(clock.monotonic())
        self._links: WeakSet[TcpLink] = WeakSet()  # also those that are closed and have a last record to send
        self._received_bytes = self._sent_bytes = 0
        self._stopping = False

    # For the node -----------------------------------------------------------------------------------------------

    def open_listener(self, address: Address) -> TcpListener:
        """Listen there (port 0: any); to be given to `listen`, or closed."""
        return TcpListener(address, self, self._loop)

    def listen(self, listeners: Sequence[TcpListener]) -> None:
        """Accept connections on these until `stop`."""
        self._listeners += listeners

    @property
    def listening(self) -> list[Address]:
        return [listener.address for listener in self._listeners]

    def connections(self) -> list[Connection]:
        """Of admitted peers."""
        return list(self._open.values())

    def connection(self, peer: PeerId) -> Connection | None:
        return self._open.get(peer)

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes received and sent since the start, records and all."""
        live = [connection.link for connection in self._connections.values()]
        return (
            self._received_bytes + sum(link.received_bytes for link in live),
            self._sent_bytes + sum(link.sent_bytes for link in live),
        )

    async def stop(self) -> None:
        """Close everything; peers are told why."""
        self._stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections.values()):
            connection.link.close(CloseReason.SHUTDOWN, "swarmd stops")
        for link in list(self._links):
            link.abort()
        await asyncio.sleep(0)

    def handle_timer(self, now: float) -> None:
        """About once a second: join deadlines, bans that end."""
        for connection in list(self._open.values()):
            connection.join.handle_timer(now)
            self._run_join(connection)
        self._bans.handle_timer(now)

    def shrink(self) -> bool:
        """Let go of memory that no message used since the last call; whether there was any."""
        return self._pool.shrink()

    # For groups and transfers -----------------------------------------------------------------------------------

    def check_group(self, group: GroupId) -> None:
        """InvalidArgument when with this one there would be more than a session can prove."""
        if group not in self._groups and len(self._groups) >= join.MAX_TAGS:
            raise InvalidArgument(
                f"a node can be in at most {join.MAX_TAGS} groups, single shares included: leave some"
            )

    def add_group(self, group: GroupId, join_key: bytes) -> None:
        """From now on prove, and accept proofs of, this membership on every session. InvalidArgument as above."""
        self.check_group(group)
        self._groups[group] = join_key
        for connection in list(self._open.values()):
            connection.join.add_group(group, join_key, self._clock.monotonic())
            self._run_join(connection)

    def remove_group(self, group: GroupId) -> None:
        self._groups.pop(group, None)
        for connection in list(self._open.values()):
            connection.join.remove_group(group, self._clock.monotonic())
            self._run_join(connection)

    def send(self, group: GroupId, peer: PeerId, kind: FlowKind, parts: Sequence[Buffer]) -> None:
        """Queue one message; nothing happens when the peer is gone meanwhile (the sink has been told)."""
        connection = self._open.get(peer)
        if connection is not None and group in connection.groups:
            connection.send(kind, group, parts)
            self._mark(connection.link)

    def fault(self, peer: PeerId, error: RemoteError) -> None:
        """The peer broke a protocol: cut it off, and refuse it for a while when it was no accident."""
        connection = self._open.get(peer)
        if connection is not None:
            self._fault(connection, error)

    def penalise(self, peer: PeerId, points: int, reason: str) -> None:
        """The peer did something that it should not, short of breaking the protocol."""
        if self._bans.add(peer, points, self._clock.monotonic()):
            connection = self._open.get(peer)
            if connection is not None:
                log.warning("peer %s is refused for %.0f s: %s", peer.short, BAN_PERIOD, reason)
                connection.link.close(CloseReason.PROTOCOL, reason)

    async def dial(self, address: Address, wanted: PeerId | None) -> PeerId:
        """Connect; the peer ID that answered, once its session is admitted. Unreachable says why not."""
        try:
            sock = await tcp.connect(address)
        except LocalError as error:
            raise Unreachable(str(error)) from None
        session = TcpSession(
            self._identity, self._rng, self._clock.monotonic(), is_initiator=True, wanted=wanted, pool=self._pool
        )
        try:
            connection = self._adopt(TcpLink(sock, session, self, self._clock, self._loop, self._moved))
        except LocalError as error:
            raise Unreachable(f"{address}: {error}") from None
        connection.dialled = address
        connection.opened = self._loop.create_future()
        connection.link.start()
        try:
            return await connection.opened
        except asyncio.CancelledError:
            if not connection.is_admitted:
                connection.link.abort()
            raise

    # From net ---------------------------------------------------------------------------------------------------

    def connection_accepted(self, accepted: Accepted) -> None:
        if self._stopping or not self._has_room_for(accepted.remote):
            accepted.socket.close()
            return
        session = TcpSession(self._identity, self._rng, self._clock.monotonic(), is_initiator=False, pool=self._pool)
        try:
            self._adopt(TcpLink(accepted.socket, session, self, self._clock, self._loop, self._moved)).link.start()
        except LocalError as error:
            log.debug("connection from %s: %s", accepted.remote, error)

    def _has_room_for(self, remote: Address) -> bool:
        """Strangers must not take the places of members; who they are is no help, for identities are free."""
        incoming = [connection for connection in self._connections.values() if connection.dialled is None]
        unproved = [source_of(connection.link.remote) for connection in incoming if not connection.groups]
        return len(unproved) < _MAX_UNPROVED and unproved.count(source_of(remote)) < _MAX_UNPROVED_PER_HOST

    def link_event(self, link: TcpLink, event: Event) -> None:
        connection = self._connections[id(link)]
        if connection.is_cut and not isinstance(event, Closed):
            return
        try:
            self._handle(connection, event)
        except RemoteError as error:
            self._fault(connection, error)

    def _handle(self, connection: Connection, event: Event) -> None:
        if isinstance(event, MessageReceived):
            self._receive(connection, event)
        elif isinstance(event, MessageSent):
            group = connection.bulk_group(event.flow)
            if group is not None:
                self._sink.bulk_sent(group, connection.peer, event.size)
        elif isinstance(event, FlowOpened):
            connection.flow_opened(event)
        elif isinstance(event, FlowClosed):
            connection.flow_closed(event.flow)
        elif isinstance(event, Opened):
            self._admit(connection)
        else:
            self._closed(connection, event)

    def _receive(self, connection: Connection, message: MessageReceived) -> None:
        purpose = connection.purpose(message.flow)
        if purpose is None:
            return
        kind, group = purpose
        if kind is FlowKind.JOIN:
            connection.join.receive_message(message.joined(), self._clock.monotonic())
            self._run_join(connection)
        elif group is None or group not in connection.groups:
            if group not in connection.former_groups:
                raise RemoteError("a message for a group that was not joined")
        elif kind is FlowKind.BULK:
            self._sink.bulk_message(group, connection.peer, message.parts)
        elif kind is FlowKind.OBJECT:
            self._sink.object_message(group, connection.peer, message.joined())
        else:
            self._sink.group_message(group, connection.peer, message.joined())

    # Admission and joining --------------------------------------------------------------------------------------

    def _adopt(self, link: TcpLink) -> Connection:
        connection = Connection(link, self._clock.monotonic())
        self._connections[id(link)] = connection
        self._links.add(link)
        return connection

    def _admit(self, connection: Connection) -> None:
        session, now = connection.link.session, self._clock.monotonic()
        peer = session.peer_id
        if peer in self._bans:
            connection.refuse(CloseReason.DENIED, "refused for a while")
            return
        verdict, replaced = self._table.admit(
            id(connection.link),
            peer,
            we_started=session.is_initiator,
            handshake_hash=session.handshake_hash,
            now=now,
        )
        if verdict is Verdict.IS_SELF:
            connection.refuse(CloseReason.SELF, "this address leads to ourselves")
        elif verdict is Verdict.KEEP_OLD:
            connection.refuse(CloseReason.DUPLICATE, "another session is kept")
        elif verdict is Verdict.FULL:
            connection.refuse(CloseReason.OVERLOADED, "too many sessions")
        else:
            if replaced is not None:
                self._retire(self._connections[replaced])
            self._open[peer] = connection
            exchange = join.JoinExchange(
                session.handshake_hash, session.is_initiator, dict(self._groups), self._rng, now
            )
            connection.admitted(exchange, now)
            self._sink.peer_changed(connection, True)
            self._run_join(connection)

    def _retire(self, old: Connection) -> None:
        """Another session takes its place: its groups are told now, for its own end comes too late."""
        self._unlink(old)
        old.link.close(CloseReason.DUPLICATE, "a newer session is kept")

    def _run_join(self, connection: Connection) -> None:
        exchange = connection.join
        for message in exchange.messages_to_send():
            connection.send(FlowKind.JOIN, None, [message])
        while (event := exchange.next_event()) is not None:
            if isinstance(event, join.Joined):
                connection.group_joined(event.group_id)
                self._sink.member_linked(event.group_id, connection.peer, connection)
            elif isinstance(event, join.Left):
                connection.group_left(event.group_id)
                self._sink.member_unlinked(event.group_id, connection.peer, True)
            else:
                connection.link.session.close(CloseReason.DENIED, "no common group was proved")
        self._mark(connection.link)

    # Ends -------------------------------------------------------------------------------------------------------

    def _fault(self, connection: Connection, error: RemoteError) -> None:
        log.warning("peer %s at %s: %s", connection.name, connection.link.remote, error)
        if connection.is_admitted and error.penalty:
            self._bans.add(connection.peer, max(_FAULT_POINTS, error.penalty), self._clock.monotonic())
        connection.cut(CloseReason.PROTOCOL, str(error))
        self._mark(connection.link)

    def _closed(self, connection: Connection, event: Closed) -> None:
        link = connection.link
        connection.closed = event
        connection.settled.set()
        self._connections.pop(id(link))
        self._received_bytes += link.received_bytes
        self._sent_bytes += link.sent_bytes
        connection.fail_dial(event)
        log.debug(
            "session with %s at %s ended: %s (%s)",
            connection.name,
            link.remote,
            event.reason.name,
            event.detail,
        )
        if connection.is_admitted and self._table.remove(id(link), connection.peer):
            self._unlink(connection)
            self._sink.peer_changed(connection, False)

    def _unlink(self, connection: Connection) -> None:
        if self._open.get(connection.peer) is connection:
            del self._open[connection.peer]
        groups = list(connection.groups)
        connection.groups.clear()
        for group in groups:
            self._sink.member_unlinked(group, connection.peer, False)

    # Pumping ----------------------------------------------------------------------------------------------------

    def _mark(self, link: TcpLink) -> None:
        """Pump this link at the end of the loop's turn."""
        if not self._dirty:
            self._loop.call_soon(self._pump)
        self._dirty[id(link)] = link

    def _pump(self) -> None:
        links: Iterable[TcpLink] = list(self._dirty.values())
        self._dirty.clear()
        for link in links:
            link.pump()


def source_of(address: Address) -> str:
    """Who is counted as one: an IPv4 address, or an IPv6 network."""
    if not address.is_ipv6:
        return address.host
    return str(ipaddress.ip_network((address.host, _NETWORK_BITS), strict=False))
