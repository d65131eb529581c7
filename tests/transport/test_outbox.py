"""Outbox and inbox: whatever is sent in whatever pieces arrives whole and in order, urgent flows first."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.transport.api import MAX_MESSAGE_BYTES, FlowClosed, FlowOpened, MessageReceived, MessageSent, Priority
from swarmd.transport.tcp import frames
from swarmd.transport.tcp.frames import BEGIN, END, HEADER, HEADER_BYTES, FrameType
from swarmd.transport.tcp.inbox import Inbox
from swarmd.transport.tcp.outbox import Outbox, SendFlow
from swarmd.transport.tcp.pace import MIN_RECORD_BYTES
from swarmd.transport.tcp.record import MAX_PLAIN_BYTES

Received = FlowOpened | MessageReceived | FlowClosed


def make_flow(number: int, priority: Priority = Priority.BULK, *, report_sent: bool = False) -> SendFlow:
    return SendFlow(number, priority, report_sent, b"flow %d" % number)


def receive(inbox: Inbox, plain: bytes) -> list[Received]:
    """What comes of one record, as the session takes it apart."""
    events: list[Received] = []
    view, offset = memoryview(plain), 0
    while offset < len(view):
        kind, flags, flow, length = HEADER.unpack_from(view, offset)
        offset += HEADER_BYTES + length
        body = view[offset - length : offset]
        if kind == FrameType.OPEN:
            events.append(inbox.open(flow, body))
        elif kind == FrameType.FINISH:
            events.append(inbox.finish(flow))
        elif (message := inbox.receive(flow, flags, body, len(view))) is not None:
            assert kind == FrameType.DATA
            events.append(message)
    return events


def carry(outbox: Outbox, limit: int = MAX_PLAIN_BYTES) -> list[Received]:
    """Everything there is, in records of `limit`."""
    inbox, events = Inbox(), list[Received]()
    while outbox:
        plain = b"".join(outbox.fill(limit))
        assert 0 < len(plain) <= limit
        events += receive(inbox, plain)
    assert outbox.fill(limit) == []
    return events


def messages(events: list[Received], flow: int) -> list[bytes]:
    return [event.joined() for event in events if isinstance(event, MessageReceived) and event.flow == flow]


# Any split of any messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """Flows by their priorities; per message its flow, its size and how many parts it comes in; sizes of records."""

    priorities: tuple[Priority, ...]
    messages: tuple[tuple[int, int, int], ...]
    records: tuple[int, ...]
    closes: bool


SIZES = st.one_of(st.integers(0, 2000), st.integers(0, 200_000), st.just(MAX_MESSAGE_BYTES))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    priorities = draw(st.lists(st.sampled_from(Priority), min_size=1, max_size=4))
    flow = st.integers(0, len(priorities) - 1)
    each = st.tuples(flow, SIZES, st.integers(1, 5))
    sizes = st.integers(MIN_RECORD_BYTES - HEADER_BYTES, MAX_PLAIN_BYTES)
    return Plan(
        tuple(priorities),
        tuple(draw(st.lists(each, max_size=12))),
        tuple(draw(st.lists(sizes, min_size=1, max_size=5))),
        draw(st.booleans()),
    )


def body(number: int, size: int) -> bytes:
    return (b"%d," % number * (size // 2 + 1))[:size]


def parts_of(data: bytes, count: int) -> list[bytes | memoryview]:
    step = max(1, len(data) // count)
    return [memoryview(data)[start : start + step] for start in range(0, len(data), step)] or [b""]


@given(plans())
def test_any_messages_in_any_records_arrive_whole(plan: Plan) -> None:
    outbox, inbox = Outbox(), Inbox()
    flows = [make_flow(number, priority, report_sent=True) for number, priority in enumerate(plan.priorities)]
    for flow in flows:
        outbox.open(flow)
    sent: dict[int, list[bytes]] = {number: [] for number in range(len(flows))}
    for number, (target, size, count) in enumerate(plan.messages):
        data = body(number, size)
        assert outbox.add(flows[target], parts_of(data, count)) == size
        sent[target].append(data)
    if plan.closes:
        for flow in flows:
            outbox.finish(flow)
    events = list[Received]()
    turn = 0
    while outbox:
        before = outbox.queued_bytes
        plain = b"".join(outbox.fill(limit := plan.records[turn % len(plan.records)]))
        assert 0 < len(plain) <= limit and outbox.queued_bytes <= before
        events += receive(inbox, plain)
        turn += 1
    assert outbox.queued_bytes == 0
    for number, flow in enumerate(flows):
        mine = [event for event in events if event.flow == number]
        assert mine[0] == FlowOpened(number, b"flow %d" % number, flow.priority)
        assert messages(events, number) == sent[number]
        assert [event for event in outbox.sent if event.flow == number] == [
            MessageSent(number, len(data)) for data in sent[number]
        ]
        assert isinstance(mine[-1], FlowClosed) == plan.closes


def test_the_smallest_pieces_that_are_sent_are_accepted() -> None:
    """A message of the greatest size, of which each record has room for the smallest piece only."""
    outbox, inbox = Outbox(), Inbox()
    urgent, slow = make_flow(1, Priority.FLASH), make_flow(2)
    limit = MIN_RECORD_BYTES - HEADER_BYTES
    filler = bytes(limit - 2 * HEADER_BYTES - frames.MIN_FRAGMENT_BYTES)
    outbox.open(urgent)
    outbox.open(slow)
    receive(inbox, b"".join(outbox.fill(limit)))
    outbox.add(slow, [bytes(MAX_MESSAGE_BYTES)])
    events = list[Received]()
    while outbox:
        outbox.add(urgent, [filler])
        events += receive(inbox, b"".join(outbox.fill(limit)))
        if not slow.messages:
            break
    assert messages(events, 2) == [bytes(MAX_MESSAGE_BYTES)]


# Order ------------------------------------------------------------------------------------------------------------


def test_a_flow_opens_in_its_own_turn() -> None:
    """What is said on a more urgent flow before another one is opened is heard before it is opened."""
    outbox = Outbox()
    urgent, late = make_flow(1, Priority.FLASH), make_flow(2, Priority.BULK)
    outbox.open(urgent)
    outbox.add(urgent, [bytes(100_000)])
    outbox.open(late)
    outbox.add(late, [b"later"])
    kinds = [(type(event), event.flow) for event in carry(outbox, MIN_RECORD_BYTES)]
    assert kinds == [(FlowOpened, 1), (MessageReceived, 1), (FlowOpened, 2), (MessageReceived, 2)]


def test_a_flow_that_is_closed_at_once_opens_and_closes() -> None:
    outbox = Outbox()
    flow = make_flow(1)
    outbox.open(flow)
    outbox.finish(flow)
    assert carry(outbox) == [FlowOpened(1, b"flow 1", Priority.BULK), FlowClosed(1)]


def test_control_frames_go_before_everything() -> None:
    outbox = Outbox()
    flow = make_flow(1, Priority.IMMEDIATE)
    outbox.open(flow)
    outbox.add(flow, [b"x"])
    outbox.add_frame(frames.encode_frame(FrameType.PING))
    assert outbox.fill(1000)[0][0] == FrameType.PING


def test_an_urgent_message_overtakes_between_two_pieces() -> None:
    outbox, inbox = Outbox(), Inbox()
    bulk, urgent = make_flow(1), make_flow(2, Priority.ROUTINE)
    outbox.open(bulk)
    outbox.open(urgent)
    outbox.add(bulk, [bytes(1 << 20)])
    receive(inbox, b"".join(outbox.fill(MIN_RECORD_BYTES)))
    outbox.add(urgent, [b"now"])
    assert messages(receive(inbox, b"".join(outbox.fill(MIN_RECORD_BYTES))), 2) == [b"now"]


def test_flows_of_one_priority_take_turns_by_records() -> None:
    outbox, inbox = Outbox(), Inbox()
    flows = [make_flow(number) for number in range(3)]
    for flow in flows:
        outbox.open(flow)
        for _ in range(10):
            outbox.add(flow, [bytes(50_000)])
    done = [
        event.flow
        for _ in range(24)
        for event in receive(inbox, b"".join(outbox.fill(MIN_RECORD_BYTES)))
        if isinstance(event, MessageReceived)
    ]
    counts = [done.count(number) for number in range(3)]
    assert max(counts) - min(counts) <= 1 and sum(counts) > 3


def test_cleared_means_nothing_is_left() -> None:
    outbox = Outbox()
    flow = make_flow(1)
    outbox.open(flow)
    outbox.add(flow, [bytes(1000)])
    outbox.add_frame(frames.encode_frame(FrameType.PING))
    outbox.clear()
    assert not outbox and outbox.queued_bytes == 0 and outbox.fill(1000) == []


# The receiving end alone ------------------------------------------------------------------------------------------


def opened() -> Inbox:
    inbox = Inbox()
    inbox.open(1, memoryview(bytes([Priority.BULK])))
    return inbox


@pytest.mark.parametrize("flags", [[END], [0], [BEGIN, BEGIN], [BEGIN, BEGIN | END], [4], [BEGIN | END, END]])
def test_pieces_out_of_order_are_the_peers_fault(flags: list[int]) -> None:
    inbox = opened()
    with pytest.raises(RemoteError):
        for each in flags:
            inbox.receive(1, each, memoryview(b"x"), 100)


def test_flows_are_opened_and_closed_once() -> None:
    inbox = opened()
    with pytest.raises(RemoteError):
        inbox.open(1, memoryview(bytes([Priority.BULK])))
    inbox.receive(1, BEGIN, memoryview(b"half"), 100)
    with pytest.raises(RemoteError):
        inbox.finish(1)
    with pytest.raises(RemoteError):
        inbox.finish(2)
    with pytest.raises(RemoteError):
        inbox.receive(2, BEGIN | END, memoryview(b"x"), 100)


def test_a_small_piece_does_not_keep_its_record() -> None:
    """Held views of large records would be memory that no bound counts."""
    inbox = opened()
    record = memoryview(bytearray(1000))
    inbox.receive(1, BEGIN, record[:10], len(record))
    message = inbox.receive(1, END, record[10:], len(record))
    assert message is not None
    assert message.parts[0].obj is not record.obj and message.parts[1].obj is record.obj


@given(
    st.lists(
        st.tuples(
            st.sampled_from(FrameType),
            st.integers(0, 3),
            st.integers(0, 255),
            st.binary(max_size=50),
            st.integers(1, 99),
        ),
        max_size=30,
    )
)
def test_any_frames_are_taken_or_the_peers_fault(steps: list[tuple[FrameType, int, int, bytes, int]]) -> None:
    inbox = Inbox()
    try:
        for kind, flow, flags, data, record_bytes in steps:
            if kind is FrameType.OPEN:
                inbox.open(flow, memoryview(data))
            elif kind is FrameType.FINISH:
                inbox.finish(flow)
            else:
                inbox.receive(flow, flags, memoryview(data), record_bytes)
    except RemoteError:
        return


def test_a_message_somewhat_larger_than_a_record_is_not_cut() -> None:
    outbox = Outbox()
    flow = SendFlow(2, Priority.BULK, False, b"")
    outbox.open(flow)
    outbox.fill(1000)
    for size in (150_000, 30_000, 80_000, 300_000):
        outbox.add(flow, [bytes(size)])
    sizes = []
    while outbox:
        sizes.append(sum(map(len, outbox.fill(100_000, 200_000))))
    assert sizes[:2] == [150_000 + HEADER_BYTES, 30_000 + 80_000 + 2 * HEADER_BYTES]
    assert len(sizes) == 5, "300,000 bytes take three records whatever is done"
    assert max(sizes) <= 200_000


def test_the_last_record_with_bulk_says_whether_it_is_in_the_background() -> None:
    outbox = Outbox()
    background, bulk = make_flow(1, Priority.BACKGROUND), make_flow(2)
    control = make_flow(3, Priority.DATA)
    for flow in (background, bulk, control):
        outbox.open(flow)
    carry(outbox)
    for flow, is_background in ((background, True), (control, True), (bulk, False), (control, False)):
        outbox.add(flow, [b"x"])
        outbox.fill(MAX_PLAIN_BYTES)
        assert outbox.is_background is is_background
    outbox.add(background, [b"x"])
    outbox.add(bulk, [b"x"])
    outbox.fill(MAX_PLAIN_BYTES)
    assert not outbox.is_background


def test_a_flow_changes_its_level_with_what_waits_in_it() -> None:
    outbox = Outbox()
    first, second = make_flow(1), make_flow(2)
    for flow in (first, second):
        outbox.open(flow)
        outbox.add(flow, [b"%d" % flow.number])
    outbox.set_priority(first, Priority.BACKGROUND)
    events = [event for event in carry(outbox) if isinstance(event, MessageReceived)]
    assert [event.flow for event in events] == [2, 1]
    outbox.set_priority(first, Priority.FLASH)
    for flow in (second, first):
        outbox.add(flow, [b"again"])
    plain = b"".join(outbox.fill(MAX_PLAIN_BYTES))
    assert HEADER.unpack_from(plain, 0)[2] == 1, "first, though it was given last"
