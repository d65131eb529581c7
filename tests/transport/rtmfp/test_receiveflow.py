"""The receiving end of a flow, alone: against a model that forgets nothing and counts everything anew."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.transport.api import MAX_MESSAGE_BYTES
from swarmd.transport.rtmfp.chunks import BEGIN, END, FLAG_ABANDONED, FLAG_FINAL, MIDDLE, WHOLE
from swarmd.transport.rtmfp.receiveflow import (
    BUFFER_BYTES,
    FRAGMENT_COST,
    MAX_ARRIVAL_FRAGMENTS,
    MAX_RANGES,
    MAX_TOLD_RANGES,
    Order,
    ReceiveFlow,
)

ROOM = 1 << 30
CONTROLS = (WHOLE, BEGIN, MIDDLE, END)


def receive(
    flow: ReceiveFlow, sequence: int, control: int = WHOLE, data: bytes = b"", forward: int = 0, flags: int = 0
) -> bool:
    return flow.receive(sequence, control | flags, forward, memoryview(data), ROOM)


def taken(flow: ReceiveFlow) -> list[bytes]:
    messages = [bytes(message) for message in flow.messages]
    flow.messages.clear()
    return messages


class Model:
    """What a flow should have handed up, in order."""

    def __init__(self) -> None:
        self.come: dict[int, tuple[int, bytes] | None] = {}
        self.stop = 1

    def receive(self, sequence: int, control: int, data: bytes, forward: int, is_abandoned: bool) -> None:
        if sequence >= self.stop:
            self.come.setdefault(sequence, None if is_abandoned else (control, data))
        self.stop = max(self.stop, forward + 1)
        while self.stop in self.come:
            self.stop += 1

    def messages(self) -> list[bytes]:
        messages: list[bytes] = []
        pieces: list[bytes] | None = None
        before = 0
        for sequence in sorted(each for each in self.come if each < self.stop):
            piece = self.come[sequence]
            if sequence != before + 1 or piece is None:
                pieces = None
            before = sequence
            if piece is None:
                continue
            control, data = piece
            if control in (WHOLE, BEGIN):
                pieces = []
            if pieces is not None:
                pieces.append(data)
                if control in (WHOLE, END):
                    messages.append(b"".join(pieces))
            if control in (WHOLE, END):
                pieces = None
        return messages

    def ranges(self) -> tuple[tuple[int, int], ...]:
        ranges: list[tuple[int, int]] = []
        for sequence in sorted(each for each in self.come if each > self.stop):
            if ranges and ranges[-1][1] == sequence:
                ranges[-1] = ranges[-1][0], sequence + 1
            else:
                ranges.append((sequence, sequence + 1))
        return tuple(ranges)


class ReceiveFlowMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.flow, self.model = ReceiveFlow(1, b""), Model()
        self.handed_up: list[bytes] = []
        self.count = 0

    def receive(self, sequence: int, control: int, forward: int, is_abandoned: bool = False) -> None:
        self.count += 1
        data = b"%d," % self.count
        flags = FLAG_ABANDONED if is_abandoned else 0
        receive(self.flow, sequence, control, data, forward, flags)
        self.model.receive(sequence, control, data, forward, is_abandoned)
        self.handed_up += taken(self.flow)

    @rule(control=st.sampled_from(CONTROLS))
    def in_order(self, control: int) -> None:
        self.receive(self.model.stop, control, 0)

    @rule(control=st.sampled_from(CONTROLS), ahead=st.integers(-3, 12), back=st.integers(1, 15))
    def somewhere(self, control: int, ahead: int, back: int) -> None:
        sequence = max(1, self.model.stop + ahead)
        self.receive(sequence, control, max(0, sequence - back))

    @rule(ahead=st.integers(-3, 12), back=st.integers(0, 5))
    def abandoned(self, ahead: int, back: int) -> None:
        sequence = max(1, self.model.stop + ahead)
        self.receive(sequence, WHOLE, max(0, sequence - back), is_abandoned=True)

    @rule(distance=st.integers(1, 1 << 60), back=st.integers(1, 3))
    def far_away(self, distance: int, back: int) -> None:
        sequence = self.model.stop + distance
        if sequence < 1 << 63:
            self.receive(sequence, WHOLE, sequence - back)

    @invariant()
    def is_as_the_model(self) -> None:
        assert self.handed_up == self.model.messages()
        acknowledgement = self.flow.acknowledgement()
        assert acknowledgement.cumulative == self.model.stop - 1
        assert acknowledgement.ranges == self.model.ranges()[:MAX_TOLD_RANGES]

    @invariant()
    def keeps_no_more_than_what_waits(self) -> None:
        kept = [piece for each, piece in self.model.come.items() if each > self.model.stop and piece is not None]
        assert self.flow.kept_bytes == sum(len(data) + FRAGMENT_COST for _, data in kept)


TestReceiveFlow = ReceiveFlowMachine.TestCase
TestReceiveFlow.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def fragments_of(sizes: list[int]) -> list[tuple[int, int, int]]:
    """Number, control and message of each fragment of messages in so many fragments."""
    fragments: list[tuple[int, int, int]] = []
    for message, size in enumerate(sizes):
        for place in range(size):
            control = WHOLE if size == 1 else BEGIN if not place else END if place == size - 1 else MIDDLE
            fragments.append((len(fragments) + 1, control, message))
    return fragments


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 1 << 32), st.sampled_from(Order))
def test_any_order_with_repetitions(sizes: list[int], seed: int, order: Order) -> None:
    fragments = fragments_of(sizes)
    rng = SeededRng(seed)
    arriving = fragments + [rng.choice(fragments) for _ in range(4)]
    rng.shuffle(arriving)
    flow = ReceiveFlow(1, b"")
    flow.order = order
    come: set[int] = set()
    handed_up: list[bytes] = []
    for sequence, control, message in arriving:
        come.add(sequence)
        receive(flow, sequence, control, b"%d:%d " % (message, sequence))
        new = taken(flow)
        if order is Order.ARRIVAL:
            whole = [each for each in range(len(sizes)) if all(n in come for n, _, m in fragments if m == each)]
            assert sorted([*handed_up, *new]) == sorted(_text(fragments, each) for each in whole)
        handed_up += new
    assert sorted(handed_up) == sorted(_text(fragments, each) for each in range(len(sizes)))
    if order is Order.SEQUENCE:
        assert handed_up == [_text(fragments, each) for each in range(len(sizes))]
    assert flow.next_sequence == len(fragments) + 1 and flow.kept_bytes == 0


def _text(fragments: list[tuple[int, int, int]], message: int) -> bytes:
    return b"".join(b"%d:%d " % (m, n) for n, _, m in fragments if m == message)


def test_on_arrival_nothing_comes_twice_when_the_gap_closes() -> None:
    flow = ReceiveFlow(1, b"")
    flow.order = Order.ARRIVAL
    receive(flow, 1, BEGIN, b"a")
    receive(flow, 4, BEGIN, b"c")
    receive(flow, 5, END, b"d")
    assert taken(flow) == [b"cd"] and flow.kept_bytes == 0
    receive(flow, 2, END, b"b")
    assert taken(flow) == [b"ab"]
    receive(flow, 3, WHOLE, b"x")
    assert taken(flow) == [b"x"] and flow.next_sequence == 6


def test_a_repetition_is_acknowledged_at_once_and_the_next_in_order_is_not() -> None:
    flow = ReceiveFlow(1, b"")
    assert not receive(flow, 1)
    assert receive(flow, 1)
    assert receive(flow, 3)
    assert receive(flow, 2)
    assert not receive(flow, 4)


def test_a_forward_sequence_number_at_the_fragment_itself_only_if_it_is_abandoned() -> None:
    """As the RFC author's implementation sends the first of a flow's abandoned fragments."""
    flow = ReceiveFlow(1, b"")
    receive(flow, 5, WHOLE, b"", 5, FLAG_ABANDONED)
    assert flow.next_sequence == 6
    with pytest.raises(RemoteError):
        receive(flow, 7, WHOLE, b"", 7)


def test_a_message_with_a_piece_given_up_is_dropped_and_nothing_behind_it() -> None:
    flow = ReceiveFlow(1, b"")
    receive(flow, 1, BEGIN, b"a")
    receive(flow, 3, END, b"c")
    receive(flow, 4, WHOLE, b"d")
    receive(flow, 2, WHOLE, b"", 1, FLAG_ABANDONED)
    assert taken(flow) == [b"d"] and flow.next_sequence == 5


def test_the_end() -> None:
    flow = ReceiveFlow(1, b"")
    receive(flow, 3, WHOLE, b"", 1, FLAG_ABANDONED | FLAG_FINAL)
    assert not flow.is_complete
    receive(flow, 1, WHOLE, b"a")
    receive(flow, 2, WHOLE, b"b")
    assert flow.is_complete and taken(flow) == [b"b"]  # the first was given up by then
    with pytest.raises(RemoteError):
        receive(flow, 4)


def test_a_message_that_is_too_long() -> None:
    flow = ReceiveFlow(1, b"")
    receive(flow, 1, BEGIN, bytes(MAX_MESSAGE_BYTES - 1))
    receive(flow, 2, MIDDLE, b"x")
    with pytest.raises(RemoteError):
        receive(flow, 3, MIDDLE, b"x")


@pytest.mark.parametrize("order", Order)
def test_what_waits_is_bounded(order: Order) -> None:
    flow = ReceiveFlow(1, b"")
    flow.order = order
    data = bytes(1000)
    for sequence in range(2, 3 * BUFFER_BYTES // 1000):
        receive(flow, sequence, BEGIN, data)
        assert flow.kept_bytes <= BUFFER_BYTES
    assert flow.acknowledgement().buffer_blocks >= 1
    receive(flow, 1, BEGIN, b"")  # what all wait for is always taken
    assert flow.kept_bytes == 0


def test_holes_are_bounded() -> None:
    flow = ReceiveFlow(1, b"")
    for sequence in range(2, 4 * MAX_RANGES, 2):
        receive(flow, sequence)
    told = flow.acknowledgement().ranges
    assert len(told) == MAX_TOLD_RANGES and told[0] == (2, 3)
    receive(flow, 8 * MAX_RANGES, WHOLE, b"", 8 * MAX_RANGES - 1)  # what need not be waited for makes room
    assert flow.next_sequence == 8 * MAX_RANGES + 1


def test_what_the_session_has_no_room_for_comes_again() -> None:
    flow = ReceiveFlow(1, b"")
    assert flow.receive(2, WHOLE, 0, memoryview(bytes(100)), 50)
    assert flow.acknowledgement().ranges == ()
    assert flow.receive(1, WHOLE, 0, memoryview(b"a"), 0) is False and taken(flow) == [b"a"]


def test_rejected_it_keeps_nothing_and_still_ends() -> None:
    flow = ReceiveFlow(1, b"")
    receive(flow, 1, BEGIN, b"a")
    receive(flow, 3, END, b"c")
    flow.reject(5)
    assert flow.kept_bytes == 0 and flow.partial_bytes == 0
    assert receive(flow, 2, MIDDLE, b"b")
    receive(flow, 4, WHOLE, b"", 3, FLAG_ABANDONED | FLAG_FINAL)
    assert flow.is_complete and not flow.messages


def work(flow: ReceiveFlow, sequences: list[int], control: int = MIDDLE) -> float:
    """Processor seconds for these, a byte each."""
    before = time.process_time()
    for sequence in sequences:
        receive(flow, sequence, control, b"x")
    return time.process_time() - before


def test_no_order_of_arrival_is_costly() -> None:
    """Nothing is looked through again and again: two hundred times the work of the straight way would be a second."""
    count = 20_000
    straight = work(ReceiveFlow(1, b""), list(range(1, count))) + 0.01
    holes = ReceiveFlow(1, b"")
    work(holes, list(range(3, 3 + count)))
    work(holes, list(range(2 * count, 3 * count)))
    assert work(holes, [1, 2]) < 20 * straight
    backwards = ReceiveFlow(1, b"")
    backwards.order = Order.ARRIVAL
    assert work(backwards, list(range(count // 4, 1, -1))) < MAX_ARRIVAL_FRAGMENTS * straight / 4
