"""Which groups are proved on which connection: between `groups.join` and the connections.

In: the groups of this node as they come and go, admitted connections, what arrives on their join flow. Out: messages
on that flow, and calls of `MemberSink` when a group has been proved by both ends or is over. Invariant: of each
membership that the sink was told of it is told the end, once.

It closes the session of who proves nothing in time. A link that was given something is marked, to be pumped later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from swarmd.core.errors import InvalidArgument
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.daemon.connection import Connection
from swarmd.daemon.flows import FlowKind
from swarmd.groups import join
from swarmd.net.link import Link
from swarmd.transport.api import CloseReason


class MemberSink(Protocol):
    """Who is told about members of our groups. All calls come on the loop."""

    def member_linked(self, group: GroupId, peer: PeerId, connection: Connection) -> None: ...
    def member_unlinked(self, group: GroupId, peer: PeerId, has_left: bool) -> None: ...


class Joining:
    """The groups of one node."""

    def __init__(self, rng: Rng, sink: MemberSink, mark: Callable[[Link], None]) -> None:
        self._rng, self._sink, self._mark = rng, sink, mark
        self._groups: dict[GroupId, bytes] = {}

    def check_group(self, group: GroupId) -> None:
        """InvalidArgument when with this one there would be more than a session can prove."""
        if group not in self._groups and len(self._groups) >= join.MAX_TAGS:
            raise InvalidArgument(
                f"a node can be in at most {join.MAX_TAGS} groups, single shares included: leave some"
            )

    def add_group(self, group: GroupId, join_key: bytes, connections: Iterable[Connection], now: float) -> None:
        """Prove it on these connections and on all that are admitted from now on."""
        self.check_group(group)
        self._groups[group] = join_key
        for connection in connections:
            connection.join.add_group(group, join_key, now)
            self.run(connection)

    def remove_group(self, group: GroupId, connections: Iterable[Connection], now: float) -> None:
        self._groups.pop(group, None)
        for connection in connections:
            connection.join.remove_group(group, now)
            self.run(connection)
            connection.group_left(group)  # also where the other end alone had it for proved

    def new_exchange(self, connection: Connection, now: float) -> join.JoinExchange:
        """For a connection whose session is open."""
        session = connection.link.session
        return join.JoinExchange(session.handshake_hash, session.is_initiator, dict(self._groups), self._rng, now)

    def run(self, connection: Connection) -> None:
        """Carry out what the exchange of this connection wants; after anything that was told to it."""
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

    def end(self, connection: Connection) -> None:
        """The connection is over, and all memberships on it."""
        groups = list(connection.groups)
        connection.groups.clear()
        for group in groups:
            self._sink.member_unlinked(group, connection.peer, False)
