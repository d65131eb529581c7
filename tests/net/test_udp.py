"""The UDP socket over loopback."""

from __future__ import annotations

import asyncio
import os
import random
import socket

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError
from swarmd.net import udp, udpoptions
from swarmd.net.udp import UdpSocket
from tests.net.sides import SEGMENT, Make, cut, families

forced_off = pytest.mark.parametrize("segments", [True, False], ids=["UDP_SEGMENT", "one by one"])
gathered = pytest.mark.parametrize("gather", [True, False], ids=["UDP_GRO", "no UDP_GRO"])


def without_gathering(sock: UdpSocket) -> None:
    sock.can_gather = udpoptions.gather(sock._socket, wanted=False)


# Batches --------------------------------------------------------------------------------------------------------


@families
@forced_off
@gathered
@pytest.mark.parametrize("size", [1, SEGMENT, SEGMENT + 1, 46 * SEGMENT, 46 * SEGMENT + 1, 200_000])
async def test_every_datagram_arrives_as_it_was_cut(
    side: Make, address: Address, segments: bool, gather: bool, size: int
) -> None:
    near, far = side(address), side(address)
    near.socket.can_segment &= segments
    if not gather:
        without_gathering(far.socket)
    blob = random.Random(size).randbytes(size)
    assert near.socket.send(blob, SEGMENT, far.address) == size
    await far.until(lambda: sum(map(len, far.datagrams)) >= size)
    assert far.datagrams == cut(blob)
    assert set(far.sources) == {near.address}
    assert near.socket.sent_bytes == near.moved == size == far.socket.received_bytes == far.moved
    assert not near.faults


async def test_many_tiny_segments_and_few_huge_ones(side: Make) -> None:
    near, far = side(), side()
    for segment, size in ((1, 200), (40_000, 120_000), (65_507, 65_507)):
        blob = random.Random(segment).randbytes(size)
        far.datagrams.clear()
        assert near.socket.send(blob, segment, far.address) == size
        await far.until(lambda size=size: sum(map(len, far.datagrams)) >= size)  # type: ignore[misc]
        assert far.datagrams == cut(blob, segment)


async def test_this_kernel_is_used_for_what_it_can(side: Make) -> None:
    """Linux from 5.0 on: both directions in batches, in one call for all."""
    near, far = side(), side()
    if not (near.socket.can_segment and far.socket.can_gather):
        pytest.skip("a kernel without UDP_SEGMENT or UDP_GRO")
    far.socket.pause()
    near.socket.send(bytes(46 * SEGMENT), SEGMENT, far.address)
    (batch,) = far.socket.receive()
    assert (len(batch.data), batch.segment_bytes, batch.source) == (46 * SEGMENT, SEGMENT, near.address)


async def test_many_senders_are_told_apart(side: Make) -> None:
    far = side()
    near = [side() for _ in range(40)]
    for round_ in range(5):
        for number, each in enumerate(near):
            blob = bytes([number, round_]) * 300
            assert each.socket.send(blob, 100, far.address) == len(blob)
    await far.until(lambda: len(far.datagrams) >= 40 * 5 * 6)
    by_address = {each.address: number for number, each in enumerate(near)}
    assert all(datagram[0] == by_address[source] for datagram, source in zip(far.datagrams, far.sources, strict=True))


@gathered
async def test_neighbours_form_one_batch_however_they_came(side: Make, gather: bool) -> None:
    """As long as their source and size are the same; a shorter one may be the last."""
    near, other, far = side(), side(), side()
    far.socket.pause()
    if not gather:
        without_gathering(far.socket)
    for sender, sizes in ((near, [10, 10, 7]), (near, [7, 7]), (other, [7]), (near, [3]), (near, [9])):
        assert sender.socket.send(bytes(sum(sizes)), sizes[0], far.address) == sum(sizes)
    batches = [(batch.source, len(batch.data), batch.segment_bytes) for batch in far.socket.receive()]
    first = (
        [(near.address, 27, 10), (near.address, 14, 7)] if gather else [(near.address, 20, 10), (near.address, 21, 7)]
    )
    assert batches == [*first, (other.address, 7, 7), (near.address, 3, 3), (near.address, 9, 9)]


