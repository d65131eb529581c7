"""Nodes with both carriers over real sockets, as far as their connections go."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.errors import LocalError
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import SystemRng
from swarmd.daemon.flows import FlowKind
from swarmd.daemon.listening import open_together
from swarmd.daemon.peers import Peers
from swarmd.groups.dialer import Candidate
from swarmd.groups.groupspec import GroupSpec
from swarmd.identity.identity import Identity
from swarmd.net.tcpcarrier import TcpCarrier
from swarmd.net.udpcarrier import UdpCarrier
from swarmd.transport.paths import Kind
from tests.daemon.hosts import Recorder

LOOPBACK = Address("127.0.0.1", 0)


class Known:
    """A `CandidateSource` that has nobody to call, and knows where the others are."""

    def __init__(self, *addresses: Address) -> None:
        self.known: Sequence[Address] = addresses

    def candidates(self, now: float) -> list[Candidate]:
        return []

    def addresses(self, peer: PeerId, groups: Iterable[GroupId]) -> Sequence[Address]:
        assert list(groups)
        return self.known

    def dial_failed(self, address: Address, now: float, reason: str) -> None:
        raise AssertionError("a try to do better is no failure")

    def dial_succeeded(self, address: Address, peer: object, now: float) -> None:
        raise AssertionError("nor is it an answer that a group waits for")

    def dial_called_off(self, address: Address, now: float) -> None: ...
    def address_is_own(self, address: Address) -> None: ...


class Held:
    """A TCP port on which nobody listens, and that no other program gets meanwhile."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((address.host, address.port))
        except OSError as error:
            self._socket.close()
            raise LocalError(f"{address} is taken") from error
        self.address = address

    def close(self) -> None:
        self._socket.close()


class Both:
    """A node with both carriers, in one group; listens where it is told to."""

    def __init__(self, group: GroupSpec) -> None:
        self.group = group
        self.identity = Identity.generate()
        self.peer_id = self.identity.peer_id
        self.sink = Recorder()
        self.clock = SystemClock()
        self.peers = Peers(self.peer_id, SystemRng(), self.clock, self.sink)
        self.tcp = TcpCarrier(self.identity, SystemRng(), self.clock, self.peers)
        self.udp = UdpCarrier(self.identity, SystemRng(), self.clock, self.peers)
        self.peers.add_carrier(self.tcp)
        self.peers.add_carrier(self.udp)
        self.peers.add_group(group.group_id, group.join_key)

    def listen_by_udp(self) -> Address:
        """On a port where TCP refuses, until `listen_by_tcp`."""
        port = open_together(LOOPBACK, [self.udp.open_listener, Held])
        self.peers.listen([port])
        return port.address

    def listen(self, *addresses: Address) -> list[Address]:
        """By both, there."""
        listeners = [self.peers.open_listener(address) for address in addresses]
        self.peers.listen(listeners)
        return [listener.address for listener in listeners]

    def listen_by_tcp(self, address: Address) -> None:
        self.peers.listen([self.tcp.open_listener(address)])

    async def linked(self, other: Both) -> None:
        await self.sink.until(lambda: (self.group.group_id, other.peer_id) in self.sink.linked)

    def kind_to(self, other: Both) -> Kind:
        (connection,) = self.peers.connections()
        assert connection.peer == other.peer_id
        return connection.link.kind


async def one_session(near: Both, far: Both) -> None:
    """Until both have the same one, and it carries messages both ways."""
    for node, other in ((near, far), (far, near)):
        await node.linked(other)
        await node.sink.until(lambda node=node: len(node.peers.connections()) == 1)  # type: ignore[misc]
    hashes = [node.peers.connections()[0].link.session.handshake_hash for node in (near, far)]
    assert hashes[0] == hashes[1]
    for node, other in ((near, far), (far, near)):
        heard = len(other.sink.group_messages)
        node.peers.send(node.group.group_id, other.peer_id, FlowKind.GROUP, [b"by whatever way"])
        await other.sink.until(lambda other=other, heard=heard: len(other.sink.group_messages) > heard)  # type: ignore[misc]
