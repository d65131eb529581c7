"""The sending end of a flow, alone: cutting, sending again, giving up, closing, being rejected."""

from __future__ import annotations

import pytest

from swarmd.transport.api import Priority
from swarmd.transport.rtmfp.chunks import BEGIN, END, FLAG_ABANDONED, FLAG_FINAL, MIDDLE, WHOLE
from swarmd.transport.rtmfp.fragments import Fragment
from swarmd.transport.rtmfp.inflight import InFlight
from swarmd.transport.rtmfp.messages import Message
from swarmd.transport.rtmfp.sendflow import INITIAL_WINDOW_BYTES, SendFlow

ROOM = 106
NOW = 5.0


class Bench:
    """A flow and what is under way of it, one fragment in a packet."""

    def __init__(self) -> None:
        self.flow = SendFlow(1, Priority.DATA, b"")
        self.in_flight = InFlight()

    def add(self, size: int, start_by: float | None = None, finish_by: float | None = None) -> Message:
        message = Message([bytes(size)], start_by, finish_by)
        self.flow.add(message)
        return message

    def send(self, now: float = NOW) -> Fragment | None:
        fragment = self.flow.next_fragment(ROOM, now)
        if fragment is not None:
            self.in_flight.sent([fragment], len(fragment.data) + 10, now)
        return fragment

    def send_all(self, now: float = NOW) -> list[Fragment]:
        sent = []
        while (fragment := self.send(now)) is not None:
            sent.append(fragment)
        return sent

    def lose(self, *fragments: Fragment) -> None:
        for fragment in fragments:
            self.in_flight.forget([fragment])
            self.flow.lost(fragment)

    def acknowledge(self, cumulative: int, *ranges: tuple[int, int]) -> list[int]:
        confirmed = self.flow.acknowledged(cumulative, ranges)
        self.in_flight.confirm(confirmed)
        return [fragment.sequence for fragment in confirmed]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_message_is_cut_to_the_room(bench: Bench) -> None:
    bench.add(250)
    bench.add(3)
    sent = bench.send_all()
    assert [(each.sequence, each.flags, len(each.data)) for each in sent] == [
        (1, BEGIN, 102),
        (2, MIDDLE, 102),
        (3, END, 46),
        (4, WHOLE, 3),
    ]
    assert bench.flow.queued_bytes == 0 and bench.flow.outstanding_bytes == 253


def test_the_head_has_number_and_distance_from_what_is_not_acknowledged(bench: Bench) -> None:
    for _ in range(3):
        bench.add(1)
    bench.send_all()
    assert bench.flow.head == b"\x01\x03\x03"  # nothing acknowledged: the forward sequence number is 0
    bench.acknowledge(2)
    bench.add(1)
    bench.send()
    assert bench.flow.head == b"\x01\x04\x02"


def test_messages_of_no_bytes_are_messages(bench: Bench) -> None:
    message = bench.add(0)
    assert [each.flags for each in bench.send_all()] == [WHOLE]
    bench.acknowledge(1)
    assert message.done is True


def test_done_when_every_fragment_is_acknowledged(bench: Bench) -> None:
    message = bench.add(250)
    bench.send_all()
    assert bench.acknowledge(1, (3, 4)) == [1, 3] and message.done is None
    assert bench.acknowledge(3) == [2] and message.done is True
    assert bench.flow.delivered == [message]
    assert bench.flow.outstanding_bytes == bench.in_flight.in_flight_bytes == 0


def test_ranges_that_grow_and_repeat(bench: Bench) -> None:
    for _ in range(9):
        bench.add(1)
    bench.send_all()
    assert bench.acknowledge(0, (2, 4)) == [2, 3]
    assert bench.acknowledge(0, (2, 4)) == []
    assert bench.acknowledge(0, (2, 6), (8, 9)) == [4, 5, 8]
    assert bench.acknowledge(0, (2, 3)) == []  # an older one
    assert bench.acknowledge(1, (2, 9)) == [1, 6, 7]
    assert bench.acknowledge(9) == [9]


def test_an_acknowledgement_of_numbers_never_sent_is_one_of_what_was_sent(bench: Bench) -> None:
    for _ in range(3):
        bench.add(1)
    bench.send_all()
    assert bench.acknowledge(0, (1000, 2**60)) == []
    for _ in range(3):
        bench.add(1)
    bench.send_all()
    assert bench.acknowledge(0, (1000, 2**60)) == []
    assert bench.acknowledge(2**62) == [1, 2, 3, 4, 5, 6]
    bench.add(1)
    assert [each.sequence for each in bench.send_all()] == [7]


def test_the_window_is_a_bound_for_new_data_only(bench: Bench) -> None:
    bench.flow.window_bytes = 100
    bench.add(150)
    first = bench.send()
    assert first is not None and bench.send() is None and bench.flow.is_blocked
    bench.lose(first)
    assert not bench.flow.is_blocked and bench.flow.is_ready
    assert bench.send() is first


def test_lost_fragments_go_first_and_are_the_same(bench: Bench) -> None:
    bench.add(250)
    first, second, third = bench.send_all()
    bench.add(10)
    bench.lose(first, third)
    data = bytes(first.data)
    again = bench.send_all()
    assert again[:2] == [first, third] and again[0].data == data
    assert bench.acknowledge(4) == [1, 2, 3, 4] and second.sent is None


