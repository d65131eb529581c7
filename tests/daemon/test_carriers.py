"""Connections over several carriers: one session for each pair, bounds for all of them together."""

from __future__ import annotations

import asyncio

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import ManualClock
from swarmd.core.errors import Unreachable
from swarmd.core.ids import PeerId
from swarmd.core.rng import SystemRng
from swarmd.daemon.flows import FlowKind
from swarmd.daemon.strangers import MAX_UNPROVED, MAX_UNPROVED_PER_HOST, has_room_for
from swarmd.groups.groupspec import GroupSpec
from swarmd.net.link import Carrier, Link, Listener
from swarmd.net.tcpcarrier import TcpCarrier
from swarmd.transport.paths import Kind
from tests.daemon.hosts import Host, Stranger

LOOPBACK = "127.0.0.1"


class Second:
    """A carrier of another kind: TCP as well, on the next free port, so that both kinds can be told apart and real.

    The listener says that it is where the first one is; who calls is led to its true port.
    """

    kind = Kind.UDP
    ports: dict[Address, Address]  # where it seems to be -> where it is; of all nodes of a test

    def __init__(self, host: Host, ports: dict[Address, Address]) -> None:
        self._carrier = TcpCarrier(host.identity, SystemRng(), host.clock, host.peers)
        self.ports = ports
        self.is_down = False
        self.stopped = False

    def open_listener(self, address: Address) -> Listener:
        listener = self._carrier.open_listener(Address(LOOPBACK, 0))
        self.ports[address] = listener.address
        return listener

    async def connect(self, address: Address, wanted: PeerId | None) -> Link:
        if self.is_down:
            raise Unreachable(f"{address}: nothing comes through")
        return await self._carrier.connect(self.ports[address], wanted)

    def shrink(self) -> bool:
        return False

    def stop(self) -> None:
        self.stopped = True
        self._carrier.stop()


def second_of(host: Host, ports: dict[Address, Address]) -> Second:
    """Added to `host`, which listens once more, on both."""
    carrier = Second(host, ports)
    host.peers.add_carrier(carrier)
    host.peers.listen([host.peers.open_listener(Address(LOOPBACK, 0))])
    return carrier


@pytest.fixture
async def seconds(hosts: list[Host]) -> list[Second]:
    ports: dict[Address, Address] = {}
    return [second_of(host, ports) for host in hosts]


async def test_an_address_is_one_for_all_carriers(hosts: list[Host], seconds: list[Second]) -> None:
    near = hosts[0]
    assert len(near.peers.listening) == 2
    assert near.peers.listening[1] in seconds[0].ports


async def test_one_is_enough(hosts: list[Host], seconds: list[Second], group: GroupSpec) -> None:
    """And on this machine TCP is the first to be tried."""
    near, far, _ = hosts
    near.join(group)
    far.join(group)
    assert await near.peers.dial(far.peers.listening[1], far.peer_id) == far.peer_id
    await near.linked(far, group)
    await far.linked(near, group)
    assert len(near.peers.connections()) == len(far.peers.connections()) == 1
    near.send(group, far, FlowKind.GROUP, b"whatever carries it")
    await far.sink.until(lambda: far.sink.group_messages == [b"whatever carries it"])


async def test_where_one_kind_does_not_get_through_the_other_does(
    hosts: list[Host], seconds: list[Second], group: GroupSpec
) -> None:
    near, far, _ = hosts
    near.join(group)
    far.join(group)
    elsewhere = Address(LOOPBACK, 1)  # nobody listens there over TCP
    seconds[0].ports[elsewhere] = seconds[0].ports[far.peers.listening[1]]
    assert await near.peers.dial(elsewhere, far.peer_id) == far.peer_id
    await near.linked(far, group)
    await far.linked(near, group)


async def test_where_none_gets_through_it_is_said_why(hosts: list[Host], seconds: list[Second]) -> None:
    seconds[0].is_down = True
    with pytest.raises(Unreachable, match=r"refused"):
        await hosts[0].peers.dial(Address(LOOPBACK, 1), None)


async def test_bounds_hold_for_all_carriers_together(hosts: list[Host], seconds: list[Second]) -> None:
    near = hosts[0]
    first, second = near.peers.listening[1], seconds[0].ports[near.peers.listening[1]]
    strangers = [
        await Stranger.connected(near, address=(first, second)[number % 2]) for number in range(MAX_UNPROVED_PER_HOST)
    ]
    for address in (first, second):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        async with asyncio.timeout(20):
            assert await reader.read() == b"", "one more is closed unheard"
        writer.close()
        await writer.wait_closed()
    for stranger in strangers:
        stranger.link.abort()
    await near.alone()


async def test_stopping_stops_all_of_them(clock: ManualClock, group: GroupSpec) -> None:
    host = Host(clock)
    carrier: Carrier = second_of(host, {})
    await host.peers.stop()
    assert isinstance(carrier, Second) and carrier.stopped


def test_room_is_for_all_and_for_each_host() -> None:
    one, other = Address("192.0.2.1", 5), Address("192.0.2.2", 5)
    assert has_room_for(one, [one] * (MAX_UNPROVED_PER_HOST - 1))
    assert not has_room_for(one, [one] * MAX_UNPROVED_PER_HOST)
    assert has_room_for(other, [one] * MAX_UNPROVED_PER_HOST)
    many = [Address(f"198.51.100.{number}", 5) for number in range(MAX_UNPROVED)]
    assert has_room_for(one, many[1:]) and not has_room_for(one, many)