@gathered
async def test_what_was_received_stays_until_the_next_receive(side: Make, gather: bool) -> None:
    near, far = side(), side()
    far.socket.pause()
    if not gather:
        without_gathering(far.socket)
    blobs = [bytes([number]) * 5 * SEGMENT for number in range(20)]
    for blob in blobs:
        near.socket.send(blob, SEGMENT, far.address)
    batches = far.socket.receive()
    assert b"".join(batch.data for batch in batches) == b"".join(blobs)
    near.socket.send(bytes(SEGMENT), SEGMENT, far.address)
    assert b"".join(batch.data for batch in batches) == b"".join(blobs), "though more has come meanwhile"


@gathered
async def test_a_flood_starves_nobody(side: Make, gather: bool) -> None:
    """What waits is read in turns, and others are called between them."""
    near, far = side(), side()
    far.socket.pause()
    if not gather:
        without_gathering(far.socket)
    for _ in range(60):
        assert near.socket.send(bytes(50 * 60), 60, far.address) == 50 * 60
    others = 0

    def other() -> None:
        nonlocal others
        others += 1
        asyncio.get_running_loop().call_soon(other) if len(far.datagrams) < 3000 else None

    other()
    far.socket.resume()
    await far.until(lambda: len(far.datagrams) == 3000)
    assert max(far.turns) < udp._TURN_DATAGRAMS + udp._SEGMENTS
    assert others >= len(far.turns) - 1 >= 3000 // (udp._TURN_DATAGRAMS + udp._SEGMENTS)


async def test_one_turn_gives_no_more_bytes_than_its_memory_holds(side: Make) -> None:
    near, far = side(), side()
    far.socket.pause()
    for _ in range(20):
        assert near.socket.send(bytes(60_000), 60_000, far.address) == 60_000
    first = sum(len(batch.data) for batch in far.socket.receive())
    assert udp._TURN_BYTES <= first < udp._TURN_BYTES + udp._DATAGRAM_BYTES
    while batches := far.socket.receive():
        first += sum(len(batch.data) for batch in batches)
    assert first == 20 * 60_000


async def test_what_does_not_fit_is_dropped_and_counted(side: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "_TURN_BYTES", 1000)
    monkeypatch.setattr(udp, "_DATAGRAM_BYTES", 1000)
    near, far = side(), side()
    for size in (100, 5000, 200):
        near.socket.send(bytes(size), size, far.address)
    await far.until(lambda: len(far.datagrams) == 2)
    assert [*map(len, far.datagrams)] == [100, 200]
    assert far.socket.truncated == 1


async def test_an_empty_datagram_is_nobodys_business(side: Make) -> None:
    near, far = side(), side()
    near.socket._socket.sendto(b"", (far.address.host, far.address.port))
    near.socket.send(b"x", 1, far.address)
    await far.until(lambda: far.datagrams)
    assert (far.datagrams, far.socket.truncated) == ([b"x"], 0)


async def test_datagrams_that_find_the_buffer_full_are_counted(side: Make) -> None:
    near, far = side(), side()
    far.socket.pause()
    far.socket._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(100):
        near.socket.send(bytes(1000), 1000, far.address)
    assert far.socket.overflowed > 50
    assert far.socket.receive()


# The socket itself ------------------------------------------------------------------------------------------------


async def test_pause_and_resume(side: Make) -> None:
    near, far = side(), side()
    far.socket.pause()
    near.socket.send(b"x", 1, far.address)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not far.turns
    far.socket.resume()
    await far.until(lambda: far.datagrams)


@families
async def test_an_address_in_use_is_a_clear_error(side: Make, address: Address) -> None:
    near = side(address)
    with pytest.raises(LocalError, match=r"cannot listen on .*in use") as caught:
        UdpSocket(near.address, asyncio.get_running_loop())
    assert isinstance(caught.value.__cause__, OSError)


async def test_both_families_share_a_port(side: Make) -> None:
    first = side(Address("0.0.0.0", 0))
    second = side(Address("::", first.address.port))
    assert second.address.port == first.address.port


async def test_root_has_the_buffer_it_wants(side: Make) -> None:
    wanted = udpoptions.RECEIVE_BUFFER_BYTES
    assert side().socket.receive_buffer_bytes >= (wanted if os.geteuid() == 0 else 1)
