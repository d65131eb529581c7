"""What a Session is, as tests. Every implementation subclasses `SessionConformance` and gives a `make_pair`.

The pair is joined by function calls; `now` is a literal; no socket is involved.
"""

from __future__ import annotations

from typing import Protocol

import pytest

from swarmd.core.errors import LocalError
from swarmd.identity.identity import Identity
from swarmd.transport.api import (
    MAX_MESSAGE_BYTES,
    MAX_METADATA_BYTES,
    Closed,
    CloseReason,
    Event,
    FlowClosed,
    FlowOpened,
    MessageReceived,
    MessageSent,
    Opened,
    Priority,
    Session,
    State,
)


class Pair(Protocol):
    """Two joined ends, `initiator` and `responder`, and what is between them."""

    now: float

    @property
    def initiator(self) -> Session: ...

    @property
    def responder(self) -> Session: ...

    def pump(self, max_units: int | None = None) -> None:
        """Carry data both ways until nothing moves, or for `max_units` records/packets of each end."""
        ...


def drain(session: Session) -> list[Event]:
    events = []
    while (event := session.next_event()) is not None:
        events.append(event)
    return events


def messages(events: list[Event]) -> list[bytes]:
    return [event.joined() for event in events if isinstance(event, MessageReceived)]


class SessionConformance:
    """Subclasses define `make_pair(initiator, responder)`."""

    def make_pair(self, initiator: Identity, responder: Identity) -> Pair:
        raise NotImplementedError

    @pytest.fixture
    def pair(self) -> Pair:
        return self.make_pair(Identity.generate(), Identity.generate())

    @pytest.fixture
    def opened(self, pair: Pair) -> Pair:
        pair.pump()
        drain(pair.initiator)
        drain(pair.responder)
        return pair

    def test_both_ends_open_with_each_others_identity(self) -> None:
        near, far = Identity.generate(), Identity.generate()
        pair = self.make_pair(near, far)
        assert pair.initiator.state is State.KEYING
        pair.pump()
        near_events, far_events = drain(pair.initiator), drain(pair.responder)
        assert isinstance(near_events[0], Opened) and isinstance(far_events[0], Opened)
        assert near_events[0].certificate.peer_id == far.peer_id == pair.initiator.peer_id
        assert far_events[0].certificate.peer_id == near.peer_id == pair.responder.peer_id
        assert pair.initiator.handshake_hash == pair.responder.handshake_hash == near_events[0].handshake_hash
        assert len(pair.initiator.handshake_hash) == 32
        assert pair.initiator.is_initiator and not pair.responder.is_initiator

    def test_each_session_has_its_own_channel_binding(self) -> None:
        near, far = Identity.generate(), Identity.generate()
        hashes = set()
        for _ in range(3):
            pair = self.make_pair(near, far)
            pair.pump()
            hashes.add(pair.initiator.handshake_hash)
        assert len(hashes) == 3

    def test_peer_is_unknown_before_keying(self, pair: Pair) -> None:
        with pytest.raises(LocalError):
            _ = pair.initiator.peer_id

    @pytest.mark.parametrize("size", [0, 1, 1000, 70_000, 256 * 1024 + 24, MAX_MESSAGE_BYTES])
    def test_messages_arrive_whole(self, opened: Pair, size: int) -> None:
        body = bytes(i * 7 & 0xFF for i in range(size))
        flow = opened.initiator.open_flow(b"meta", Priority.DATA)
        opened.initiator.send(flow, [body[: size // 3], memoryview(body)[size // 3 :]])
        opened.initiator.send(flow, [b"after"])
        opened.pump()
        events = drain(opened.responder)
        assert events[0] == FlowOpened(flow, b"meta", Priority.DATA)
        assert messages(events) == [body, b"after"]
        assert opened.initiator.queued_bytes == 0

    def test_both_ways_at_once_and_flow_numbers_are_per_end(self, opened: Pair) -> None:
        flows = [end.open_flow(b"x", Priority.ROUTINE) for end in (opened.initiator, opened.responder)]
        for i in range(100):
            opened.initiator.send(flows[0], [b"a%d" % i])
            opened.responder.send(flows[1], [b"b%d" % i])
        opened.pump()
        assert messages(drain(opened.responder)) == [b"a%d" % i for i in range(100)]
        assert messages(drain(opened.initiator)) == [b"b%d" % i for i in range(100)]

    def test_higher_priority_overtakes_bulk(self, opened: Pair) -> None:
        session = opened.initiator
        bulk = session.open_flow(b"bulk", Priority.BULK)
        control = session.open_flow(b"control", Priority.ROUTINE)
        for _ in range(40):
            session.send(bulk, [bytes(256 * 1024)])
        opened.pump(max_units=2)
        assert session.queued_bytes > 5 << 20
        session.send(control, [b"now"])
        opened.pump(max_units=2)
        assert b"now" in messages(drain(opened.responder))
        assert session.queued_bytes > 5 << 20

    def test_flows_of_one_priority_share(self, opened: Pair) -> None:
        session = opened.initiator
        flows = [session.open_flow(b"%d" % i, Priority.BULK) for i in range(4)]
        for flow in flows:
            for _ in range(40):
                session.send(flow, [bytes(64 * 1024)])
        opened.pump(max_units=40)
        received = [e.flow for e in drain(opened.responder) if isinstance(e, MessageReceived)]
        counts = [received.count(flow) for flow in flows]
        assert max(counts) - min(counts) <= 2 and min(counts) > 0

    def test_sent_messages_are_reported_when_asked(self, opened: Pair) -> None:
        session = opened.initiator
        told = session.open_flow(b"told", Priority.BULK, report_sent=True)
        silent = session.open_flow(b"silent", Priority.BULK)
        for flow, size in ((told, 300_000), (silent, 5), (told, 7)):
            session.send(flow, [bytes(size)])
        opened.pump()
        sent = [e for e in drain(session) if isinstance(e, MessageSent)]
        assert sent == [MessageSent(told, 300_000), MessageSent(told, 7)]

    def test_closed_flow_delivers_what_was_sent_before(self, opened: Pair) -> None:
        flow = opened.initiator.open_flow(b"", Priority.BULK)
        opened.initiator.send(flow, [bytes(600_000)])
        opened.initiator.close_flow(flow)
        with pytest.raises(LocalError):
            opened.initiator.send(flow, [b"too late"])
        opened.pump()
        events = drain(opened.responder)
        assert messages(events) == [bytes(600_000)]
        assert events[-1] == FlowClosed(flow)

    def test_misuse_is_our_own_error(self, opened: Pair) -> None:
        with pytest.raises(LocalError):
            opened.initiator.send(12345, [b""])
        with pytest.raises(LocalError):
            opened.initiator.open_flow(bytes(MAX_METADATA_BYTES + 1), Priority.DATA)
        flow = opened.initiator.open_flow(b"", Priority.DATA)
        with pytest.raises(LocalError):
            opened.initiator.send(flow, [bytes(MAX_MESSAGE_BYTES + 1)])

    def test_close_tells_both_ends_once(self, opened: Pair) -> None:
        opened.initiator.close(CloseReason.DENIED, "no common group")
        opened.initiator.close()
        opened.pump()
        assert drain(opened.initiator) == [Closed(CloseReason.DENIED, "no common group")]
        assert drain(opened.responder) == [Closed(CloseReason.DENIED, "no common group", by_peer=True)]
        assert opened.initiator.state is opened.responder.state is State.CLOSED
        assert opened.responder.next_deadline() is None
        opened.initiator.send(1, [b"goes nowhere"])  # a sender that has not heard yet is not at fault

    def test_half_a_handshake_and_silence_ends(self, pair: Pair) -> None:
        pair.pump(max_units=1)
        for end in (pair.initiator, pair.responder):
            deadline = end.next_deadline()
            assert deadline is not None and deadline <= pair.now + 11
            end.handle_timer(deadline)
            last = drain(end)[-1]
            assert isinstance(last, Closed) and last.reason in (CloseReason.TIMED_OUT, CloseReason.UNREACHABLE)

    def test_idle_session_is_kept_alive_and_a_dead_one_ends(self, opened: Pair) -> None:
        for _ in range(20):
            opened.now += 20.0
            for end in (opened.initiator, opened.responder):
                end.handle_timer(opened.now)
            opened.pump()
        assert opened.initiator.state is opened.responder.state is State.OPEN
        for _ in range(20):
            opened.now += 20.0
            opened.initiator.handle_timer(opened.now)
        last = drain(opened.initiator)[-1]
        assert isinstance(last, Closed) and last.reason is CloseReason.TIMED_OUT
