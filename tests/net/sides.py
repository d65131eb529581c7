"""UDP sockets for tests, with what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from swarmd.core.addresses import Address
from swarmd.net.udp import Fault, UdpSocket

IPV4, IPV6 = Address("127.0.0.1", 0), Address("::1", 0)
SEGMENT = 1400
families = pytest.mark.parametrize("address", [IPV4, IPV6], ids=["IPv4", "IPv6"])


class Side:
    """One socket and all it is told. Each datagram is copied at once, as their memory is used again."""

    def __init__(self, address: Address) -> None:
        self.moved = 0
        self.socket = UdpSocket(address, asyncio.get_running_loop(), self._count)
        self.datagrams: list[bytes] = []
        self.sources: list[Address] = []
        self.locals: list[Address | None] = []
        self.turns: list[int] = []
        self.faults: list[Fault] = []
        self.writable = 0
        self.told = asyncio.Event()
        self.socket.start(self)

    def _count(self, count: int) -> None:
        self.moved += count

    @property
    def address(self) -> Address:
        return self.socket.address

    def socket_readable(self, sock: UdpSocket) -> None:
        before = len(self.datagrams)
        for data, segment, source, local in sock.receive():
            for start in range(0, len(data), segment):
                self.datagrams.append(bytes(data[start : start + segment]))
                self.sources.append(source)
                self.locals.append(local)
        self.turns.append(len(self.datagrams) - before)
        self.told.set()

    def socket_writable(self, sock: UdpSocket) -> None:
        self.writable += 1
        self.told.set()

    def socket_faulted(self, sock: UdpSocket) -> None:
        self.faults += sock.errors()
        self.told.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.told.clear()
                await self.told.wait()


Make = Callable[..., Side]


def cut(blob: bytes, segment: int = SEGMENT) -> list[bytes]:
    return [blob[start : start + segment] for start in range(0, len(blob), segment)]
