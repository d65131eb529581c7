"""What flows do through two sessions: rejection, return flows, the end, a closed receive buffer, priorities."""

from __future__ import annotations

import pytest

from swarmd.core.errors import LocalError
from swarmd.core.rng import SeededRng
from swarmd.transport.api import FlowClosed, FlowOpened, MessageReceived, MessageSent, Priority, State
from swarmd.transport.rtmfp.chunks import BUFFER_BLOCK_BYTES, BufferProbe, FlowException, UserData
from swarmd.transport.rtmfp.options import Option
from swarmd.transport.rtmfp.receiveflow import BUFFER_BYTES
from swarmd.transport.rtmfp.receiving import CLOSED_PERIOD
from swarmd.transport.rtmfp.sendflow import INITIAL_WINDOW_BYTES
from tests.transport.rtmfp.network import Weather
from tests.transport.rtmfp.scenes import chunks_sent, inject_chunks, plain_scene, scene

LOSSY = Weather(loss=0.2, jitter=0.02)


def test_a_rejected_flow_tells_its_code_and_ends_at_both_ends() -> None:
    it = scene(3, LOSSY)
    flow = it.one.open_flow(b"unwanted", Priority.DATA, report_sent=True)
    for _ in range(10):
        it.one.send(flow, [bytes(50_000)])
    assert it.until(lambda: bool(it.happened(FlowOpened)))
    it.other.reject_flow(flow, 42, it.network.now)
    come = len(it.received(flow))
    assert it.until(lambda: it.one.rejection(flow) == 42)
    it.one.send(flow, [b"who goes on writing has done nothing wrong"])
    it.network.run_for(5)
    assert len(it.received(flow)) == come and it.one.queued_bytes == 0
    assert sum(isinstance(each, MessageSent) for each in it.near.events[it.one]) == 11
    assert flow not in it.other._receiving.flows  # it has heard the end
    it.one.close_flow(flow)
    assert flow not in it.one._sending.flows
    assert not it.happened(FlowClosed)
    with pytest.raises(LocalError):
        it.one.send(flow, [b"closed"])


def test_many_rejected_flows_leave_nothing() -> None:
    it = scene()
    for _ in range(200):
        flow = it.one.open_flow(b"unwanted", Priority.DATA)
        it.one.send(flow, [b"x"])
        assert it.until(lambda flow=flow: flow in it.other._receiving.flows)  # type: ignore[misc]
        it.other.reject_flow(flow, 0, it.network.now)
        it.one.close_flow(flow)
    it.network.run_for(2)
    assert not it.other._receiving.flows and not it.one._sending.flows


def test_rejecting_a_flow_that_is_over_is_nothing() -> None:
    it = scene()
    it.other.reject_flow(77, 1, it.network.now)
    assert it.other.state is State.OPEN


def test_a_return_flow_knows_what_it_answers() -> None:
    it = scene()
    asked = it.one.open_flow(b"question", Priority.DATA)
    it.one.send(asked, [b"?"])
    assert it.until(lambda: it.received(asked) == [b"?"])
    back = it.other.open_flow(b"answer", Priority.DATA, in_return_to=asked)
    it.other.send(back, [b"!"])
    assert it.until(lambda: it.answered(back) == [b"!"])
    assert it.one._receiving.flows[back].associated == asked


def test_a_return_flow_to_nothing_is_rejected() -> None:
    it = scene()
    back = it.other.open_flow(b"answer", Priority.DATA, in_return_to=5)
    it.other.send(back, [b"!"])
    assert it.until(lambda: it.other.rejection(back) == 0)
    assert not it.answered(back) and not any(isinstance(each, FlowOpened) for each in it.near.events[it.one])


@pytest.mark.parametrize("options", [(), (Option(0x7F, b""), Option(0, b"about"))])
def test_without_metadata_or_with_what_must_be_known_it_is_rejected(options: tuple[Option, ...]) -> None:
    it = plain_scene()
    inject_chunks(it, UserData(9, 1, 0, b"data", options=options))
    assert it.network.run(lambda: FlowException(9, 0) in chunks_sent(it.far, {it.one.near_id}), 5)
    assert not it.happened(FlowOpened) and it.other.state is State.OPEN


def test_what_need_not_be_known_is_passed_over() -> None:
    it = plain_scene()
    inject_chunks(it, UserData(9, 1, 0, b"data", options=(Option(9999, b"?"), Option(0, b"about"))))
    assert it.received(9) == [b"data"]


@pytest.mark.parametrize("seed", range(10))
def test_the_end_comes_once_and_behind_all(seed: int) -> None:
    it = scene(seed, Weather(loss=0.3, duplication=0.3, jitter=0.05))
    flow = it.one.open_flow(b"short", Priority.DATA)
    for number in range(5):
        it.one.send(flow, [bytes((number,)) * 3000])
    it.one.close_flow(flow)
    assert it.until(lambda: bool(it.happened(FlowClosed)) and not it.one._sending.flows, 100)
    it.network.run_for(5)
    events = [each for each in it.far.events[it.other] if getattr(each, "flow", None) == flow]
    kinds = [type(each) for each in events]
    assert kinds == [FlowOpened, *[MessageReceived] * 5, FlowClosed]


