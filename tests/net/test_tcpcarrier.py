"""Connecting and accepting over TCP, with real sockets on loopback."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.errors import LocalError, Unreachable
from swarmd.core.ids import PeerId
from swarmd.core.rng import SystemRng
from swarmd.identity.identity import Identity
from swarmd.net import tcpcarrier
from swarmd.net.link import Link
from swarmd.net.tcp import TcpLink
from swarmd.net.tcpcarrier import TcpCarrier, TcpListener, connect
from swarmd.transport.api import Closed, CloseReason, Event, MessageReceived, Opened, Priority, State
from swarmd.transport.paths import Kind
from tests.net.tcp_host import End, Host


class Refusing(socket.socket):
    """A listening socket whose first accept fails, as the system may say; the connection waits on."""

    error: int | None = None

    def accept(self) -> tuple[socket.socket, tuple[object, ...]]:
        if self.error is not None:
            error, self.error = self.error, None
            raise OSError(error, os.strerror(error))
        return super().accept()


@pytest.mark.parametrize(
    "error",
    [errno.EAGAIN, errno.EINTR, errno.ECONNABORTED, *sorted(tcpcarrier.SHORTAGES | tcpcarrier.NETWORK_ERRORS)],
    ids=errno.errorcode.get,
)
async def test_a_connection_that_cannot_be_accepted_ends_no_listener(
    error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcpcarrier, "_PAUSE_PERIOD", 0.01)
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    host = Host()
    refusing = Refusing(fileno=host.listener._socket.detach())
    refusing.error = error
    host.listener._socket = refusing
    sock = await connect(host.listener.address)
    async with asyncio.timeout(20):
        await host.accepted.get()
    assert refusing.error is None, "it was refused once"
    assert not faults
    sock.close()
    host.close()


async def test_an_error_that_is_our_own_is_not_hidden() -> None:
    faults: list[dict[str, object]] = []
    fault_seen = asyncio.Event()

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        faults.append(context)
        fault_seen.set()

    asyncio.get_running_loop().set_exception_handler(note)
    host = Host()
    refusing = Refusing(fileno=host.listener._socket.detach())
    refusing.error = errno.EINVAL
    host.listener._socket = refusing
    sock = await connect(host.listener.address)
    async with asyncio.timeout(20):
        await fault_seen.wait()
    assert [type(fault["exception"]) for fault in faults] == [OSError]
    sock.close()
    host.close()


async def test_connect_says_why_not() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unreachable, match="refused"):
            await connect(Address("127.0.0.1", port))


async def test_port_in_use_is_a_clear_error() -> None:
    host = Host()
    with pytest.raises(LocalError, match=r"cannot listen on 127.0.0.1:.*in use"):
        TcpListener(host.listener.address, host, asyncio.get_running_loop())
    host.close()


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_no_descriptor_for_a_connection_is_said_as_any_other_reason() -> None:
    address = Address("127.0.0.1", 9)
    with no_descriptor_left(), pytest.raises(Unreachable, match=r"127\.0\.0\.1:9: Too many open files"):
        await connect(address)


async def test_no_descriptor_for_a_listener_is_said_as_any_other_reason() -> None:
    host = Host()
    with no_descriptor_left(), pytest.raises(LocalError, match="Too many open files") as caught:
        TcpListener(Address("127.0.0.1", 0), host, asyncio.get_running_loop())
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.EMFILE
    host.close()


# The carrier ------------------------------------------------------------------------------------------------------


class Keeper:
    """An owner with a carrier and a listener; takes whoever calls while there is room."""

    def __init__(self) -> None:
        self.identity = Identity.generate()
        self.carrier = TcpCarrier(self.identity, SystemRng(), SystemClock(), self)
        self.listener = self.carrier.open_listener(Address("127.0.0.1", 0))
        self.has_room = True
        self.asked: list[Address] = []
        self.accepted: list[Link] = []
        self.end = End()

    def has_room_for(self, remote: Address) -> bool:
        self.asked.append(remote)
        return self.has_room

    def link_accepted(self, link: Link) -> None:
        self.accepted.append(link)
        link.start()

    def link_event(self, link: Link, event: Event) -> None:
        self.end.link_event(link, event)

    async def call(self, other: Keeper, wanted: PeerId | None = None) -> Link:
        link = await self.carrier.connect(other.listener.address, wanted)
        assert self.end.events.empty(), "nothing happens before it is started"
        link.start()
        return link


@pytest.fixture
async def keepers() -> AsyncIterator[tuple[Keeper, Keeper]]:
    near, far = Keeper(), Keeper()
    yield near, far
    for keeper in (near, far):
        keeper.listener.close()
        keeper.carrier.stop()


async def test_a_link_is_made_at_both_ends(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    link: Link = await near.call(far, far.identity.peer_id)
    await near.end.wait(Opened)
    await far.end.wait(Opened)
    (other,) = far.accepted
    assert link.session.peer_id == far.identity.peer_id and other.session.peer_id == near.identity.peer_id
    assert link.kind is other.kind is near.carrier.kind is Kind.TCP
    assert link.remote == other.local == far.listener.address and link.local == other.remote == far.asked[0]
    assert link.sent_bytes and other.received_bytes and link.rtt is not None


async def test_who_is_not_wanted_is_not_kept(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    link = await near.call(far, near.identity.peer_id)
    event = await near.end.wait(Closed)
    assert isinstance(event, Closed) and event.reason is CloseReason.LOST
    assert link.is_closed


async def test_without_room_nobody_is_taken(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    far.has_room = False
    await near.call(far)
    await near.end.wait(Closed)
    assert len(far.asked) == 1 and not far.accepted


async def test_stopping_ends_links_that_cannot_say_their_last_word(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    link = await near.call(far)
    await near.end.wait(Opened)
    await far.end.wait(Opened)
    deaf = far.accepted[0]
    assert isinstance(deaf, TcpLink)
    asyncio.get_running_loop().remove_reader(deaf._fd)
    flow = link.session.open_flow(b"bulk", Priority.BULK)
    for _ in range(60):
        link.session.send(flow, [bytes(500_000)])
    link.pump()
    link.close()
    assert link.session.state is State.CLOSED and not link.is_closed
    near.carrier.stop()
    assert link.is_closed


async def test_memory_that_nobody_needs_is_let_go(keepers: tuple[Keeper, Keeper]) -> None:
    near, far = keepers
    link = await near.call(far)
    await far.end.wait(Opened)
    flow = link.session.open_flow(b"bulk", Priority.BULK)
    for _ in range(8):
        link.session.send(flow, [bytes(500_000)])
    link.pump()
    for _ in range(8):
        await far.end.wait(MessageReceived)
    far.carrier.shrink()
    assert far.carrier.shrink(), "what was used before the last call and not since"
    assert not far.carrier.shrink()
