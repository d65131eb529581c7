"""The TCP session: the conformance suite whole and byte by byte, and what only it can get wrong."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmd.core.rng import SystemRng
from swarmd.identity.identity import Identity
from swarmd.transport.api import Closed, CloseReason, Opened, Priority, State
from swarmd.transport.tcp import frames, record
from swarmd.transport.tcp.frames import FrameType
from swarmd.transport.tcp.session import MAX_QUEUED_BYTES, TcpSession
from tests.transport.conformance import Pair, SessionConformance, drain, messages
from tests.transport.tcp_pair import TcpPair


class TestWhole(SessionConformance):
    def make_pair(self, initiator: Identity, responder: Identity) -> Pair:
        return TcpPair(initiator, responder)


class TestInPieces(SessionConformance):
    def make_pair(self, initiator: Identity, responder: Identity) -> Pair:
        return TcpPair(initiator, responder, step=997)


@pytest.fixture
def pair() -> TcpPair:
    pair = TcpPair(Identity.generate(), Identity.generate())
    pair.pump()
    drain(pair.initiator)
    drain(pair.responder)
    return pair


def sealed_by(session: TcpSession, plain: bytes) -> bytes:
    """A record that the peer of this session would open: what a hostile peer can send once keyed."""
    assert session._sealer is not None
    return bytes(session._sealer.seal(plain))


def closed(session: TcpSession) -> Closed:
    last = drain(session)[-1]
    assert isinstance(last, Closed)
    return last


def test_keying_byte_by_byte() -> None:
    pair = TcpPair(Identity.generate(), Identity.generate(), step=1)
    pair.pump()
    assert isinstance(drain(pair.responder)[0], Opened)


def test_wrong_peer_is_named() -> None:
    pair = TcpPair(Identity.generate(), Identity.generate())
    other = Identity.generate()
    pair.responder = TcpSession(other, SystemRng(), pair.now, is_initiator=False)
    pair.pump()
    assert closed(pair.responder).reason is CloseReason.WRONG_PEER
    assert not isinstance(pair.initiator.next_event(), Opened)


def test_imposter_with_the_right_certificate_cannot_finish() -> None:
    """Somebody who answers with the certificate of another node does not have its static key."""
    victim, imposter = Identity.generate(), Identity.generate()
    pair = TcpPair(Identity.generate(), victim)
    pair.responder = TcpSession(imposter, SystemRng(), pair.now, is_initiator=False)
    hello = bytes(pair.initiator.data_to_send() or b"")
    pair.initiator.data_sent(len(hello), pair.now)
    welcome = b"swarmd\x01" + victim.certificate.encode()
    pair.feed(pair.initiator, struct.pack(">H", len(welcome)) + welcome)
    keying = bytes(pair.initiator.data_to_send() or b"")
    pair.initiator.data_sent(len(keying), pair.now)
    pair.feed(pair.responder, hello[:9])
    assert drain(pair.initiator) == []
    forged = os.urandom(48)
    pair.feed(pair.initiator, struct.pack(">H", len(forged)) + forged)
    assert closed(pair.initiator).reason is CloseReason.PROTOCOL


def test_other_version_says_which() -> None:
    pair = TcpPair(Identity.generate(), Identity.generate())
    body = b"swarmd\x07" + bytes(32)
    pair.feed(pair.responder, struct.pack(">H", len(body)) + body)
    event = closed(pair.responder)
    assert event.reason is CloseReason.VERSION and "version 7" in event.detail


def test_replayed_keying_opens_nothing() -> None:
    """An attacker who replays HELLO and KEYING of an observed handshake never gets a session opened."""
    near, far = Identity.generate(), Identity.generate()
    pair = TcpPair(near, far)
    hello = bytes(pair.initiator.data_to_send() or b"")
    pair.initiator.data_sent(len(hello), pair.now)
    pair.feed(pair.responder, hello)
    welcome = bytes(pair.responder.data_to_send() or b"")
    pair.responder.data_sent(len(welcome), pair.now)
    pair.feed(pair.initiator, welcome)
    keying = bytes(pair.initiator.data_to_send() or b"")
    victim = TcpSession(far, SystemRng(), pair.now, is_initiator=False)
    pair.feed(victim, hello)
    pair.feed(victim, keying)
    assert drain(victim) == [] and victim.state is State.KEYING
    pair.feed(victim, sealed_garbage())
    assert not any(isinstance(event, Opened) for event in drain(victim))


def sealed_garbage() -> bytes:
    return struct.pack(">I", 100) + os.urandom(100)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_before_keying(data: bytes, is_initiator: bool) -> None:
    session = TcpSession(IDENTITY, SystemRng(), 0.0, is_initiator=is_initiator)
    feed(session, data)
    assert not any(isinstance(event, Opened) for event in drain(session))


IDENTITY = Identity.generate()


def feed(session: TcpSession, data: bytes) -> None:
    while data and session.state is not State.CLOSED:
        space = session.receive_buffer()
        count = min(len(space), len(data))
        space[:count] = data[:count]
        session.bytes_received(count, 0.0)
        data = data[count:]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.builds(
                lambda kind, flags, flow, body: frames.HEADER.pack(kind, flags, flow, len(body)) + body,
                st.integers(0, 8),
                st.integers(0, 5),
                st.integers(0, 4),
                st.binary(max_size=40),
            ),
        ),
        max_size=20,
    )
)
def test_any_frames_of_a_keyed_peer(pieces: list[bytes]) -> None:
    """Parsed, or the session ends as the peer's fault; never another exception."""
    joined = TcpPair(IDENTITY, Identity.generate())
    joined.pump()
    for piece in pieces:
        if joined.responder.state is State.CLOSED:
            break
        joined.feed(joined.responder, sealed_by(joined.initiator, piece))
    events = drain(joined.responder)
    assert all(not isinstance(event, Closed) for event in events[:-1])


