"""TCP and UDP side by side: which is taken, and that a session moves to the better one when that gets through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import Unreachable
from swarmd.core.rng import SystemRng
from swarmd.daemon.calling import Reached
from swarmd.daemon.dialer import Dialer
from swarmd.daemon.flows import FlowKind
from swarmd.transport.paths import Kind, Path
from tests.daemon.both import LOOPBACK, Both, Known, one_session
from tests.daemon.hosts import make_group


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
    steps = near.peers.improvement(connection, [])
    assert steps == [[Path(Kind.TCP, address)]]
    with pytest.raises(Unreachable, match="refused"):
        await near.peers.improve(connection, steps)
    assert near.kind_to(far) is Kind.UDP, "what there is is kept"
    far.listen_by_tcp(address)
    assert await near.peers.improve(connection, steps) == Reached(far.peer_id, address)
    await near.sink.until(lambda: connection.link.is_closed)
    await near.linked(far)
    await far.linked(near)
    await far.sink.until(lambda: len(far.peers.connections()) == 1 and far.kind_to(near) is Kind.TCP)
    assert near.kind_to(far) is Kind.TCP
    near.peers.send(near.group.group_id, far.peer_id, FlowKind.GROUP, [b"by the better way"])
    await far.sink.until(lambda: far.sink.group_messages == [b"by the better way"])


async def test_the_dialer_tries_now_and_then(both: tuple[Both, Both]) -> None:
    near, far = both
    address = far.listen_by_udp()
    await near.peers.dial(address, far.peer_id)
    await near.linked(far)
    await far.linked(near)
    dialer = Dialer(near.peers, Known(), near.clock, SystemRng())
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


async def test_a_path_that_becomes_known_is_tried_soon_however_rarely_the_old_ones_are(both: tuple[Both, Both]) -> None:
    near, far = both
    address = far.listen_by_udp()
    await near.peers.dial(address, far.peer_id)
    await near.linked(far)
    source = Known()
    dialer = Dialer(near.peers, source, near.clock, SystemRng())
    now = near.clock.monotonic()
    tries: list[float] = []
    while len(tries) < 7:
        dialer.handle_timer(now)
        if dialer.is_dialing(address):
            tries.append(now)
        while dialer.is_dialing(address):  # noqa: ASYNC110 (it is refused at once; no event says so)
            await asyncio.sleep(0)
        now += 5.0
    assert tries[-1] - tries[-2] > 300.0
    (home,) = far.listen(Address("127.0.0.2", 0))
    source.known = [home]
    dialer.handle_timer(now)
    assert not dialer.is_dialing(home)
    dialer.handle_timer(now + 35.0)
    assert dialer.is_dialing(home)
    await near.sink.until(lambda: near.kind_to(far) is Kind.TCP)
    await one_session(near, far)
    assert near.sink.changes == [True], "it was connected all the time"
    await dialer.stop()
