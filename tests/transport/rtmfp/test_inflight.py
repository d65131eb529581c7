"""Packets under way: what is confirmed, what is lost, and that the bytes add up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.rng import SeededRng
from swarmd.transport.api import Priority
from swarmd.transport.rtmfp.chunks import WHOLE
from swarmd.transport.rtmfp.fragments import Fragment
from swarmd.transport.rtmfp.inflight import LOSS_DISTANCE, InFlight
from swarmd.transport.rtmfp.sendflow import SendFlow


def fragments(count: int) -> list[Fragment]:
    flow = SendFlow(1, Priority.DATA, b"")
    return [Fragment(flow, number + 1, WHOLE, b"x", None) for number in range(count)]


def sent(count: int) -> tuple[InFlight, list[Fragment]]:
    in_flight, each = InFlight(), fragments(count)
    for number, fragment in enumerate(each):
        in_flight.sent([fragment], 100, float(number))
    return in_flight, each


def test_three_sent_later_have_to_arrive() -> None:
    in_flight, each = sent(6)
    for later in range(1, LOSS_DISTANCE):
        in_flight.confirm([each[later]])
        assert in_flight.take_lost() == []
    in_flight.confirm([each[LOSS_DISTANCE]])
    (lost,) = in_flight.take_lost()
    assert lost.fragments == [each[0]] and in_flight.take_lost() == []
    assert in_flight.in_flight_bytes == 200


def test_one_acknowledgement_for_a_whole_batch_counts_the_packets() -> None:
    in_flight, each = sent(10)
    in_flight.confirm([each[9]])
    assert [packet.number for packet in in_flight.take_lost()] == [1, 2, 3, 4, 5, 6, 7]


def test_what_is_sent_again_can_be_lost_again() -> None:
    in_flight, each = sent(4)
    in_flight.confirm(each[1:])
    assert len(in_flight.take_lost()) == 1
    each[0].sent = None
    in_flight.sent([each[0]], 100, 9.0)
    more = fragments(3)
    for fragment in more:
        in_flight.sent([fragment], 100, 9.0)
    in_flight.confirm(more)
    assert [packet.fragments for packet in in_flight.take_lost()] == [[each[0]]]


def test_a_packet_counts_until_all_in_it_is_confirmed() -> None:
    in_flight, each = InFlight(), fragments(3)
    in_flight.sent(each, 1200, 0.0)
    assert in_flight.confirm(each[:2]) == 0 and in_flight.in_flight_bytes == 1200
    assert in_flight.confirm(each[2:]) == 1200 and not in_flight


def test_only_what_was_sent_for_the_first_time_tells_the_time() -> None:
    in_flight, each = sent(1)
    in_flight.forget(each)
    in_flight.sent(each, 100, 5.0)
    in_flight.confirm(each)
    assert in_flight.newest is not None and not in_flight.newest.is_first


def test_forgotten_ones_are_neither_lost_nor_news() -> None:
    in_flight, each = sent(9)
    in_flight.forget(each[8:])
    assert in_flight.newest is None and in_flight.take_lost() == [] and in_flight.in_flight_bytes == 800


@given(st.integers(0, 1 << 32))
def test_the_bytes_add_up(seed: int) -> None:
    rng = SeededRng(seed)
    in_flight = InFlight()
    under_way: set[Fragment] = set()
    for now in range(60):
        match rng.randrange(6):
            case 0 | 1 | 2:
                new = fragments(1 + rng.randrange(3))
                in_flight.sent(new, 100 * len(new), float(now))
                under_way.update(new)
            case 3:
                some = [each for each in sorted(under_way, key=id) if rng.random() < 0.3]
                in_flight.confirm(some)
                under_way.difference_update(some)
                for packet in in_flight.take_lost():
                    under_way.difference_update(packet.fragments)
                    for fragment in packet.fragments:
                        fragment.sent = None
            case 4 if (oldest := in_flight.take_oldest()) is not None:
                assert oldest.number == min([oldest.number, *(each.sent.number for each in under_way if each.sent)])
                under_way.difference_update(oldest.fragments)
            case 5 if rng.random() < 0.2:
                taken = {each for packet in in_flight.take_all() for each in packet.fragments}
                assert under_way <= taken
                under_way.clear()
        packets = {each.sent for each in under_way}
        assert in_flight.in_flight_bytes == sum(packet.size for packet in packets if packet is not None)
        assert len(in_flight) == len(packets)


def test_a_late_acknowledgement_is_not_one_of_what_was_sent_again_meanwhile() -> None:
    in_flight, each = sent(9)
    oldest = in_flight.take_oldest()
    assert oldest is not None and oldest.fragments == each[:1]
    in_flight.sent(each[:1], 100, 20.0)
    in_flight.confirm(each[:1], sent_by=10.0)  # a round trip takes longer than the time since 20
    assert in_flight.take_lost() == [] and in_flight.newest is None and in_flight.in_flight_bytes == 800


def test_the_largest_of_a_batch_is_told_although_a_smaller_one_is_newest() -> None:
    in_flight, each = InFlight(), fragments(3)
    for fragment, size in zip(each, (1472, 1472, 300), strict=True):
        in_flight.sent([fragment], size, 0.0)
    in_flight.confirm(each)
    assert in_flight.newest is not None and in_flight.newest.size == 300
    assert in_flight.largest == 1472
    in_flight.confirm(each)
    assert in_flight.largest == 0, "nothing is confirmed twice"
