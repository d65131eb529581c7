"""Connections to other nodes: between `net.link`, `transport.sessions` and `daemon.joining`.

A connection goes through: keying (the transport's) -> admitted (one session for each pair) -> joined (at least one
group proved by both ends). Who proves none within the time of `groups.join` is turned away. Flows of a group are
opened, and taken, only between proven members of it.

Up go calls of `PeerSink`, for groups and transfers; down come `send`, `close`, `dial`, `add_group`. What is sent is
collected and pumped once a turn of the loop. What carries a session is the carriers' (`net.link`), and no matter here.

Bounds, for all carriers together: incoming connections on which no group is proved (`daemon.strangers`), sessions
(`transport.sessions`). A peer that breaks the protocol is cut off, and refused for a while when it does so again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Protocol

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import RemoteError, Unreachable
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.daemon.bans import BAN_PERIOD, Bans
from swarmd.daemon.calling import Failed, Reached, call, ignore
from swarmd.daemon.connection import Connection
from swarmd.daemon.flows import FlowKind
from swarmd.daemon.joining import Joining, MemberSink
from swarmd.daemon.listening import open_together
from swarmd.daemon.strangers import has_room_for
from swarmd.net.link import Carrier, Link, Listener
from swarmd.net.pump import Pump
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
from swarmd.transport.paths import BEST_GRADE, Kind, Path, grade
from swarmd.transport.racing import Race, plan_improvement, plan_steps
from swarmd.transport.sessions import SessionTable, Verdict

log = logging.getLogger(__name__)

_FAULT_POINTS = 5  # of a protocol fault that ends the session, at the least; half of a ban


class PeerSink(MemberSink, Protocol):
    """Who is told about members of our groups, and what they say. All calls come on the loop."""

    def group_message(self, group: GroupId, peer: PeerId, data: bytes) -> None: ...
    def object_message(self, group: GroupId, peer: PeerId, data: bytes) -> None: ...
    def bulk_message(self, group: GroupId, peer: PeerId, parts: Sequence[memoryview]) -> None: ...
    def bulk_sent(self, group: GroupId, peer: PeerId, size: int) -> None: ...
    def peer_changed(self, connection: Connection, connected: bool) -> None: ...


class Peers:
    """All connections of one node; the owner of its carriers' links (`net.link.Owner`)."""

    def __init__(self, own_id: PeerId, rng: Rng, clock: Clock, sink: PeerSink, max_sessions: int | None = None) -> None:
        self._clock, self._sink = clock, sink
        self._loop = asyncio.get_running_loop()
        self._mark = Pump(self._loop).mark
        self._joining = Joining(rng, sink, self._mark)
        self._table = SessionTable(own_id, **({"max_sessions": max_sessions} if max_sessions else {}))
        self._carriers: dict[Kind, Carrier] = {}
        self._own_addresses: tuple[Address, ...] = ()
        self._listeners: list[Listener] = []
        self._connections: dict[int, Connection] = {}  # by id of the link
        self._open: dict[PeerId, Connection] = {}
        self._background: set[GroupId] = set()  # groups whose blocks give way to everything else
        self._bans = Bans(clock.monotonic())
        self._received_bytes = self._sent_bytes = 0
        self._stopping = False

    # For the node -----------------------------------------------------------------------------------------------

    def add_carrier(self, carrier: Carrier) -> None:
        """One that has this as its owner; before anything is to be listened on or dialled."""
        self._carriers[carrier.kind] = carrier

    def set_own_addresses(self, addresses: Iterable[Address]) -> None:
        """Where this node itself is: that tells which addresses are near."""
        self._own_addresses = tuple(addresses)

    def open_listener(self, address: Address) -> Listener:
        """Listen there (port 0: any), on every carrier; to be given to `listen`, or closed."""
        return open_together(address, [carrier.open_listener for carrier in self._carriers.values()])

    def listen(self, listeners: Sequence[Listener]) -> None:
        """Accept connections on these until `stop`."""
        self._listeners += listeners

    @property
    def listening(self) -> list[Address]:
        return [listener.address for listener in self._listeners]

    def connections(self) -> list[Connection]:
        """Of admitted peers."""
        return list(self._open.values())

    def over_udp(self) -> list[Address]:
        """Where peers are to whom there is a session over UDP."""
        return [connection.link.remote for connection in self._open.values() if connection.link.kind is Kind.UDP]

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
        for carrier in self._carriers.values():
            carrier.stop()
        await asyncio.sleep(0)

    def handle_timer(self, now: float) -> None:
        """About once a second: join deadlines, bans that end."""
        for connection in list(self._open.values()):
            connection.join.handle_timer(now)
            self._joining.run(connection)
        self._bans.handle_timer(now)

    def shrink(self) -> bool:
        """Let go of memory that no message used since the last call; whether there was any."""
        were_idle = [carrier.shrink() for carrier in self._carriers.values()]
        return any(were_idle)

    # For groups and transfers -----------------------------------------------------------------------------------

    def check_group(self, group: GroupId) -> None:
        """InvalidArgument when with this one there would be more than a session can prove."""
        self._joining.check_group(group)

    def add_group(self, group: GroupId, join_key: bytes) -> None:
        """From now on prove, and accept proofs of, this membership on every session. InvalidArgument as above."""
        self._joining.add_group(group, join_key, self.connections(), self._clock.monotonic())

    def remove_group(self, group: GroupId) -> None:
        self._joining.remove_group(group, self.connections(), self._clock.monotonic())

    def set_background(self, groups: Iterable[GroupId]) -> None:
        """From now on the blocks of these groups, and of no others, give way to all other traffic."""
        self._background.clear()
        self._background.update(groups)
        for connection in self._open.values():
            connection.background_changed()
            self._mark(connection.link)

    def send(
        self, group: GroupId, peer: PeerId, kind: FlowKind, parts: Sequence[Buffer], *, is_background: bool = False
    ) -> None:
        """Queue one message; nothing happens when the peer is gone meanwhile (the sink has been told)."""
        connection = self._open.get(peer)
        if connection is not None and group in connection.groups:
            connection.send(kind, group, parts, is_background=is_background)
            self._mark(connection.link)

    def release(self, group: GroupId, peer: PeerId) -> None:
        """This group needs the session no longer: it ends unless it has another use."""
        connection = self._open.get(peer)
        if connection is not None and connection.groups <= {group}:
            connection.link.close(CloseReason.NORMAL, "not needed")

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
        """`reach` at one address; the peer ID that answered."""
        return (await self.reach([address], wanted)).peer

    async def reach(self, addresses: Iterable[Address], wanted: PeerId | None, failed: Failed = ignore) -> Reached:
        """Connect to a peer, at whichever of its addresses (best first) and by whatever reaches it first. Done when the
        session is admitted.

        `failed` is told of addresses that fail before the end, each by itself; Unreachable says why none was any good.
        """
        return await self._race(plan_steps(addresses, self._carriers, self._own_addresses), wanted, failed)

    def can_improve(self, connection: Connection) -> bool:
        """Whether there may be a better path than this session's. Whoever has called sees to it, not both."""
        return connection.dialled is not None and grade(connection.path, self._own_addresses) < BEST_GRADE

    def improvement(self, connection: Connection, addresses: Iterable[Address]) -> list[list[Path]]:
        """By which paths, in steps, this peer would be reached better, if it is at these addresses too."""
        known = dict.fromkeys([*addresses, connection.dialled or connection.link.remote])
        return plan_improvement(connection.path, known, self._carriers, self._own_addresses)

    async def improve(self, connection: Connection, steps: Sequence[Sequence[Path]]) -> Reached:
        """Call this peer by the paths of `improvement`; such a session takes this one's place. Or Unreachable."""
        return await self._race(steps, connection.peer, ignore)

    async def _race(self, steps: Sequence[Sequence[Path]], wanted: PeerId | None, failed: Failed) -> Reached:
        if not steps:
            raise Unreachable("there is no way there")

        def attempt(path: Path) -> Coroutine[Any, Any, PeerId]:
            return self._open_session(self._carriers[path.kind], path.address, wanted)

        path, *others = (path for step in steps for path in step)
        if not others:  # no race, and who waits hears of it in the same turn of the loop or the next
            return Reached(await attempt(path), path.address)
        return await call(Race(steps, self._clock.monotonic()), attempt, self._clock, failed)

    async def _open_session(self, carrier: Carrier, address: Address, wanted: PeerId | None) -> PeerId:
        connection = self._adopt(await carrier.connect(address, wanted))
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

    def has_room_for(self, remote: Address) -> bool:
        """Whether whoever calls from there may."""
        incoming = [connection for connection in self._connections.values() if connection.dialled is None]
        unproved = [connection.link.remote for connection in incoming if not connection.groups]
        return not self._stopping and has_room_for(remote, unproved)

    def link_accepted(self, link: Link) -> None:
        self._adopt(link).link.start()

    def link_event(self, link: Link, event: Event) -> None:
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
            group = connection.bulk_left(event.flow, event.size)
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
            self._joining.run(connection)
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

    def _adopt(self, link: Link) -> Connection:
        connection = Connection(link, self._clock.monotonic(), self._background)
        self._connections[id(link)] = connection
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
            grade=grade(connection.path, [connection.link.local]),  # that way round both ends see the same
        )
        if verdict is Verdict.IS_SELF:
            connection.refuse(CloseReason.SELF, "this address leads to ourselves")
        elif verdict is Verdict.KEEP_OLD:
            connection.refuse(CloseReason.DUPLICATE, "another session is kept")
        elif verdict is Verdict.FULL:
            connection.refuse(CloseReason.OVERLOADED, "too many sessions")
        else:
            if replaced is not None:
                self._retire(self._connections[replaced], connection)
            self._open[peer] = connection
            connection.admitted(self._joining.new_exchange(connection, now), now)
            if replaced is None:
                self._sink.peer_changed(connection, True)
            self._joining.run(connection)

    def _retire(self, old: Connection, new: Connection) -> None:
        """Another session takes its place, and the peer is connected all the time. Its groups are told now, for its own
        end comes too late."""
        self._unlink(old)
        where = old.link.remote, new.link.remote
        log.info("peer %s at %s: a newer session, at %s, takes the place of this one", old.peer.short, *where)
        old.link.close(CloseReason.DUPLICATE, "a newer session is kept")

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
        self._joining.end(connection)
