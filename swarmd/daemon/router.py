"""Between the connections and what runs on them: who is told what about members of our groups.

A member of a group is linked to the group first, and, where the group replicates, to the exchange. Errors of a peer
raised below pass through to `daemon.peers`, which ends the session.
"""

from __future__ import annotations

from collections.abc import Sequence

from swarmd.core.ids import GroupId, PeerId
from swarmd.daemon.connection import Connection
from swarmd.daemon.exchange import Exchange
from swarmd.daemon.memberships import Memberships
from swarmd.daemon.reports import Reports


class Router:
    """Implements `peers.PeerSink`. They are set by the node, since they need the peers themselves."""

    memberships: Memberships
    exchange: Exchange
    reports: Reports

    def member_linked(self, group: GroupId, peer: PeerId, connection: Connection) -> None:
        self.memberships.link_opened(group, peer, connection)
        if self.memberships.is_replicating(group):
            self.exchange.replicator.peer_joined(group, peer, self.exchange.now)
            self.exchange.schedule()

    def member_unlinked(self, group: GroupId, peer: PeerId, has_left: bool) -> None:
        self.exchange.replicator.peer_left(group, peer, self.exchange.now)  # also of a group that we have left
        self.exchange.schedule()
        self.memberships.link_closed(group, peer, has_left)

    def group_message(self, group: GroupId, peer: PeerId, data: bytes) -> None:
        self.memberships.receive_message(group, peer, data)

    def object_message(self, group: GroupId, peer: PeerId, data: bytes) -> None:
        self.exchange.object_message(group, peer, data)

    def bulk_message(self, group: GroupId, peer: PeerId, parts: Sequence[memoryview]) -> None:
        self.exchange.bulk_message(group, peer, parts)

    def bulk_sent(self, group: GroupId, peer: PeerId, size: int) -> None:
        self.exchange.bulk_sent(group, peer, size)

    def peer_changed(self, connection: Connection, connected: bool) -> None:
        self.reports.peer_changed(connection, connected)
