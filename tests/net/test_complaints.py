"""What the network says of a session: a peer that is gone, or back again, and a narrow place on the way."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.rng import SeededRng
from swarmd.net.complaints import Complaint, read
from swarmd.net.udp import Fault
from swarmd.net.udpcarrier import UdpLink
from swarmd.transport.api import Closed, CloseReason, MessageReceived, Opened, Priority, State
from swarmd.transport.rtmfp.liveness import SILENCE_TIMEOUT
from swarmd.transport.rtmfp.packet import scramble
from swarmd.transport.rtmfp.pathmtu import BASE_BYTES
from tests.e2e.privileges import needs
from tests.net.namespaces import ANN, BOB, FAR_IPV4, FAR_IPV6, inside, narrow, routed
from tests.net.udp_host import Keeper

SOON = SILENCE_TIMEOUT / 2
"""Far more than it takes, and far less than silence alone would; for busy machines."""
THERE = Address("192.0.2.1", 7000)
CLOCK = SystemClock()


def test_a_fault_is_read() -> None:
    sealed = SeededRng(1).bytes(40)
    quoted = scramble(0x01020304, sealed) + sealed
    refused = Fault(THERE, errno.ECONNREFUSED, None, quoted[:16])
    assert read(refused) == Complaint(THERE, errno.ECONNREFUSED, 0x01020304, None, is_ours=False)
    for size in range(12):
        short = read(Fault(THERE, errno.ECONNREFUSED, None, quoted[:size]))
        assert short is not None and short.session_id is None and not short.is_ours
    narrow = read(Fault(THERE, errno.EMSGSIZE, 1300, quoted[:12]))
    assert narrow is not None and narrow.largest_bytes == 1272 and not narrow.is_unreachable
    wide = read(Fault(Address("2001:db8::1", 7000), errno.EMSGSIZE, 1300))
    assert wide is not None and wide.largest_bytes == 1252 and wide.is_ours
    assert read(Fault(THERE, errno.EMSGSIZE, None, quoted)) is None


# A peer that is killed, on loopback ---------------------------------------------------------------------------------


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Keeper, Keeper]]:
    """Each on an address of its own, so that nobody else has the port when it comes back to it."""
    near, far = Keeper("127.41.7.1"), Keeper("127.41.7.2")
    yield near, far
    for keeper in (near, far):
        keeper.stop()


async def opened(near: Keeper, far: Keeper) -> UdpLink:
    link = await near.call(far.listener.address, far.identity.peer_id)
    await near.end.wait(Opened)
    await far.end.wait(Opened)
    return link


def say(link: UdpLink) -> None:
    flow = link.session.open_flow(b"x", Priority.BULK)
    link.session.send(flow, [bytes(100_000)])
    link.pump()


async def ended(keeper: Keeper) -> tuple[Closed, float]:
    """How, and after how many seconds."""
    since = CLOCK.monotonic()
    event = await keeper.closed()
    return event, CLOCK.monotonic() - since


async def test_a_peer_that_was_killed_is_given_up_soon(pair: tuple[Keeper, Keeper]) -> None:
    near, far = pair
    link = await opened(near, far)
    far.die()
    say(link)
    event, took = await ended(near)
    assert event.reason is CloseReason.TIMED_OUT and took < SOON
    assert link.is_closed


@pytest.mark.parametrize("has_called", [True, False])
async def test_a_peer_that_is_back_says_that_it_knows_nothing(pair: tuple[Keeper, Keeper], has_called: bool) -> None:
    near, far = pair
    caller, called = pair if has_called else (far, near)
    calling = await opened(caller, called)
    (accepted,) = called.accepted
    assert isinstance(accepted, UdpLink)
    link, its = (calling, accepted) if has_called else (accepted, calling)
    say(its)
    await near.end.wait(MessageReceived)
    far.die()
    address = far.listener.address
    again = Keeper(address.host, address.port, far.identity)
    try:
        say(link)
        event, took = await ended(near)
        assert event.reason is CloseReason.LOST and took < SOON
        await near.call(address, far.identity.peer_id)
        await near.end.wait(Opened)
        await again.end.wait(Opened)
    finally:
        again.stop()


async def test_forged_complaints_end_nothing(pair: tuple[Keeper, Keeper]) -> None:
    near, far = pair
    link = await opened(near, far)
    (sock,) = near.carrier._sockets
    for error in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EMSGSIZE, errno.EACCES):
        for quoted in (b"", bytes(16), SeededRng(1).bytes(16)):
            sock._add_fault(link.remote, error, 68 if error == errno.EMSGSIZE else None, quoted)
    near.carrier.socket_faulted(sock)
    assert link.session.state is State.OPEN and link.session.hearsay._liveness._doubt_ends_at == float("inf")
    say(link)
    await far.end.wait(MessageReceived)


# A narrow place on the way ------------------------------------------------------------------------------------------


@pytest.fixture
def route() -> Iterator[None]:
    with routed():
        yield


class Stream:
    """Messages for as long as it is wanted; notes when they come."""

    def __init__(self, near: Keeper, far: Keeper, link: UdpLink) -> None:
        self._near, self._far, self._link = near, far, link
        self._flow = link.session.open_flow(b"x", Priority.BULK)
        self.longest = 0.0

    async def run(self, count: int) -> None:
        session, at = self._link.session, CLOCK.monotonic()
        for _ in range(count):
            while session.queued_bytes < 1 << 20:
                session.send(self._flow, [bytes(32_768)])
            self._link.pump()
            await self._far.end.wait(MessageReceived)
            now = CLOCK.monotonic()
            self.longest, at = max(self.longest, now - at), now


@needs("ip")
@pytest.mark.root
@pytest.mark.parametrize("is_ipv6", [False, True], ids=["IPv4", "IPv6"])
async def test_a_hop_that_becomes_narrow_is_no_pause(route: None, is_ipv6: bool) -> None:
    """A router in the middle; behind it the link goes from 1,500 bytes to 1,300 while a transfer runs."""
    with inside(ANN):
        near = Keeper("::" if is_ipv6 else "0.0.0.0")
    with inside(BOB):
        far = Keeper(FAR_IPV6 if is_ipv6 else FAR_IPV4)
    try:
        link = await opened(near, far)
        path = link.session._path
        stream = Stream(near, far, link)
        async with asyncio.timeout(30):
            while path.packet_bytes != path._ethernet:
                await stream.run(50)
        stream.longest = 0.0
        narrow(1300)
        async with asyncio.timeout(30):
            while path.packet_bytes == path._ethernet:
                await stream.run(10)
            await stream.run(300)
        assert path._hinted == path._ethernet, "by the router's word, not by loss"
        assert BASE_BYTES <= path.packet_bytes <= 1300 - (48 if is_ipv6 else 28)
        assert stream.longest < 3.0, f"{stream.longest:.3f} s"
    finally:
        near.stop()
        far.stop()
