"""The TCP driver over real sockets on loopback."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.errors import LocalError
from swarmd.core.rng import SystemRng
from swarmd.identity.identity import Identity
from swarmd.net import tcp
from swarmd.net.tcp import Accepted, TcpLink, TcpListener, connect
from swarmd.transport.api import Closed, CloseReason, Event, MessageReceived, Opened, Priority
from swarmd.transport.tcp.session import TcpSession


class End:
    """One end of a link: collects events, and can wait for one of a kind."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    def link_event(self, link: TcpLink, event: Event) -> None:
        self.events.put_nowait(event)

    async def wait(self, kind: type[Event]) -> Event:
        async with asyncio.timeout(20):
            while not isinstance(event := await self.events.get(), kind):
                pass
            return event


class Host:
    """A node with a listener and at most one link."""

    def __init__(self) -> None:
        self.identity = Identity.generate()
        self.end = End()
        self.accepted: asyncio.Queue[TcpLink] = asyncio.Queue()
        self.links: list[TcpLink] = []
        self.listener = TcpListener(Address("127.0.0.1", 0), self, asyncio.get_running_loop())

    def link(self, sock: socket.socket, initiator: bool) -> TcpLink:
        session = TcpSession(self.identity, SystemRng(), SystemClock().monotonic(), is_initiator=initiator)
        link = TcpLink(sock, session, self.end, SystemClock(), asyncio.get_running_loop())
        self.links.append(link)
        link.start()
        return link

    def connection_accepted(self, accepted: Accepted) -> None:
        self.accepted.put_nowait(self.link(accepted.socket, initiator=False))

    def close(self) -> None:
        self.listener.close()
        for link in self.links:
            link.abort()


@pytest.fixture
async def hosts() -> AsyncIterator[tuple[Host, Host, TcpLink, TcpLink]]:
    near, far = Host(), Host()
    link = near.link(await connect(far.listener.address), initiator=True)
    await near.end.wait(Opened)
    other = await far.accepted.get()
    await far.end.wait(Opened)
    yield near, far, link, other
    near.close()
    far.close()


async def test_large_messages_cross_and_memory_stays_bounded(
    hosts: tuple[Host, Host, TcpLink, TcpLink],
) -> None:
    _, far, link, _ = hosts
    flow = link.session.open_flow(b"bulk", Priority.BULK)
    body = bytes(range(256)) * 1024
    for _ in range(40):
        link.session.send(flow, [b"head", body])
    link.pump()
    for _ in range(40):
        message = await far.end.wait(MessageReceived)
        assert isinstance(message, MessageReceived) and message.joined() == b"head" + body


async def test_close_is_heard_with_its_reason(hosts: tuple[Host, Host, TcpLink, TcpLink]) -> None:
    near, far, link, _ = hosts
    link.close(CloseReason.DENIED, "not today")
    assert await far.end.wait(Closed) == Closed(CloseReason.DENIED, "not today", by_peer=True)
    assert await near.end.wait(Closed) == Closed(CloseReason.DENIED, "not today")
    assert link.is_closed


async def test_a_cut_connection_ends_both(hosts: tuple[Host, Host, TcpLink, TcpLink]) -> None:
    near, _, link, other = hosts
    other.abort()
    event = await near.end.wait(Closed)
    assert isinstance(event, Closed) and event.reason is CloseReason.LOST
    assert link.is_closed and other.is_closed


async def test_garbage_ends_the_session_only() -> None:
    host = Host()
    reader, writer = await asyncio.open_connection(host.listener.address.host, host.listener.address.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
    event = await host.end.wait(Closed)
    assert isinstance(event, Closed) and event.reason is CloseReason.PROTOCOL
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    host.close()


async def test_bulk_in_the_kernel_stays_short_while_the_peer_does_not_read(
    hosts: tuple[Host, Host, TcpLink, TcpLink],
) -> None:
    """What cannot be sent stays in the session, where a control message can still overtake it."""
    _, _, link, other = hosts
    asyncio.get_running_loop().remove_reader(other._fd)
    flow = link.session.open_flow(b"bulk", Priority.BULK)
    for _ in range(100):
        link.session.send(flow, [bytes(256 * 1024)])
    link.pump()
    before = -1
    while before != link.session.queued_bytes:
        before = link.session.queued_bytes
        for _ in range(200):
            link.pump()
    assert link._unsent_bytes() <= 2 * 256 * 1024 + 4096


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
    [
        errno.EAGAIN,
        errno.EINTR,
        errno.ECONNABORTED,
        errno.EMFILE,
        errno.ENOMEM,
        errno.EPERM,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENONET,
        errno.ETIMEDOUT,
    ],
    ids=errno.errorcode.get,
)
async def test_a_connection_that_cannot_be_accepted_ends_no_listener(
    error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "_PAUSE_PERIOD", 0.01)
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


async def test_connect_says_why_not() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(LocalError, match="refused"):
            await connect(Address("127.0.0.1", port))


async def test_port_in_use_is_a_clear_error() -> None:
    host = Host()
    with pytest.raises(LocalError, match=r"cannot listen on 127.0.0.1:.*in use"):
        TcpListener(host.listener.address, host, asyncio.get_running_loop())
    host.close()