def test_changed_record_ends_the_session(pair: TcpPair) -> None:
    sealed = bytearray(sealed_by(pair.initiator, frames.encode_frame(FrameType.PING)))
    sealed[-1] ^= 1
    pair.feed(pair.responder, bytes(sealed))
    assert closed(pair.responder).reason is CloseReason.PROTOCOL


def test_replayed_record_ends_the_session(pair: TcpPair) -> None:
    sealed = sealed_by(pair.initiator, frames.encode_frame(FrameType.PING))
    pair.feed(pair.responder, sealed)
    assert pair.responder.state is State.OPEN
    pair.feed(pair.responder, sealed)
    assert closed(pair.responder).reason is CloseReason.PROTOCOL


def test_too_long_record_is_refused_before_it_is_read(pair: TcpPair) -> None:
    pair.feed(pair.responder, struct.pack(">I", record.MAX_SEALED_BYTES + 1))
    assert closed(pair.responder).reason is CloseReason.PROTOCOL


def test_messages_that_never_end_are_bounded(pair: TcpPair) -> None:
    pair.feed(pair.responder, sealed_by(pair.initiator, frames.encode_open(1, b"", Priority.BULK)))
    body = bytes(200_000)
    for i in range(100):
        if pair.responder.state is State.CLOSED:
            break
        frame = frames.encode_frame(FrameType.DATA, 1, body, flags=0 if i else frames.BEGIN)
        pair.feed(pair.responder, sealed_by(pair.initiator, frame))
    assert i < 10
    assert closed(pair.responder).reason is CloseReason.PROTOCOL


def test_peer_that_never_reads_costs_a_bounded_amount(pair: TcpPair) -> None:
    flow = pair.initiator.open_flow(b"", Priority.ROUTINE)
    for _ in range(MAX_QUEUED_BYTES // 1_000_000 + 2):
        pair.initiator.send(flow, [bytes(1_000_000)])
    assert closed(pair.initiator).reason is CloseReason.OVERLOADED
    assert pair.initiator.queued_bytes == 0


def test_peer_that_takes_nothing_is_given_up(pair: TcpPair) -> None:
    flow = pair.initiator.open_flow(b"", Priority.ROUTINE)
    pair.initiator.send(flow, [bytes(1000)])
    assert pair.initiator.data_to_send() is not None
    for _ in range(8):
        pair.now += 10.0
        pair.feed(pair.initiator, sealed_by(pair.responder, frames.encode_frame(FrameType.PONG)))
        pair.initiator.handle_timer(pair.now)
    assert closed(pair.initiator).reason is CloseReason.TIMED_OUT


def test_flood_of_pings_is_answered_once_a_record(pair: TcpPair) -> None:
    ping = frames.encode_frame(FrameType.PING)
    for _ in range(50):
        pair.feed(pair.responder, sealed_by(pair.initiator, ping * 1000))
    data = pair.responder.data_to_send()
    assert data is not None and len(data) < 100
    pair.responder.data_sent(len(data), pair.now)
    assert pair.responder.data_to_send() is None


def test_keys_are_replaced_on_the_way() -> None:
    pair = TcpPair(Identity.generate(), Identity.generate())
    pair.pump()
    for end in (pair.initiator, pair.responder):
        assert end._sealer is not None
        end._sealer._rekey_records = 5
    first = pair.initiator._sealer and pair.initiator._sealer._key
    flow = pair.initiator.open_flow(b"", Priority.DATA)
    for i in range(100):
        pair.initiator.send(flow, [b"%d" % i])
        pair.pump()
    assert messages(drain(pair.responder)) == [b"%d" % i for i in range(100)]
    assert pair.initiator._sealer is not None and pair.initiator._sealer._key != first


def test_idle_session_gives_its_buffers_back(pair: TcpPair) -> None:
    flow = pair.initiator.open_flow(b"", Priority.BULK)
    for _ in range(20):
        pair.initiator.send(flow, [bytes(256 * 1024)])
    pair.pump()
    assert len(pair.responder._received._buffer) > 256 * 1024
    pair.now += 30.0
    pair.responder.handle_timer(pair.now)
    assert len(pair.responder._received._buffer) <= 16 * 1024
