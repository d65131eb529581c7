"""What holds for both controllers, and what is each one's own, without a link: see `test_bottleneck` for behaviour."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.transport.rtmfp import cubic
from swarmd.transport.rtmfp.congestion import MAX_WINDOW_BYTES, MIN_PACKETS, Controller, initial_window
from swarmd.transport.rtmfp.cubic import CUT, Cubic
from swarmd.transport.rtmfp.ledbat import Ledbat, Phase
from swarmd.transport.rtmfp.rtt import RttEstimator

PACKET = 1200
RTT = 0.05
CONTROLLERS: list[Callable[[int, float], Controller]] = [Cubic, Ledbat]


def full_rounds(controller: Controller, count: int, now: float, rtt: float = RTT, share: float = 1.0) -> float:
    """`count` rounds in which that share of the window is sent and acknowledged, two packets at a time."""
    estimator = RttEstimator()
    estimator.add(RTT, now)
    for _ in range(count):
        outstanding = max(int(controller.window * share) // PACKET, 2) * PACKET
        controller.on_sent(outstanding, now)
        now += rtt
        while outstanding > 0:
            n_bytes = min(2 * PACKET, outstanding)
            estimator.add(rtt, now)
            controller.on_acknowledged(n_bytes, outstanding, estimator, now)
            outstanding -= n_bytes
    return now


def grown_cubic(rounds: int = 6) -> tuple[Cubic, float]:
    controller = Cubic(PACKET, 0.0)
    return controller, full_rounds(controller, rounds, 0.0)


def grown(make: Callable[[int, float], Controller]) -> tuple[Controller, float]:
    """In slow start at some hundred packets."""
    controller = make(PACKET, 0.0)
    return controller, full_rounds(controller, 6 if make is Cubic else 30, 0.0)


def lose(controller: Controller, count: int, sent_at: float, now: float) -> None:
    for _ in range(count):
        controller.on_loss(PACKET, sent_at, now)


@pytest.mark.parametrize(("packet", "window"), [(1200, 12_000), (1472, 14_720), (8972, 17_944)])
def test_the_first_window_is_that_of_quic(packet: int, window: int) -> None:
    assert initial_window(packet) == Cubic(packet, 0.0).window == window


def test_slow_start_doubles() -> None:
    controller, _ = grown_cubic(3)
    assert controller.window == 8 * initial_window(PACKET)
    assert controller.is_slow_start


def test_a_burst_of_losses_cuts_once_a_round() -> None:
    controller, now = grown_cubic()
    before = controller.window
    controller.on_sent(before, now)
    lose(controller, 40, sent_at=now - 0.01, now=now + RTT)
    assert controller.window == pytest.approx(before * CUT, rel=0.01)
    lose(controller, 40, sent_at=now + RTT + 0.001, now=now + 2 * RTT)
    assert controller.window == pytest.approx(before * CUT * CUT, rel=0.01)


def test_an_isolated_loss_without_a_queue_cuts_nothing() -> None:
    controller, now = grown_cubic()
    before = controller.window
    lose(controller, 1, now - RTT, now)
    assert controller.window == before


def test_an_isolated_loss_behind_a_queue_cuts() -> None:
    controller, now = grown_cubic()
    now = full_rounds(controller, 2, now, rtt=2 * RTT)
    before = controller.window
    lose(controller, 1, now - RTT, now)
    assert controller.window < 0.75 * before


def test_losses_that_are_not_rare_are_not_forgiven() -> None:
    """One in 400, five times what is forgiven, keeps the window of a path without any queue down."""
    controller, now = grown_cubic(5)
    sizes, due = [], 0.0
    for _ in range(2000):
        due += controller.window / PACKET / 400
        now = full_rounds(controller, 1, now)
        lose(controller, int(due), now - 0.01, now)
        due %= 1
        sizes.append(controller.window)
    assert max(sizes[100:]) < 400 * PACKET


def test_a_stall_of_a_host_on_a_lan_does_not_end_slow_start() -> None:
    controller, now = Cubic(PACKET, 0.0), 0.0
    rtt = RttEstimator()
    for step in range(9):
        controller.on_sent(controller.window, now)
        outstanding, sample = controller.window, 0.012 if step == 4 else 0.0003
        now += sample
        for _ in range(10):
            rtt.add(sample, now)
            controller.on_acknowledged(outstanding // 10, outstanding, rtt, now)
    assert controller.is_slow_start
    assert controller.window > 100 * PACKET


def test_time_out_goes_to_two_packets_and_remembers_once() -> None:
    controller, now = grown_cubic()
    before = controller.window
    controller.on_sent(before, now)
    for _ in range(4):
        controller.on_timeout(now := now + 1.0)
    assert controller.window == MIN_PACKETS * PACKET
    now = full_rounds(controller, 9, now)
    assert controller.window > 0.6 * before
    assert not controller.is_slow_start


def test_cubic_comes_back_to_where_it_was_in_its_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a path that is too short for a queue to be seen."""
    monkeypatch.setattr(cubic, "CERTAIN_MIN_RTT", 1.0)
    controller, now = grown_cubic(6)
    top = controller.window / 2  # what was under way, before it doubled
    lose(controller, 40, now - 0.01, now)
    period = (top / PACKET * (1 - CUT) / 0.4) ** (1 / 3)
    end = full_rounds(controller, int(0.8 * period / RTT), now)
    assert 0.9 * top < controller.window < 1.02 * top
    full_rounds(controller, int(1.2 * period / RTT), end)
    assert controller.window > 1.1 * top


