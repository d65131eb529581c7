"""Paths that take less than they did, and sessions of the plain profile, whose packets a test can read."""

from __future__ import annotations

import pytest

from swarmd.core.rng import SeededRng
from swarmd.transport.api import Priority, State
from swarmd.transport.rtmfp.chunks import PacketFragment
from swarmd.transport.rtmfp.pathmtu import BASE_BYTES
from tests.transport.rtmfp.network import Weather
from tests.transport.rtmfp.scenes import chunks_sent, plain_scene, scene


@pytest.mark.parametrize("before", [1472, 8972])
@pytest.mark.parametrize("seed", range(2))
def test_a_black_hole_in_the_middle_of_a_transfer(before: int, seed: int) -> None:
    it = scene(seed, Weather(delay=0.01, loss=0.002, largest=before))
    flow = it.one.open_flow(b"bulk", Priority.BULK)
    rng = SeededRng(seed)
    messages = [rng.bytes(60_000) for _ in range(100)]
    for message in messages[:50]:
        it.one.send(flow, [message])
    assert it.until(lambda: len(it.received(flow)) == 50, 60)
    assert it.one._path.packet_bytes == before
    for message in messages[50:]:
        it.one.send(flow, [message])
    it.network.run_for(0.001)  # some of it is cut already, and under way
    it.network.weather.largest = BASE_BYTES
    since = it.network.now
    assert it.until(lambda: len(it.received(flow)) == 100, 60)
    assert it.received(flow) == messages
    assert it.one._path.packet_bytes == BASE_BYTES and it.network.now - since < 15
    assert it.one.state is it.other.state is State.OPEN


@pytest.mark.parametrize("seed", range(20))
def test_packets_are_not_cut_in_parts_where_the_path_has_not_changed(seed: int) -> None:
    """Not everybody can put them together: a fragment that is sent again has a packet of the least header for itself,
    if that is what it was cut for."""
    it = plain_scene(seed, Weather(loss=0.15, jitter=0.02, largest=BASE_BYTES))
    rng = SeededRng(seed)
    there, back = it.one.open_flow(b"there", Priority.BULK), it.other.open_flow(b"back", Priority.BULK)
    urgent = it.one.open_flow(b"urgent", Priority.TIME_CRITICAL)
    messages = [rng.bytes(rng.choice((0, 1, 300, 30_000))) for _ in range(30)]
    for message in messages:
        it.one.send(there, [message])
        it.one.send(urgent, [message[:700]])
        it.other.send(back, [message])
    assert it.until(lambda: it.received(there) == it.answered(back) == messages, 120)
    assert it.until(lambda: it.received(urgent) == [message[:700] for message in messages], 120)
    for node, session in ((it.near, it.other), (it.far, it.one)):
        assert not any(isinstance(chunk, PacketFragment) for chunk in chunks_sent(node, {session.near_id}))
        assert all(len(data) <= BASE_BYTES or len(data) > 1300 for _, data in node.sent)  # the latter are probes
