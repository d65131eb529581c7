"""A node as far as UDP goes: a carrier with a listener on real sockets, and what was heard on its links."""

from __future__ import annotations

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.ids import PeerId
from swarmd.core.rng import SystemRng
from swarmd.identity.identity import Identity
from swarmd.net.link import Link
from swarmd.net.udpcarrier import UdpCarrier, UdpLink
from swarmd.transport.api import Closed
from tests.net.tcp_host import End

LOOPBACK = "127.0.0.1"


class Keeper:
    """An owner with a carrier and a listener; takes whoever calls while there is room."""

    def __init__(self, host: str = LOOPBACK, port: int = 0, identity: Identity | None = None) -> None:
        self.identity = identity or Identity.generate()
        self.carrier = UdpCarrier(self.identity, SystemRng(), SystemClock(), self)
        self.listener = self.carrier.open_listener(Address(host, port))
        self.has_room = True
        self.accepted: list[Link] = []
        self.end = End()

    def has_room_for(self, remote: Address) -> bool:
        return self.has_room

    def link_accepted(self, link: Link) -> None:
        self.accepted.append(link)
        link.start()

    def link_event(self, link: Link, event: object) -> None:
        self.end.link_event(link, event)  # type: ignore[arg-type]

    async def call(self, address: Address, wanted: PeerId | None = None) -> UdpLink:
        link = await self.carrier.connect(address, wanted)
        assert self.end.events.empty(), "nothing happens before it is started"
        link.start()
        return link

    async def closed(self) -> Closed:
        event = await self.end.wait(Closed)
        assert isinstance(event, Closed)
        return event

    def die(self) -> None:
        """As by SIGKILL: nobody is told."""
        for sock in self.carrier._sockets:
            sock.close()
        self.stop()

    def stop(self) -> None:
        self.listener.close()
        self.carrier.stop()