@pytest.mark.parametrize("make", CONTROLLERS)
def test_a_window_that_is_not_used_does_not_grow_and_decays(make: Callable[[int, float], Controller]) -> None:
    controller, now = grown(make)
    before = controller.window
    assert before > 20 * PACKET
    now = full_rounds(controller, 40, now, share=0.2)
    assert controller.window == pytest.approx(before, rel=0.01)
    full_rounds(controller, 1000, now, share=0.1)
    assert controller.window < before / 2


def test_a_long_pause_ends_at_the_first_window() -> None:
    controller, now = grown_cubic()
    controller.on_sent(PACKET, now + 3600.0)
    assert controller.window == initial_window(PACKET)


@pytest.mark.parametrize("make", CONTROLLERS)
def test_time_critical_traffic_slows_growth_for_its_period(make: Callable[[int, float], Controller]) -> None:
    controller, now = grown(make)
    before = controller.window
    controller.on_time_critical_elsewhere(now)
    assert controller.yields(now + 0.79) and not controller.yields(now + 0.81)
    full_rounds(controller, 10, now)
    assert controller.window <= before * 1.12


def test_the_cut_is_an_eighth_beside_own_time_critical_data() -> None:
    controller, now = grown_cubic()
    controller.on_time_critical_sent(now)
    before = controller.window
    controller.on_sent(before, now)
    lose(controller, 40, now - 0.01, now)
    assert controller.window == pytest.approx(before * 7 / 8, rel=0.01)


def test_a_queue_in_front_of_time_critical_data_is_taken_down() -> None:
    controller, now = grown_cubic()
    now = full_rounds(controller, 2, now, rtt=1.5 * RTT)
    before = controller.window
    controller.on_time_critical_elsewhere(now)
    full_rounds(controller, 4, now, rtt=1.5 * RTT)
    assert controller.window < 0.8 * before


@pytest.mark.parametrize("make", CONTROLLERS)
def test_a_moved_address_begins_again(make: Callable[[int, float], Controller]) -> None:
    controller, now = grown(make)
    controller.on_sent(10 * PACKET, now)
    controller.forget_path(now)
    first = controller.window
    assert first <= initial_window(PACKET)
    lose(controller, 10, now - 0.01, now + 0.01)  # what was under way on the old path
    assert controller.window == first


def test_bytes_that_left_unbooked_do_not_stop_the_rounds() -> None:
    controller, now = grown_cubic(2)
    controller.on_sent(500 * PACKET, now)  # and abandoned: never acknowledged, never lost
    now = full_rounds(controller, 6, now)
    controller.on_time_critical_elsewhere(now)
    before = controller.window
    full_rounds(controller, 8, now, rtt=2 * RTT)
    assert controller.window < before  # rounds end, so the queue is seen


def test_ledbat_keeps_its_queue_and_slows_down_now_and_then() -> None:
    controller = Ledbat(PACKET, 0.0)
    now = full_rounds(controller, 10, 0.0)
    assert controller.phase is Phase.SLOW_START
    now = full_rounds(controller, 2, now, rtt=2 * RTT)
    assert controller.phase is not Phase.SLOW_START
    smallest, phases = controller.window, set()
    for _ in range(300):
        now = full_rounds(controller, 1, now, rtt=RTT + 0.002)
        smallest = min(smallest, controller.window)
        phases.add(controller.phase)
    assert {Phase.AVOIDANCE, Phase.SLOWDOWN} <= phases
    assert smallest == MIN_PACKETS * PACKET


def test_ledbat_gives_way_to_a_queue() -> None:
    controller = Ledbat(PACKET, 0.0)
    now = full_rounds(controller, 30, 0.0)
    before = controller.window
    full_rounds(controller, 8, now, rtt=3 * RTT)
    assert controller.window < before / 8


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["sent", "acknowledged", "loss", "timeout", "own", "else", "forget", "packet"]),
        st.integers(0, 1 << 20),
        st.floats(0, 2),
        st.floats(1e-5, 3),
    ),
    max_size=150,
)


@pytest.mark.parametrize("make", CONTROLLERS)
@given(steps=STEPS)
def test_any_order_of_calls_keeps_the_bounds(
    make: Callable[[int, float], Controller], steps: list[tuple[str, int, float, float]]
) -> None:
    controller, rtt, now = make(PACKET, 0.0), RttEstimator(), 0.0
    for call, number, pause, sample in steps:
        now += pause
        before = controller.window
        if call == "sent":
            controller.on_sent(number, now)
            assert controller.window <= before
        elif call == "acknowledged":
            rtt.add(sample, now)
            controller.on_acknowledged(number, number * 2, rtt, now)
        elif call == "loss":
            controller.on_loss(number, now - sample, now)
            assert controller.window <= before
        elif call == "timeout":
            controller.on_timeout(now)
            assert controller.window == MIN_PACKETS * controller.packet_bytes
        elif call == "own":
            controller.on_time_critical_sent(now)
        elif call == "else":
            controller.on_time_critical_elsewhere(now)
        elif call == "forget":
            rtt.forget_path()
            controller.forget_path(now)
        else:
            controller.set_packet_bytes(1200 + number % 8000)
        assert MIN_PACKETS * controller.packet_bytes <= controller.window <= MAX_WINDOW_BYTES
        assert 0 < controller.pacing_rate < 1e16
