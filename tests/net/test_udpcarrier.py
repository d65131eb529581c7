"""Sessions over UDP, with real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError
from swarmd.core.rng import SeededRng
from swarmd.identity.identity import Identity
from swarmd.transport.api import Closed, CloseReason, MessageReceived, MessageSent, Opened, Priority, State
from swarmd.transport.paths import Kind
from swarmd.transport.rtmfp.resets import RESET_BYTES, RESETS
from tests.net.udp_host import LOOPBACK, Keeper


@pytest.fixture
async def keepers() -> AsyncIterator[tuple[Keeper, Keeper]]:
    near, far = Keeper(), Keeper()
    yield near, far
    for keeper in (near, far):
        keeper.stop()


async def test_a_link_is_made_at_both_ends(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    link = await near.call(far.listener.address, far.identity.peer_id)
    await near.end.wait(Opened)
    await far.end.wait(Opened)
    assert link.session.peer_id == far.identity.peer_id
    (answering,) = far.accepted
    assert answering.session.peer_id == near.identity.peer_id
    assert link.kind is answering.kind is Kind.UDP
    assert (link.remote, answering.remote) == (far.listener.address, near.listener.address), "one port for both ways"
    assert (link.local, answering.local) == (near.listener.address, far.listener.address)


async def test_messages_of_all_sizes_cross_both_ways(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    link = await near.call(far.listener.address)
    await near.end.wait(Opened)
    await far.end.wait(Opened)
    rng = SeededRng(1)
    messages = [rng.bytes(size) for size in (0, 1, 1_000, 70_000, 1 << 20, 5)]
    for side, other in ((link, far), (far.accepted[0], near)):
        flow = side.session.open_flow(b"x", Priority.BULK, report_sent=True)
        for message in messages:
            side.session.send(flow, [message])
        side.pump()
        for message in messages:
            event = await other.end.wait(MessageReceived)
            assert isinstance(event, MessageReceived) and event.joined() == message
    assert link.received_bytes > sum(map(len, messages)) and link.sent_bytes > sum(map(len, messages))
    assert link.rtt is not None and link.rtt < 1


async def test_what_has_arrived_is_told(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    link = await near.call(far.listener.address)
    await near.end.wait(Opened)
    flow = link.session.open_flow(b"x", Priority.BULK, report_sent=True)
    for size in (300_000, 7):
        link.session.send(flow, [bytes(size)])
    link.pump()
    for size in (300_000, 7):
        assert await near.end.wait(MessageSent) == MessageSent(flow, size)


async def test_closing_is_told(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    link = await near.call(far.listener.address)
    await near.end.wait(Opened)
    await far.end.wait(Opened)
    link.close(CloseReason.DENIED, "no group in common")
    assert await near.closed() == Closed(CloseReason.DENIED, "no group in common")
    assert await far.closed() == Closed(CloseReason.DENIED, "no group in common", by_peer=True)
    assert link.is_closed and far.accepted[0].is_closed


async def test_nobody_there_is_told_at_once(keepers: tuple[Keeper, Keeper]) -> None:
    near, _ = keepers
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind((LOOPBACK, 0))
        address = Address.of_socket(unused.getsockname())
    link = await near.call(address)
    assert await near.closed() == Closed(CloseReason.UNREACHABLE, "Connection refused")
    assert link.is_closed and link.session.state is State.CLOSED


async def test_somebody_else_is_told(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    await near.call(far.listener.address, Identity.generate().peer_id)
    event = await near.closed()
    assert event.reason is CloseReason.WRONG_PEER
    assert far.identity.peer_id.short in event.detail


async def test_ourselves_are_told(keepers: tuple[Keeper, Keeper]) -> None:
    near, _ = keepers
    await near.call(near.listener.address)
    assert (await near.closed()).reason is CloseReason.SELF


async def test_where_there_is_no_room_nobody_is_let_in(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    far.has_room = False
    await near.call(far.listener.address)
    await near.end.wait(Opened)
    assert (await near.closed()).reason is CloseReason.OVERLOADED
    assert not far.accepted


async def test_several_sockets_of_one_family(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    second = far.carrier.open_listener(Address("127.0.0.2", 0))
    for address in (second.address, far.listener.address):
        link = await near.call(address)
        await near.end.wait(Opened)
        await far.end.wait(Opened)
        assert link.remote == address, "an answer comes from where the question went"
        assert far.accepted[-1].local == address
    second.close()


async def test_ipv6_from_a_node_that_listens_on_ipv4_only() -> None:
    near, far = Keeper(), Keeper("::1")
    try:
        await near.call(far.listener.address, far.identity.peer_id)
        await near.end.wait(Opened)
        await far.end.wait(Opened)
    finally:
        near.stop()
        far.stop()


async def test_a_port_in_use_is_a_clear_error(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    with pytest.raises(LocalError, match=r"cannot listen on 127.0.0.1:.*in use"):
        near.carrier.open_listener(far.listener.address)


async def test_sessions_of_one_address_are_all_served(keepers: tuple[Keeper, Keeper]) -> None:
    """The kernel joins what comes from one address, whichever session it is for."""
    near, far = keepers
    links = []
    for _ in range(8):
        links.append(await near.call(far.listener.address))
        await near.end.wait(Opened)
        await far.end.wait(Opened)
    for link in links:
        link.close(CloseReason.SHUTDOWN, "swarmd stops")
    for _ in links:
        assert (await far.closed()).reason is CloseReason.SHUTDOWN
    assert all(link.is_closed for link in far.accepted)


async def test_who_stops_says_so(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    link = await near.call(far.listener.address)
    await near.end.wait(Opened)
    await far.end.wait(Opened)
    link.close(CloseReason.SHUTDOWN, "swarmd stops")
    near.carrier.stop()
    assert (await far.closed()).reason is CloseReason.SHUTDOWN


async def test_any_bytes_from_anybody_change_nothing(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    rng = SeededRng(5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for _ in range(200):
            size = rng.choice((0, 1, 11, 12, 40, 400, 1472))
            stranger.sendto(rng.bytes(size), (far.listener.address.host, far.listener.address.port))
            stranger.sendto(bytes(4) + rng.bytes(size), (far.listener.address.host, far.listener.address.port))
        await near.call(far.listener.address)
        await near.end.wait(Opened)
        await far.end.wait(Opened)
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            for _ in range(RESETS):
                assert len(stranger.recv(100)) == RESET_BYTES, "that there is no such session, and nothing else"
    await asyncio.sleep(0)
