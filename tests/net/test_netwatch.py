"""Changes of the network are noticed: in a network namespace, where they can be made."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.net import netwatch
from swarmd.net.netwatch import NetWatch, is_change
from tests.e2e.privileges import needs
from tests.net.namespaces import ANN, inside, ip

HEADER = struct.Struct("=IHHII")
LINK = struct.Struct("=BxHiII")


class Watched:
    """A watch of ANN's network."""

    def __init__(self) -> None:
        self.count = 0
        self.told = asyncio.Event()
        with inside(ANN):
            self.watch = NetWatch(self._changed, asyncio.get_running_loop())

    def _changed(self) -> None:
        self.count += 1
        self.told.set()

    async def next(self) -> None:
        async with asyncio.timeout(20):
            await self.told.wait()
        self.told.clear()


@pytest.fixture
async def watched(wired: None) -> Watched:
    """Whatever the making of the cable still causes is over: a change of ours is heard, and then nothing more."""
    watched = Watched()
    ip(f"-netns {ANN} address add 10.79.33.1/24 dev lan0")
    await watched.next()
    return watched


@needs("ip")
@pytest.mark.root
@pytest.mark.parametrize(
    "change",
    [
        "address add 10.79.34.1/24 dev lan0",
        "address delete 10.79.31.1/24 dev lan0",
        "address add fd80::7/64 dev lan0 nodad",
        "route add 192.0.2.0/24 via 10.79.31.2",
        "-6 route add default via fd79:31::2",
        "link set lan0 down",
        "link add other0 type veth peer name other1",
    ],
)
async def test_a_change_is_told(watched: Watched, change: str) -> None:
    ip(f"-netns {ANN} {change}")
    await watched.next()
    watched.watch.close()


@needs("ip")
@pytest.mark.root
async def test_a_burst_is_told_once(wired: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netwatch, "_SETTLE_PERIOD", 1.0)
    watched = Watched()
    assert watched.watch.note is None
    for number in range(50, 60):
        ip(f"-netns {ANN} address add 10.79.{number}.1/24 dev lan0")
    await watched.next()
    assert watched.count == 1
    watched.watch.close()


class Overrun(socket.socket):
    """Says once that more has happened than the kernel kept."""

    is_overrun = True

    def recvfrom(self, *arguments: int) -> tuple[bytes, object]:
        if self.is_overrun:
            self.is_overrun = False
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        return super().recvfrom(*arguments)


async def test_more_than_the_kernel_keeps_is_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    told = asyncio.Event()
    watch = NetWatch(told.set, asyncio.get_running_loop())
    assert watch._socket is not None
    watch._socket = Overrun(fileno=watch._socket.detach())
    watch._on_readable()
    async with asyncio.timeout(20):
        await told.wait()
    watch.close()


@needs("ip")
@pytest.mark.root
async def test_close_ends_what_was_about_to_be_told(wired: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netwatch, "_SETTLE_PERIOD", 0.0)
    watched = Watched()
    ip(f"-netns {ANN} address add 10.79.34.1/24 dev lan0")
    watched.watch._on_readable()
    watched.watch.close()
    watched.watch.close()
    for _ in range(20):
        await asyncio.sleep(0)
    assert watched.count == 0


async def test_without_netlink_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> socket.socket:
        raise PermissionError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(socket, "socket", refuse)
    watch = NetWatch(lambda: pytest.fail("told for nothing"), asyncio.get_running_loop())
    assert watch.note == (
        "changes of the network are not noticed at once: no netlink (Address family not supported by protocol)"
    )
    watch.close()


def link_message(changed_flags: int, kind: int = 16) -> bytes:
    body = LINK.pack(0, 1, 2, 0x11043, changed_flags)
    return HEADER.pack(HEADER.size + len(body), kind, 0, 0, 0) + body


def test_statistics_of_a_link_are_no_change() -> None:
    assert not is_change(link_message(0))
    assert is_change(link_message(1))
    assert is_change(link_message(0) + link_message(1))
    assert is_change(link_message(0) + HEADER.pack(HEADER.size, 20, 0, 0, 0))
    assert not is_change(HEADER.pack(HEADER.size, 28, 0, 0, 0)), "a neighbour"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_change_or_none(data: bytes) -> None:
    assert is_change(data) in (True, False)
