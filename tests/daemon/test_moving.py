"""TCP and UDP side by side: which is taken, and that a session moves to the better one when that gets through."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.errors import LocalError, Unreachable
from swarmd.core.rng import SystemRng
from swarmd.daemon.dialer import Dialer
from swarmd.daemon.flows import FlowKind
from swarmd.daemon.listening import open_together
from swarmd.daemon.peers import Peers
from swarmd.groups.groupspec import GroupSpec
from swarmd.identity.identity import Identity
from swarmd.net.tcpcarrier import TcpCarrier
from swarmd.net.udpcarrier import UdpCarrier
from swarmd.transport.paths import Kind
from tests.daemon.hosts import Recorder, make_group

LOOPBACK = Address("127.0.0.1", 0)


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

    def listen_by_tcp(self, address: Address) -> None:
        self.peers.listen([self.tcp.open_listener(address)])

    async def linked(self, other: Both) -> None:
        await self.sink.until(lambda: (self.group.group_id, other.peer_id) in self.sink.linked)

    def kind_to(self, other: Both) -> Kind:
        (connection,) = self.peers.connections()
        assert connection.peer == other.peer_id
        return connection.link.kind


@pytest.fixture
async def both() -> AsyncIterator[tuple[Both, Both]]:
    group = make_group()
    nodes = Both(group), Both(group)
    yield nodes
    for node in nodes:
        await node.peers.stop()


async def test_on_this_machine_it_is_tcp(both: tuple[Both, Both]) -> None:
    near, far = both
    listener = far.peers.open_listener(LOOPBACK)
    far.peers.listen([listener])
    await near.peers.dial(listener.address, far.peer_id)
    await near.linked(far)
    await far.linked(near)
    assert near.kind_to(far) is far.kind_to(near) is Kind.TCP
    assert not near.peers.can_improve(near.peers.connections()[0])


async def test_where_tcp_does_not_get_through_it_is_udp_until_it_does(both: tuple[Both, Both]) -> None:
    near, far = both
    address = far.listen_by_udp()
    await near.peers.dial(address, far.peer_id)
    await near.linked(far)
    await far.linked(near)
    assert near.kind_to(far) is far.kind_to(near) is Kind.UDP
    (connection,) = near.peers.connections()
    assert near.peers.can_improve(connection)
    assert not far.peers.can_improve(far.peers.connections()[0]), "who has called sees to it"
    with pytest.raises(Unreachable, match="refused"):
        await near.peers.improve(connection)
    assert near.kind_to(far) is Kind.UDP, "what there is is kept"
    far.listen_by_tcp(address)
    assert await near.peers.improve(connection) == far.peer_id
    await near.sink.until(lambda: connection.link.is_closed)
    await near.linked(far)
    await far.linked(near)
    await far.sink.until(lambda: len(far.peers.connections()) == 1 and far.kind_to(near) is Kind.TCP)
    assert near.kind_to(far) is Kind.TCP
    near.peers.send(near.group.group_id, far.peer_id, FlowKind.GROUP, [b"by the better way"])
    await far.sink.until(lambda: far.sink.group_messages == [b"by the better way"])


class NoCandidates:
    def candidates(self, now: float) -> list[Dialer]:
        return []

    def dial_failed(self, address: Address, now: float, reason: str) -> None:
        raise AssertionError("a try to do better is no failure")

    def dial_succeeded(self, address: Address, peer: object, now: float) -> None: ...
    def address_is_own(self, address: Address) -> None: ...


async def test_the_dialer_tries_now_and_then(both: tuple[Both, Both]) -> None:
    near, far = both
    address = far.listen_by_udp()
    await near.peers.dial(address, far.peer_id)
    await near.linked(far)
    await far.linked(near)
    dialer = Dialer(near.peers, NoCandidates(), near.clock, SystemRng())  # type: ignore[arg-type]
    now = near.clock.monotonic()
    dialer.handle_timer(now)
    dialer.handle_timer(now + 5)
    assert not dialer.is_dialing(address), "not at once: it was tried when the session was made"
    far.listen_by_tcp(address)
    dialer.handle_timer(now + 60)
    assert dialer.is_dialing(address)
    await far.sink.until(lambda: len(far.peers.connections()) == 1 and far.kind_to(near) is Kind.TCP)
    await near.sink.until(lambda: near.kind_to(far) is Kind.TCP)
    await dialer.stop()
