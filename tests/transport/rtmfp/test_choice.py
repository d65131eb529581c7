"""CUBIC or LEDBAT++: which drives a session, how the change goes, and that a background transfer yields to others'.

Whole sessions over one bottleneck of 20 Mbit/s and 40 ms. Figures seen: alone, a background session has 80 % of the
line; beside the foreground of another session 2 %, and that 95 %; five seconds after it has ended, 60 % again. Two
foreground sessions share 52:48.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError
from swarmd.core.rng import SeededRng
from swarmd.transport.api import MessageReceived, Priority, State
from swarmd.transport.rtmfp.choice import MAX_CONTROL_BYTES, Choice, pick_background
from swarmd.transport.rtmfp.congestion import DECAY_PERIOD, MIN_PACKETS, initial_window
from swarmd.transport.rtmfp.cubic import Cubic
from swarmd.transport.rtmfp.inflight import InFlight
from swarmd.transport.rtmfp.ledbat import Ledbat, Phase
from swarmd.transport.rtmfp.messages import Message
from swarmd.transport.rtmfp.rtt import RttEstimator
from swarmd.transport.rtmfp.sendflow import SendFlow
from swarmd.transport.rtmfp.session import RtmfpSession
from tests.transport.rtmfp.bottleneck import Link
from tests.transport.rtmfp.network import Network, Node, Weather
from tests.transport.rtmfp.plain import PlainProfile, peer_id_of
from tests.transport.rtmfp.scenes import scene

RATE = 2.5e6
RTT = 0.04
BLOCK = bytes(64 << 10)
PACKET = 1200
QUEUED_BYTES = 4 * len(BLOCK)


class Line(Network):
    """What the near nodes send shares one link; the way back has no queue."""

    def __init__(self, seed: int, rate: float = RATE) -> None:
        super().__init__(seed)
        self.link = Link(rate, RTT / 2, rate * RTT, SeededRng(seed), loss=1e-5)
        self.weather.delay = RTT / 2
        self.weather.largest = 1472
        self.near: set[Address] = set()

    def send(self, node: Node, target: Address, data: bytes) -> None:
        if node.address in self.near:
            at = self.link.send(len(data), self.now)
            if at == math.inf:
                return
            self.weather.delay = at - self.now
        super().send(node, target, data)
        self.weather.delay = RTT / 2


class Pair:
    """A session from a near node to a far one, with a flow of each urgency; `wanted` are those that never run dry."""

    def __init__(self, line: Line, name: str) -> None:
        self.line = line
        near = line.add(name, profile=PlainProfile(name.encode(), line.rng))
        self.far = line.add(f"to {name}", profile=PlainProfile(name.encode() + b"!", line.rng))
        line.near.add(near.address)
        self.session = near.endpoint.connect(peer_id_of(name.encode() + b"!"), [self.far.address], line.now)
        assert line.run(lambda: self.session.state is State.OPEN and bool(self.far.incoming))
        self.background = self.session.open_flow(b"", Priority.BACKGROUND)
        self.bulk = self.session.open_flow(b"", Priority.BULK)
        self.wanted: set[int] = set()

    @property
    def controller(self) -> object:
        return self.session._sending.controller

    def feed(self) -> None:
        for flow in self.wanted:
            while self.session._sending.flows[flow].queued_bytes < QUEUED_BYTES:
                self.session.send(flow, [BLOCK])

    def take(self, flow: int) -> int:
        """Bytes of this flow that have arrived since the last call for any."""
        events = self.far.events[self.far.incoming[0]]
        arrived = sum(
            event.parts[0].nbytes for event in events if isinstance(event, MessageReceived) and event.flow == flow
        )
        events.clear()
        return arrived


def run(line: Line, pairs: Iterable[Pair], period: float) -> None:
    ends_at = line.now + period

    def is_over() -> bool:
        for pair in pairs:
            pair.feed()
        return line.now >= ends_at

    line.run(is_over, period)


# Which drives -----------------------------------------------------------------------------------------------------


def flow(priority: Priority, n_bytes: int = 0) -> SendFlow:
    made = SendFlow(1, priority, b"")
    if n_bytes:
        made.add(Message([bytes(n_bytes)]))
    return made


@pytest.mark.parametrize("was", [True, False])
def test_a_session_is_as_pressing_as_its_most_pressing_bulk(was: bool) -> None:
    background, bulk = flow(Priority.BACKGROUND, 1), flow(Priority.BULK, 1)
    assert pick_background([background], was)
    assert not pick_background([bulk], was)
    assert not pick_background([background, bulk], was)
    assert pick_background([background, flow(Priority.BULK)], was), "an open flow with nothing to send presses nobody"
    assert pick_background([], was) is was
    assert pick_background([flow(Priority.BACKGROUND)], was) is was


@pytest.mark.parametrize("level", [level for level in Priority if level > Priority.BULK])
def test_control_does_not_press_unless_there_is_much_of_it(level: Priority) -> None:
    background = flow(Priority.BACKGROUND, 1)
    assert pick_background([background, flow(level, 300)], False)
    assert pick_background([background, flow(level, MAX_CONTROL_BYTES)], True)
    assert not pick_background([background, flow(level, MAX_CONTROL_BYTES), flow(level, 1)], True)
    assert not pick_background([flow(level, 300)], False)
    assert pick_background([flow(level, 300)], True), "while nothing carries bulk it stays as it was"


def test_what_is_under_way_presses_until_it_is_acknowledged() -> None:
    bulk, in_flight = flow(Priority.BULK, 500), InFlight()
    fragment = bulk.next_fragment(1000, 0.0)
    assert fragment is not None
    in_flight.sent([fragment], 600, 0.0)
    assert not pick_background([bulk, flow(Priority.BACKGROUND, 1)], False)
    in_flight.confirm(bulk.acknowledged(1, ()))
    assert pick_background([bulk, flow(Priority.BACKGROUND, 1)], False)


# The change -------------------------------------------------------------------------------------------------------


def known_path() -> RttEstimator:
    rtt = RttEstimator()
    rtt.add(0.05, 0.0)
    return rtt


def grown(n_bytes: int) -> tuple[Choice, RttEstimator]:
    """In the foreground, with that window."""
    choice, rtt = Choice(Cubic, Ledbat, PACKET, 0.0), known_path()
    choice.controller.take_over(n_bytes, n_bytes, rtt, 0, 0.0)
    return choice, rtt


SEED, FETCH = flow(Priority.BACKGROUND, 1), flow(Priority.BULK, 1)


def test_to_the_background_with_half_the_window_and_without_slow_start() -> None:
    choice, rtt = grown(400 * PACKET)
    assert choice.settle([SEED], rtt, 0, 1.0, 1.0)
    assert choice.is_background
    assert isinstance(choice.controller, Ledbat)
    assert choice.controller.window == 200 * PACKET
    assert choice.controller.phase is Phase.AVOIDANCE
    assert choice.controller.pacing_rate == pytest.approx(1.25 * 200 * PACKET / 0.05), "the path's time is known"
    assert choice.controller.target < 0.06, "and its smallest"
    assert not choice.settle([SEED], rtt, 0, 1.0, 1.0)


def test_to_the_background_on_an_unknown_path_as_if_new() -> None:
    fresh = Choice(Cubic, Ledbat, PACKET, 0.0)
    assert fresh.settle([SEED], RttEstimator(), 0, 0.0, 0.0)
    unused, rtt = grown(initial_window(PACKET))
    assert unused.settle([SEED], rtt, 0, 1.0, 1.0)
    silent, rtt = grown(400 * PACKET)
    assert silent.settle([SEED], rtt, 0, 1.0, 2.0 + DECAY_PERIOD)
    for choice in (fresh, unused, silent):
        assert isinstance(choice.controller, Ledbat)
        assert choice.controller.window == MIN_PACKETS * PACKET
        assert choice.controller.phase is Phase.SLOW_START


def test_back_to_the_foreground_in_slow_start_to_what_was_known() -> None:
    choice, rtt = grown(400 * PACKET)
    choice.settle([SEED], rtt, 0, 1.0, 1.0)
    assert choice.settle([SEED, FETCH], rtt, 0, 2.0, 2.0)
    controller = choice.controller
    assert isinstance(controller, Cubic)
    assert controller.window == 200 * PACKET
    assert controller.is_slow_start
    controller.on_sent(controller.window, 2.0)
    for step in range(100):
        rtt.add(0.05, 2.05)
        controller.on_acknowledged(2 * PACKET, (200 - 2 * step) * PACKET, rtt, 2.05)
    assert controller.window == pytest.approx(300 * PACKET, rel=0.02)
    assert not controller.is_slow_start


def test_to_the_foreground_at_least_a_first_window() -> None:
    choice = Choice(Cubic, Ledbat, PACKET, 0.0)
    choice.settle([SEED], RttEstimator(), 0, 0.0, 0.0)
    assert choice.settle([FETCH], known_path(), 0, 0.1, 0.1)
    assert choice.controller.window == initial_window(PACKET)


def test_the_new_one_yields_to_time_critical_neighbours_as_the_old_did() -> None:
    choice, rtt = grown(400 * PACKET)
    choice.controller.on_time_critical_elsewhere(0.9)
    choice.settle([SEED], rtt, 0, 1.0, 1.0)
    assert choice.controller.yields(1.1)


# Whole sessions ---------------------------------------------------------------------------------------------------


def test_a_background_session_yields_to_anothers_foreground_and_takes_over_again() -> None:
    line = Line(1)
    seeding, fetching = Pair(line, "seeding"), Pair(line, "fetching")
    seeding.wanted = {seeding.background}
    run(line, [seeding, fetching], 4.0)
    assert isinstance(seeding.controller, Ledbat)
    seeding.take(seeding.background)
    run(line, [seeding, fetching], 2.0)
    assert seeding.take(seeding.background) > 0.5 * 2 * RATE, "alone, it has the line"
    fetching.wanted = {fetching.bulk}
    run(line, [seeding, fetching], 3.0)
    assert isinstance(fetching.controller, Cubic)
    seeding.take(seeding.background), fetching.take(fetching.bulk)
    run(line, [seeding, fetching], 4.0)
    assert seeding.take(seeding.background) < 0.15 * 4 * RATE
    assert fetching.take(fetching.bulk) > 0.8 * 4 * RATE
    fetching.wanted = set()
    run(line, [seeding, fetching], 4.0)
    seeding.take(seeding.background)
    run(line, [seeding, fetching], 2.0)
    assert seeding.take(seeding.background) > 0.35 * 2 * RATE, "and again"


def test_a_session_with_both_is_driven_by_the_foreground_and_sends_that_first() -> None:
    line = Line(2)
    both = Pair(line, "both")
    both.wanted = {both.background, both.bulk}
    run(line, [both], 3.0)
    assert isinstance(both.controller, Cubic)
    assert not both.session.is_background
    both.take(both.bulk)
    run(line, [both], 3.0)
    events = both.far.events[both.far.incoming[0]]
    assert not [event for event in events if isinstance(event, MessageReceived) and event.flow == both.background]
    assert both.take(both.bulk) > 0.85 * 3 * RATE


def test_two_sessions_one_of_which_has_both_share_as_two_of_the_foreground() -> None:
    """Its background does not make the foreground beside it give way."""
    line = Line(3)
    both, other = Pair(line, "both"), Pair(line, "other")
    both.wanted, other.wanted = {both.background, both.bulk}, {other.bulk}
    run(line, [both, other], 4.0)
    both.take(both.bulk), other.take(other.bulk)
    run(line, [both, other], 5.0)
    share = both.take(both.bulk) / (5 * RATE)
    assert 0.25 < share < 0.75
    assert share + other.take(other.bulk) / (5 * RATE) > 0.85


def test_the_change_within_a_session_keeps_the_line_busy() -> None:
    line = Line(4)
    pair = Pair(line, "pair")
    pair.wanted = {pair.bulk}
    run(line, [pair], 3.0)
    dropped = line.link.dropped
    for wanted, kind in (({pair.background}, Ledbat), ({pair.bulk}, Cubic), ({pair.background}, Ledbat)):
        pair.wanted = wanted
        run(line, [pair], 0.5)
        pair.take(0)
        run(line, [pair], 1.5)
        assert isinstance(pair.controller, kind)
        assert pair.take(*wanted) > (0.7 if kind is Cubic else 0.2) * 1.5 * RATE
    assert line.link.dropped - dropped < 60, "and the changes cost no burst of losses"


def test_a_flow_is_switched_with_all_that_waits_in_it() -> None:
    line = Line(5)
    pair = Pair(line, "pair")
    pair.wanted = {pair.bulk}
    run(line, [pair], 1.0)
    assert not pair.session.is_background
    pair.session.set_priority(pair.bulk, Priority.BACKGROUND)
    run(line, [pair], 0.1)
    assert pair.session.is_background
    pair.session.set_priority(pair.bulk, Priority.BULK)
    run(line, [pair], 0.1)
    assert not pair.session.is_background
    pair.wanted = set()
    run(line, [pair], 5.0)
    assert pair.session.queued_bytes == 0
    assert pair.session._sending.is_idle


def test_only_a_flow_that_there_is_can_be_switched() -> None:
    it = scene()
    with pytest.raises(LocalError):
        it.one.set_priority(7, Priority.BULK)
    it.one.close()
    it.one.set_priority(7, Priority.BULK)  # the Closed event tells


def test_requests_beside_a_background_transfer_do_not_make_it_press() -> None:
    line = Line(6)
    pair = Pair(line, "pair")
    requests = pair.session.open_flow(b"", Priority.ROUTINE)
    pair.wanted = {pair.background}
    run(line, [pair], 1.0)
    for _ in range(50):
        pair.session.send(requests, [bytes(40)])
        run(line, [pair], 0.02)
        assert pair.session.is_background


def _is_forgotten(session: RtmfpSession) -> bool:
    return not session._sending._active


def test_flows_that_have_ended_are_not_remembered() -> None:
    it = scene()
    for _ in range(20):
        number = it.one.open_flow(b"", Priority.BULK)
        it.one.send(number, [b"x"])
        it.one.close_flow(number)
    assert it.until(lambda: it.one._sending.is_idle)
    assert _is_forgotten(it.one)


# What the controller is told --------------------------------------------------------------------------------------


class Told(Cubic):
    """Writes down the losses."""

    losses: list[tuple[int, float]]

    def on_loss(self, n_bytes: int, sent_at: float, now: float) -> None:
        self.losses.append((n_bytes, sent_at))
        super().on_loss(n_bytes, sent_at, now)


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_loss_that_a_probe_repairs_is_a_loss_and_a_delay_is_none(is_lost: bool) -> None:
    it = scene(weather=Weather(delay=0.02))
    it.until(lambda: it.one._sending.rtt.samples > 3)
    sending = it.one._sending
    told = Told(1200, it.network.now)
    told.losses = []
    sending.controller = told
    number = it.one.open_flow(b"", Priority.BULK)
    if is_lost:
        it.network.lose = lambda source, target, data: source == it.near.address
    else:
        it.network.weather.delay = 0.1
    it.one.send(number, [b"tail"])
    it.network.collect()
    it.network.lose = lambda source, target, data: False
    assert it.until(lambda: sending._probes > 0)
    assert it.until(lambda: sending.is_idle)
    assert len(told.losses) == is_lost
    assert sending._probed == []


def test_a_large_packet_has_passed_although_the_newest_confirmed_is_a_small_one() -> None:
    it = scene(weather=Weather(delay=0.02, largest=1472))
    number = it.one.open_flow(b"", Priority.BULK)
    it.one.send(number, [bytes(100_000)])
    path = it.one._path
    assert it.until(lambda: path.packet_bytes == 1472 and it.one._sending.is_idle)
    it.network.run_for(1.0)
    before = path._large_acknowledged_at
    it.one.send(number, [bytes(1440 + 300)])
    assert it.until(lambda: it.one._sending.is_idle)
    assert path._large_acknowledged_at > before + 0.5