def test_a_lost_fragment_that_arrived_after_all_is_not_sent_again(bench: Bench) -> None:
    message = bench.add(1)
    (only,) = bench.send_all()
    bench.lose(only)
    assert bench.acknowledge(1) == [1] and message.done
    assert bench.send() is None


def test_not_begun_in_time_takes_no_number(bench: Bench) -> None:
    late, good = bench.add(200, start_by=NOW - 1), bench.add(7)
    assert [(each.sequence, len(each.data)) for each in bench.send_all()] == [(1, 7)]
    assert late.done is False and bench.flow.delivered == [late] and bench.flow.queued_bytes == 0
    bench.acknowledge(1)
    assert good.done is True


def test_begun_in_time_is_finished(bench: Bench) -> None:
    message = bench.add(200, start_by=NOW)
    bench.send(NOW)
    assert len(bench.send_all(NOW + 10)) == 1
    bench.acknowledge(2)
    assert message.done is True


def test_a_rest_that_is_late_is_not_cut(bench: Bench) -> None:
    late, good = bench.add(300, finish_by=NOW), bench.add(1)
    bench.send(NOW)
    assert [(each.sequence, each.flags) for each in bench.send_all(NOW + 1)] == [(2, WHOLE)]
    assert late.done is None and bench.flow.queued_bytes == 0
    bench.acknowledge(2)
    assert late.done is False and good.done is True


def test_of_a_late_message_only_numbers_are_sent_again(bench: Bench) -> None:
    late = bench.add(200, finish_by=NOW)
    good = bench.add(1)
    sent = bench.send_all()
    bench.lose(*sent)
    again = bench.send_all(NOW + 1)
    assert [(each.sequence, bytes(each.data), bool(each.flags & FLAG_ABANDONED)) for each in again] == [
        (1, b"", True),
        (2, b"", True),
        (3, b"\0", False),
    ]
    assert late.done is False
    bench.acknowledge(3)
    assert good.done is True and bench.flow.outstanding_bytes == 0


def test_what_stands_before_acknowledged_fragments_is_told_too(bench: Bench) -> None:
    """The receiver has the second message and waits for the first: it has to hear that it need not."""
    late = bench.add(1, finish_by=NOW)
    bench.add(1)
    first, _ = bench.send_all()
    assert bench.acknowledge(0, (2, 3)) == [2]
    bench.lose(first)
    (again,) = bench.send_all(NOW + 1)
    assert again.sequence == 1 and again.flags & FLAG_ABANDONED and late.done is False


def test_sent_once_is_not_sent_twice(bench: Bench) -> None:
    message = Message([bytes(300)], is_sent_once=True)
    bench.flow.add(message)
    first = bench.send()
    assert first is not None
    bench.lose(first)
    assert [(each.sequence, len(each.data)) for each in bench.send_all()] == [(1, 0)]
    assert message.done is False and not bench.flow.is_ready


def test_abandoned_by_the_sender(bench: Bench) -> None:
    waiting, good = bench.add(300), bench.add(1)
    waiting.abandon()
    assert [each.sequence for each in bench.send_all()] == [1]
    assert waiting.done is False
    bench.acknowledge(1)
    good.abandon()
    assert good.done is True  # too late


def test_the_end_stands_behind_all_else(bench: Bench) -> None:
    bench.add(1)
    bench.flow.close()
    sent = bench.send_all()
    assert [each.flags for each in sent] == [WHOLE, WHOLE | FLAG_ABANDONED | FLAG_FINAL]
    bench.acknowledge(1)
    assert not bench.flow.is_complete
    bench.lose(sent[1])
    assert bench.send() is sent[1]
    bench.acknowledge(2)
    assert bench.flow.is_complete


def test_rejected_it_gives_up_everything_and_tells_the_end(bench: Bench) -> None:
    begun, waiting = bench.add(300), bench.add(INITIAL_WINDOW_BYTES)
    bench.send()
    bench.in_flight.forget(bench.flow.reject(7))
    assert begun.done is False and waiting.done is False and bench.flow.exception == 7
    assert bench.flow.queued_bytes == bench.flow.outstanding_bytes == bench.in_flight.in_flight_bytes == 0
    (end,) = bench.send_all()
    assert end.flags & FLAG_FINAL and end.sequence == 2 and bench.flow.head == b"\x01\x02\x01"
    assert bench.flow.reject(8) == [] and bench.flow.exception == 7
    bench.acknowledge(2)
    late = bench.add(1)
    assert late.done is False and not bench.flow.is_complete  # until it is closed here too
    bench.flow.close()
    assert bench.flow.is_complete and bench.send() is None


def test_rejected_behind_its_end(bench: Bench) -> None:
    bench.add(1)
    bench.flow.close()
    _, end = bench.send_all()
    bench.in_flight.forget(bench.flow.reject(0))
    assert not bench.flow.is_complete and bench.send() is None  # the end that is under way is the end
    bench.lose(end)
    assert bench.send() is end and bench.flow.head == b"\x01\x02\x01"
    bench.acknowledge(2)
    assert bench.flow.is_complete
