"""How sessions end: told, untold, by silence, before they began; and that nothing of them stays."""

from __future__ import annotations

import pytest

from swarmd.identity.identity import Identity
from swarmd.transport.api import Closed, CloseReason, Priority, State
from swarmd.transport.rtmfp.chunks import CloseAck, CloseRequest, decode_chunks, encode_chunk
from swarmd.transport.rtmfp.farewell import CLOSE_TIMEOUT, FAR_CLOSE_PERIOD, encode_reason
from swarmd.transport.rtmfp.liveness import KEEPALIVE_PERIOD, PING_PERIOD, SILENCE_TIMEOUT
from swarmd.transport.rtmfp.packet import Mode, decode_header
from swarmd.transport.rtmfp.session import RtmfpSession
from tests.transport.rtmfp.network import Network, Node, Weather
from tests.transport.rtmfp.scenes import Scene, cipher_of, inject_chunks, packet, plain_scene, scene


def ending(node: Node, session: RtmfpSession) -> Closed:
    last = node.events[session][-1]
    assert isinstance(last, Closed)
    return last


def is_forgotten(it: Scene) -> bool:
    return len(it.near.endpoint) == len(it.far.endpoint) == 0


@pytest.mark.parametrize("n_lost", [0, 1, 3])
def test_it_is_told_until_it_is_heard(n_lost: int) -> None:
    it = scene()
    lost: list[bytes] = []
    it.network.run_for(1)

    def lose(source: object, target: object, data: bytes) -> bool:
        if source == it.near.address and len(lost) < n_lost:
            lost.append(data)
            return True
        return False

    it.network.lose = lose
    it.one.close(CloseReason.SHUTDOWN, "bye")
    assert it.until(lambda: it.other.state is State.CLOSED, 20) and len(lost) == n_lost
    assert ending(it.far, it.other) == Closed(CloseReason.SHUTDOWN, "bye", by_peer=True)
    assert ending(it.near, it.one) == Closed(CloseReason.SHUTDOWN, "bye")
    it.network.run_for(FAR_CLOSE_PERIOD + 5)
    assert is_forgotten(it)


def test_the_answer_is_lost() -> None:
    it = scene()
    it.network.lose = lambda source, target, data: source == it.far.address and it.network.now < 1010
    it.one.close()
    it.network.run_for(FAR_CLOSE_PERIOD + 15)
    assert is_forgotten(it)


def test_both_close_at_once() -> None:
    it = scene()
    it.one.close(CloseReason.NORMAL, "one")
    it.other.close(CloseReason.NORMAL, "other")
    it.network.run_for(FAR_CLOSE_PERIOD + 5)
    assert ending(it.near, it.one).detail == "one" and ending(it.far, it.other).detail == "other"
    assert is_forgotten(it)


def test_nobody_hears_it() -> None:
    it = scene()
    it.network.weather.loss = 1.0
    it.one.close()
    said = len(it.near.sent)
    it.network.run_for(CLOSE_TIMEOUT + 5)
    assert len(it.near.endpoint) == 0 and 10 < len(it.near.sent) - said < 30
    assert it.other.state is State.CLOSED and ending(it.far, it.other).reason is CloseReason.TIMED_OUT


def test_closed_as_soon_as_it_is_open() -> None:
    """Before the responder was heard, and before it has heard anything."""
    network = Network(1)
    responder = Identity.generate()
    near, far = network.add("near"), network.add("far", responder)
    session = near.endpoint.connect(responder.peer_id, [far.address], network.now)
    assert network.run(lambda: session.state is State.OPEN, 5)
    session.close(CloseReason.NORMAL, "changed my mind")
    assert network.run(lambda: len(near.endpoint) == len(far.endpoint) == 0, 60)
    assert all(event.by_peer for events in far.events.values() for event in events if isinstance(event, Closed))


def test_closed_before_it_is_keyed() -> None:
    network = Network(1)
    responder = Identity.generate()
    near, far = network.add("near"), network.add("far", responder)
    session = near.endpoint.connect(responder.peer_id, [far.address], network.now)
    network.run_for(0.03)
    session.close()
    network.run_for(30)
    assert len(near.endpoint) == len(far.endpoint) == 0 and not far.incoming
    network.collect()
    assert ending(near, session) == Closed(CloseReason.NORMAL, "")


def test_the_abrupt_close_of_the_rfc() -> None:
    """Who does not want to wait sends an acknowledgement that nobody has asked for."""
    it = plain_scene()
    inject_chunks(it, CloseAck())
    assert ending(it.far, it.other) == Closed(CloseReason.NORMAL, "", by_peer=True)
    it.network.run_for(5)
    assert len(it.far.endpoint) == 0


def test_a_reason_that_there_is_not() -> None:
    it = plain_scene()
    inject_chunks(it, CloseRequest(b"\xffwhat"))
    assert it.other.state is State.CLOSED


@pytest.mark.parametrize("has_data", [False, True])
def test_silence(has_data: bool) -> None:
    it = scene()
    flow = it.one.open_flow(b"about", Priority.DATA)
    it.network.run_for(10)
    it.network.weather.loss = 1.0
    if has_data:
        it.one.send(flow, [bytes(10_000)])
    since = it.network.now
    assert it.until(lambda: it.one.state is it.other.state is State.CLOSED, 200)
    assert it.network.now - since <= KEEPALIVE_PERIOD + PING_PERIOD + SILENCE_TIMEOUT
    for node, session in ((it.near, it.one), (it.far, it.other)):
        assert ending(node, session).reason is CloseReason.TIMED_OUT
    it.network.run_for(10)
    assert is_forgotten(it)


@pytest.mark.parametrize("loss", [0.05, 0.2])
@pytest.mark.parametrize("seed", range(4))
def test_idle_for_an_hour(seed: int, loss: float) -> None:
    it = scene(seed, Weather(loss=loss))
    sent = len(it.near.sent) + len(it.far.sent)
    it.network.run_for(3600)
    assert it.one.state is it.other.state is State.OPEN
    assert len(it.near.sent) + len(it.far.sent) - sent < 2 * 2 * 3600 / KEEPALIVE_PERIOD


def test_after_the_end_only_the_end_is_talked_about() -> None:
    it = plain_scene()
    it.other.close(CloseReason.DENIED, "no")
    request = encode_reason(CloseReason.DENIED, "no")
    before = len(it.far.sent)
    for _ in range(3):
        data = packet(it.one, bytes((Mode.INITIATOR,)) + encode_chunk(CloseRequest()))
        it.far.endpoint.receive(memoryview(data), len(data), it.near.address, it.network.now)
        it.network.run_for(0.01)
    said = [data for _, data in it.far.sent[before:]]
    plains = [cipher_of(it.one).open(memoryview(data)[4:]) for data in said]
    chunks = [next(decode_chunks(plain[decode_header(plain).size :])) for plain in plains]
    assert all(chunk in (CloseAck(), CloseRequest(request)) for chunk in chunks) and CloseAck() in chunks
