"""What the network says of a session, true or forged: the session looks for itself, and loses nothing by a lie."""

from __future__ import annotations

import pytest

from swarmd.core.rng import SeededRng
from swarmd.transport.api import Closed, CloseReason, Priority, State
from swarmd.transport.rtmfp.chunks import Ping
from swarmd.transport.rtmfp.hearsay import PATIENCE_TIMEOUT, PATIENCE_TIMEOUTS
from swarmd.transport.rtmfp.liveness import DOUBT_PERIOD, SILENCE_TIMEOUT
from swarmd.transport.rtmfp.pathmtu import BASE_BYTES
from tests.transport.rtmfp.network import Weather
from tests.transport.rtmfp.scenes import Scene, chunks_sent, plain_scene, scene


def silent(it: Scene) -> Scene:
    it.network.run_for(2)
    it.network.weather.loss = 1.0
    return it


def gone_after(it: Scene) -> float:
    since = it.network.now
    assert it.until(lambda: it.one.state is State.CLOSED, 60)
    last = it.near.events[it.one][-1]
    assert isinstance(last, Closed) and last.reason is CloseReason.TIMED_OUT
    return it.network.now - since


def pings(it: Scene) -> int:
    return sum(isinstance(chunk, Ping) for chunk in chunks_sent(it.near, {it.other.near_id}))


def test_a_peer_that_is_not_there_is_given_up_soon() -> None:
    it = silent(plain_scene())
    before = pings(it)
    it.one.hearsay.nobody_there(it.network.now, is_sure=True)
    took = gone_after(it)
    assert PATIENCE_TIMEOUT <= took < PATIENCE_TIMEOUT + DOUBT_PERIOD
    assert pings(it) - before >= PATIENCE_TIMEOUT / DOUBT_PERIOD - 1, "several, for one may be lost"


def test_on_a_slow_path_it_takes_as_long_as_an_answer_may() -> None:
    it = silent(scene(weather=Weather(delay=1.0)))
    it.one.hearsay.nobody_there(it.network.now, is_sure=True)
    assert 2 * 2.0 < gone_after(it) < SILENCE_TIMEOUT
    assert PATIENCE_TIMEOUTS * 2.0 > PATIENCE_TIMEOUT


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_peer_that_is_there_loses_nothing(loss: float) -> None:
    """A hundred forged messages a second for a minute, which quote packets of the session: by somebody on the path."""
    it = plain_scene(3)
    it.network.run_for(2)
    it.network.weather.loss = loss
    before = pings(it)
    for _ in range(6000):
        it.one.hearsay.nobody_there(it.network.now, is_sure=True)
        it.network.run_for(0.01)
    assert it.one.state is it.other.state is State.OPEN
    assert pings(it) - before <= 60 / DOUBT_PERIOD + 2


def test_who_cannot_show_a_packet_of_the_session_causes_a_ping_a_second() -> None:
    it = plain_scene()
    it.network.run_for(2)
    before = pings(it)
    for _ in range(1000):
        it.one.hearsay.nobody_there(it.network.now, is_sure=False)
        it.network.run_for(0.01)
    assert it.one.state is State.OPEN and pings(it) - before <= 11
    it.network.run_for(1.1)
    it.network.weather.loss = 1.0
    it.one.hearsay.nobody_there(it.network.now, is_sure=False)
    assert SILENCE_TIMEOUT - 0.01 < gone_after(it) < SILENCE_TIMEOUT + 1


class Transfer:
    """That goes on for as long as the test, and the longest time in which nothing of it came."""

    def __init__(self, it: Scene) -> None:
        self.it, self.longest = it, 0.0
        self.flow = it.one.open_flow(b"bulk", Priority.BULK)
        self.rng = SeededRng(1)
        self.count, self.at = 0, it.network.now

    def run(self, seconds: float) -> None:
        it = self.it
        for _ in range(round(seconds / 0.01)):
            while it.one.queued_bytes < 100_000:
                it.one.send(self.flow, [self.rng.bytes(20_000)])
            it.network.run_for(0.01)
            it.network.collect()
            count = len(it.received(self.flow))
            if count > self.count:
                self.longest = max(self.longest, it.network.now - self.at)
                self.count, self.at = count, it.network.now
            assert it.network.now - self.at < 1.0, "it stands still"


def test_a_narrow_place_that_is_told_causes_no_pause() -> None:
    it = scene(weather=Weather(delay=0.02, largest=1472))
    it.one._sending.controller.on_timeout(it.network.now)  # a small window: the simulation is slow
    transfer = Transfer(it)
    transfer.run(0.4)
    assert it.one._path.packet_bytes == 1472
    told = False

    def tell(source: object, target: object, data: bytes) -> bool:
        nonlocal told
        if source == it.near.address and len(data) > 1252 and not told:
            told = True
            it.one.hearsay.too_big(1252, it.network.now)
        return len(data) > 1252

    it.network.lose = tell
    transfer.longest = 0.0
    transfer.run(0.4)
    assert told and it.one._path.packet_bytes == BASE_BYTES
    assert transfer.longest < 0.2, "a few round trips of 40 ms"


def test_a_forged_too_big_takes_a_fifth_of_a_packet_for_ten_seconds() -> None:
    it = scene(weather=Weather(delay=0.02, largest=1472))
    flow = it.one.open_flow(b"bulk", Priority.BULK)

    def trickle(seconds: float) -> None:
        for _ in range(round(seconds)):
            it.one.send(flow, [bytes(20_000)])
            it.network.run_for(1.0)

    trickle(2)
    assert it.one._path.packet_bytes == 1472
    it.one.hearsay.too_big(68, it.network.now)
    assert it.one._path.packet_bytes == BASE_BYTES
    trickle(12)
    assert it.one._path.packet_bytes == 1472
    for size in (-48, 0, 68, 1200, 1471, 1472, 65_535):
        it.one.hearsay.too_big(size, it.network.now)
    assert it.one._path.packet_bytes == 1472 and it.one.state is State.OPEN
