"""A node as far as TCP goes: a listener and its links over real sockets on loopback, and what was heard on them."""

from __future__ import annotations

import asyncio
import socket

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.rng import SystemRng
from swarmd.identity.identity import Identity
from swarmd.net.link import Link
from swarmd.net.tcp import TcpLink
from swarmd.net.tcpcarrier import Accepted, TcpListener
from swarmd.transport.api import Event
from swarmd.transport.tcp.session import TcpSession


class End:
    """One end of a link: collects events, and can wait for one of a kind."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    def link_event(self, link: Link, event: Event) -> None:
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
