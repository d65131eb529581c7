"""Links over TCP: sessions over real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from swarmd.net import tcp
from swarmd.net.tcp import TcpLink
from swarmd.net.tcpcarrier import connect
from swarmd.transport.api import Closed, CloseReason, MessageReceived, Opened, Priority
from tests.net.tcp_host import Host


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


def congestion_control(link: TcpLink) -> bytes:
    return link._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.mark.parametrize("is_there", [True, False])
async def test_the_kernel_is_asked_to_give_way_while_only_background_is_sent(
    hosts: tuple[Host, Host, TcpLink, TcpLink], monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """With Reno, which everybody may have, in the place of the scavenger; and where there is none, nothing is lost."""
    _, far, link, _ = hosts
    usual, scavenger = congestion_control(link), b"reno" if is_there else b"of no kernel"
    monkeypatch.setattr(tcp, "_SCAVENGER", scavenger)
    background = link.session.open_flow(b"background", Priority.BACKGROUND)
    bulk = link.session.open_flow(b"bulk", Priority.BULK)
    for flow, wanted in ((background, scavenger if is_there else usual), (bulk, usual)):
        link.session.send(flow, [bytes(1000)])
        link.pump()
        assert isinstance(await far.end.wait(MessageReceived), MessageReceived)
        assert congestion_control(link) == wanted
        assert link.session.is_background is (flow == background)
