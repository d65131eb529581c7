"""Partial reliability through two sessions (RFC 7016 §3.6.2): what is late is given up, and nothing else."""

from __future__ import annotations

import pytest

from swarmd.transport.api import FlowClosed, MessageSent, Priority
from swarmd.transport.rtmfp.messages import Message
from swarmd.transport.rtmfp.receiveflow import Order
from tests.transport.rtmfp.network import Weather
from tests.transport.rtmfp.scenes import scene

STORM = Weather(loss=0.2, duplication=0.1, corruption=0.05, jitter=0.05)


def numbered(number: int, size: int = 3000) -> bytes:
    return number.to_bytes(2, "big") * (size // 2)


def numbers(messages: list[bytes]) -> list[int]:
    for message in messages:
        assert message == message[:2] * (len(message) // 2)  # whole
    return [int.from_bytes(message[:2], "big") for message in messages]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_told_delivered_has_come_and_all_reliable_ones_have(seed: int) -> None:
    it = scene(seed, STORM)
    flow = it.one.open_flow(b"mixed", Priority.DATA)
    receipts: list[Message] = []
    reliable: set[int] = set()
    for number in range(60):
        now = it.network.now
        if number % 4 == 0:
            reliable.add(number)
            receipts.append(it.one.send_message(flow, [numbered(number)]))
        elif number % 4 == 1:
            receipts.append(it.one.send_message(flow, [numbered(number)], start_by=now + 0.05))
        elif number % 4 == 2:
            receipts.append(it.one.send_message(flow, [numbered(number)], finish_by=now + 0.15))
        else:
            receipts.append(it.one.send_message(flow, [numbered(number)], is_sent_once=True))
        it.network.run_for(0.03)
    it.one.close_flow(flow)
    assert it.until(lambda: bool(it.happened(FlowClosed)), 200)
    come = numbers(it.received(flow))
    assert come == sorted(set(come)) and reliable <= set(come)
    assert it.until(lambda: all(each.done is not None for each in receipts), 200)
    delivered = {number for number, each in enumerate(receipts) if each.done}
    assert reliable <= delivered <= set(come)
    assert len(come) < 60  # the storm took some


@pytest.mark.parametrize("order", Order)
def test_nothing_later_is_held_up(order: Order) -> None:
    """The first is lost and late; the second has arrived, and nothing more is sent that could tell."""
    it = scene()
    flow = it.one.open_flow(b"held up?", Priority.DATA)
    it.one.send(flow, [b"opens the flow"])
    assert it.until(lambda: len(it.received(flow)) == 1)
    it.other.set_order(flow, order)
    late = it.one.send_message(flow, [b"late"], finish_by=it.network.now + 0.001)
    it.network.weather.loss = 1.0
    it.network.collect()
    it.network.weather.loss = 0.0
    it.network.run_for(0.002)
    good = it.one.send_message(flow, [b"good"])
    assert it.until(lambda: it.received(flow)[1:] == [b"good"], 2.0)
    assert it.until(lambda: late.done is False and good.done is True, 2.0)


def test_sent_once_arrives_where_nothing_is_lost() -> None:
    it = scene()
    flow = it.one.open_flow(b"once", Priority.DATA)
    receipts = [it.one.send_message(flow, [numbered(each)], is_sent_once=True) for each in range(30)]
    assert it.until(lambda: all(each.done for each in receipts), 10)
    assert numbers(it.received(flow)) == list(range(30))


def test_abandoned_in_the_middle() -> None:
    it = scene(weather=Weather(delay=0.1))
    flow = it.one.open_flow(b"long", Priority.DATA, report_sent=True)
    long, short = it.one.send_message(flow, [bytes(1 << 20)]), it.one.send_message(flow, [b"short"])
    it.network.run_for(0.3)
    assert long.is_started and not long.is_cut
    long.abandon()
    assert it.until(lambda: it.received(flow) == [b"short"], 10)
    assert it.until(lambda: short.done is True and long.done is False, 10)
    told = [event.size for event in it.near.events[it.one] if isinstance(event, MessageSent)]
    assert sorted(told) == [5, 1 << 20]  # both buffers may be used again
    assert it.one.queued_bytes == 0


def test_late_ones_do_not_fill_the_queue() -> None:
    """A live stream over a path that is cut for a while."""
    it = scene()
    flow = it.one.open_flow(b"live", Priority.TIME_CRITICAL)
    it.network.weather.loss = 1.0
    for _ in range(400):
        it.one.send_message(flow, [bytes(100_000)], start_by=it.network.now + 0.1)
        it.network.run_for(0.02)
    it.network.weather.loss = 0.0
    last = it.one.send_message(flow, [b"last"])
    assert it.until(lambda: last.done is True, 30)
