"""One race over all addresses of a peer and both transports, with real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError, Unreachable
from swarmd.core.rng import SeededRng
from swarmd.daemon.calling import Reached
from swarmd.daemon.listening import open_together
from swarmd.net.tcpcarrier import CONNECT_TIMEOUT
from swarmd.transport.racing import ATTEMPT_DELAY
from tests.daemon.both import LOOPBACK, Both, one_session
from tests.daemon.hosts import make_group

A_TIMEOUT = CONNECT_TIMEOUT / 2
"""Seconds: what is over by then has waited for nobody's time-out."""


@pytest.fixture
async def both() -> AsyncIterator[tuple[Both, Both]]:
    group = make_group()
    nodes = Both(group), Both(group)
    yield nodes
    for node in nodes:
        await node.peers.stop()


class Silent:
    """A TCP port whose backlog takes connections, and a UDP port, where nobody ever answers."""

    def __init__(self, address: Address) -> None:
        self._tcp = socket.create_server((address.host, address.port))
        self.address = Address.of_socket(self._tcp.getsockname())
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._udp.bind((self.address.host, self.address.port))
        except OSError as error:
            self.close()
            raise LocalError(f"{self.address} is taken") from error

    def close(self) -> None:
        self._tcp.close()
        self._udp.close()


async def test_a_dead_first_address_costs_one_delay(both: tuple[Both, Both]) -> None:
    near, far = both
    (live,) = far.listen(LOOPBACK)
    dead = open_together(LOOPBACK, [Silent])
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert await near.peers.reach([dead.address, live], far.peer_id) == Reached(far.peer_id, live)
    assert 0.9 * ATTEMPT_DELAY < loop.time() - begun < A_TIMEOUT
    await one_session(near, far)
    dead.close()


async def test_where_an_address_refuses_the_next_is_tried_at_once(both: tuple[Both, Both]) -> None:
    near, far = both
    (live,) = far.listen(LOOPBACK)
    gone = open_together(Address("127.0.0.2", 0), [Silent])
    gone.close()
    failures: list[tuple[Address, str]] = []
    reached = await near.peers.reach(
        [gone.address, live], far.peer_id, lambda address, error: failures.append((address, str(error)))
    )
    assert reached == Reached(far.peer_id, live)
    await one_session(near, far)
    assert failures in ([], [(gone.address, f"{gone.address}: Connection refused")]), "UDP there may be called off"


async def test_where_nobody_is_each_address_is_told_of(both: tuple[Both, Both]) -> None:
    near, far = both
    gone = [open_together(Address(f"127.0.0.{number}", 0), [Silent]) for number in (2, 3)]
    for each in gone:
        each.close()
    failures: list[Address] = []
    with pytest.raises(Unreachable, match="refused"):
        await near.peers.reach(
            [each.address for each in gone], far.peer_id, lambda address, _: failures.append(address)
        )
    assert sorted(failures) == sorted(each.address for each in gone)


@pytest.mark.parametrize("seed", range(6))
async def test_all_ways_at_once_from_both_ends_make_one_session(both: tuple[Both, Both], seed: int) -> None:
    """Several addresses of both families, both transports, both call, more than once: one is left, the same at both."""
    rng = SeededRng(seed)
    places = [LOOPBACK, Address("127.0.0.2", 0), Address("::1", 0)]
    known = {node: node.listen(*places) for node in both}
    calls = []
    for node, other in (both, both[::-1], both):
        rng.shuffle(known[other])
        calls.append(node.peers.reach(list(known[other]), other.peer_id))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert any(isinstance(result, Reached) for result in results)
    await one_session(*both)
    assert all(node.sink.changes[::2] == [True] * len(node.sink.changes[::2]) for node in both), "connected once"