def test_a_number_may_be_used_again_when_the_flow_is_long_over() -> None:
    """As the RFC author's implementation does, 130 s after the end."""
    it = plain_scene()
    about = (Option(0, b"about"),)
    inject_chunks(
        it, UserData(9, 1, 0, b"one", options=about), UserData(9, 2, 1, b"", is_abandoned=True, is_final=True)
    )
    inject_chunks(it, UserData(9, 1, 0, b"one", options=about))  # a late repetition
    assert it.received(9) == [b"one"] and len(it.happened(FlowClosed)) == 1
    it.network.run_for(CLOSED_PERIOD + 1)
    inject_chunks(it, UserData(9, 1, 0, b"two", options=about))
    assert it.received(9) == [b"one", b"two"] and len(it.happened(FlowOpened)) == 2


def test_a_closed_window_is_asked_about_and_nothing_is_sent() -> None:
    it = plain_scene()
    flow = it.one.open_flow(b"bulk", Priority.BULK)
    it.one.send(flow, [b"first"])
    assert it.until(lambda: it.received(flow) == [b"first"])
    it.network.run_for(1)
    sending = it.one._sending
    sending.acknowledged(flow, 0, 1, (), it.network.now)
    it.network.lose = lambda source, target, data: source == it.far.address
    it.one.send(flow, [bytes(5000)])
    before = len(it.near.sent)
    it.network.run_for(20)
    probes = sum(chunk == BufferProbe(flow) for chunk in chunks_sent(it.near, {it.other.near_id}))
    assert 4 <= probes <= 12  # at 1 s, then ever more rarely
    assert len(it.received(flow)) == 1 and len(it.near.sent) - before < 40
    it.network.lose = lambda source, target, data: False
    assert it.until(lambda: len(it.received(flow)) == 2, 20)  # the answer to a probe opens it


def test_no_more_than_the_window_is_under_way() -> None:
    it = scene(weather=Weather(delay=0.2))
    flow = it.one.open_flow(b"bulk", Priority.BULK)
    for _ in range(4):
        it.one.send(flow, [bytes(200_000)])
    most = 0

    def is_done() -> bool:
        nonlocal most
        target = it.one._sending.flows[flow]
        if target.window_bytes == INITIAL_WINDOW_BYTES:
            most = max(most, target.outstanding_bytes)
        return len(it.received(flow)) == 4

    assert it.until(is_done) and most <= INITIAL_WINDOW_BYTES + 1200


def test_a_tiny_window_still_moves() -> None:
    """A receiver whose buffer is full of the beginning of a long message has room for one block: it goes on."""
    it = scene()
    flow = it.one.open_flow(b"bulk", Priority.BULK)
    it.one.send(flow, [b"first"])
    assert it.until(lambda: it.received(flow) == [b"first"])
    receiving = it.other._receiving.flows[flow]
    receiving.kept_bytes = BUFFER_BYTES  # so it advertises the least there is
    it.one.send(flow, [bytes(30_000)])
    assert it.until(lambda: it.one._sending.flows[flow].window_bytes == BUFFER_BLOCK_BYTES, 5)
    assert it.until(lambda: len(it.received(flow)) == 2, 20)


def test_higher_priorities_go_first_and_equals_take_turns() -> None:
    it = scene(weather=Weather(delay=0.05))
    bulk = [it.one.open_flow(b"bulk", Priority.BULK) for _ in range(2)]
    urgent = it.one.open_flow(b"urgent", Priority.FLASH)
    for flow in bulk:
        for _ in range(20):
            it.one.send(flow, [bytes(60_000)])
    it.network.run_for(0.5)
    before = [len(it.received(flow)) for flow in bulk]
    assert abs(before[0] - before[1]) <= 1
    it.one.send(urgent, [bytes(20_000)])
    assert it.until(lambda: len(it.received(urgent)) == 1, 5)
    assert sum(len(it.received(flow)) for flow in bulk) < 40


def test_flows_of_every_priority_at_once() -> None:
    it = scene(5, LOSSY)
    rng = SeededRng(5)
    sent = {}
    for priority in Priority:
        flow = it.one.open_flow(priority.name.encode(), priority)
        sent[flow] = [rng.bytes(rng.choice((0, 10, 20_000))) for _ in range(10)]
        for message in sent[flow]:
            it.one.send(flow, [message])
    assert it.until(lambda: all(it.received(flow) == messages for flow, messages in sent.items()), 120)
    opened = {each.flow: each.priority for each in it.happened(FlowOpened) if isinstance(each, FlowOpened)}
    assert sorted(opened.values()) == list(Priority)
