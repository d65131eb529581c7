"""Two protocols on one UDP socket: each gets what is its own, whatever the kernel has put together."""

from __future__ import annotations

import asyncio
import socket

from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.net.guest import sift
from swarmd.transport.api import MessageReceived, Opened, Priority
from tests.net.udp_host import Keeper

SIZE = 24
HEADS = [b"d1:", b"d2:", b"d3:", b"dd1", b"d", b"\0\0\0", b""]


@given(st.lists(st.tuples(st.sampled_from(HEADS), st.booleans()), min_size=1, max_size=70), st.integers(0, SIZE - 1))
def test_the_guest_takes_what_it_knows_and_the_rest_stays_in_order(kinds: list[tuple[bytes, bool]], cut: int) -> None:
    datagrams = [head + b"%06d%d" % (number, known) + bytes(SIZE) for number, (head, known) in enumerate(kinds)]
    datagrams = [each[:SIZE] for each in datagrams]
    datagrams[-1] = datagrams[-1][: SIZE - cut]
    shown: list[bytes] = []

    def take(datagram: bytes) -> bool:
        shown.append(datagram)
        return datagram[9:10] == b"1"

    left = sift(memoryview(b"".join(datagrams)), SIZE, take)
    expected = [each for each in datagrams if each.startswith((b"d1:", b"d2:"))]
    assert shown == expected, "each once, and only those that begin so"
    kept = [each for each in datagrams if each not in expected or each[9:10] != b"1"]
    assert b"".join(map(bytes, left)) == b"".join(kept)
    assert all(len(piece) % SIZE == 0 for piece in left[:-1])


def test_a_batch_without_a_size_is_one_datagram() -> None:
    assert sift(memoryview(b"d1:x"), 0, lambda datagram: datagram == b"d1:x") == []
    assert sift(memoryview(b""), 0, lambda datagram: True) == [b""]


class Echo:
    """Answers each datagram that ends with `e`; others are not its own."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self._out: list[tuple[bytes, Address]] = []

    def receive_datagram(self, data: bytes, source: Address) -> bool:
        if not data.endswith(b"e"):
            return False
        self.taken.append(data)
        self._out.append((b"d1:" + data[-2:], source))
        return True

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        out, self._out = self._out, []
        return out


async def test_sessions_and_the_guest_share_a_socket() -> None:
    near, far = Keeper(), Keeper()
    guest = Echo()
    far.carrier.host(guest)
    try:
        link = await near.call(far.listener.address)
        await near.end.wait(Opened)
        flow = link.session.open_flow(b"x", Priority.BULK)
        message = SeededRng(1).bytes(300_000)
        link.session.send(flow, [message])
        link.pump()
        answers = [await ask(far.listener.address, b"d1:%dxe" % number) for number in range(3)]
        assert answers == [b"d1:xe"] * 3
        assert guest.taken == [b"d1:%dxe" % number for number in range(3)], "and no packet of a session"
        event = await far.end.wait(MessageReceived)
        assert isinstance(event, MessageReceived)
        assert event.joined() == message
    finally:
        near.stop()
        far.stop()


async def test_what_the_guest_does_not_know_is_a_session_s() -> None:
    """And harms nobody: there is no session of that ID."""
    near, far = Keeper(), Keeper()
    guest = Echo()
    far.carrier.host(guest)
    try:
        place = far.listener.address
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"d1:" + bytes(60), (place.host, place.port))
        await near.call(place)
        await near.end.wait(Opened)
        assert await ask(place, b"d2:xe") == b"d1:xe"
        assert guest.taken == [b"d2:xe"]
        far.carrier.host(None)
        assert guest.datagrams_to_send() == []
    finally:
        near.stop()
        far.stop()


async def ask(place: Address, question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setblocking(False)
        asker.sendto(question, (place.host, place.port))
        async with asyncio.timeout(20):
            return await loop.sock_recv(asker, 2048)
