"""The pacer: bursts by the millisecond, the rate held, late wake-ups made good, no cost on short or fast paths."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.transport.rtmfp.pacer import FAST_CREDIT_PERIOD, MAX_BURST_BYTES, MIN_BURST_PACKETS, Pacer

PACKET = 1200


def paced(rate: float, rtt: float = 0.05) -> Pacer:
    pacer = Pacer(PACKET)
    pacer.set_rate(rate, rtt, PACKET, 0.0)
    return pacer


def send(pacer: Pacer, until: float, wake_period: float = 0.0) -> int:
    """Send whenever it is allowed, waking up on whole `wake_period`s; the bytes sent."""
    now, sent = 0.0, 0
    while now < until:
        release_at = pacer.release_at(now)
        if release_at > now:
            now = math.ceil(release_at / wake_period) * wake_period if wake_period else release_at
        else:
            pacer.sent(pacer.burst_bytes, now)
            sent += pacer.burst_bytes
    return sent


@pytest.mark.parametrize(
    ("rate", "burst"),
    [(100e3, 6 * PACKET), (12.5e6, 10 * PACKET), (30e6, 25 * PACKET), (1e9, MAX_BURST_BYTES // PACKET * PACKET)],
)
def test_a_burst_is_a_millisecond_within_bounds(rate: float, burst: int) -> None:
    assert paced(rate).burst_bytes == burst


def test_large_packets_stay_within_one_batch() -> None:
    pacer = Pacer(8972)
    pacer.set_rate(1e6, 0.05, 8972, 0.0)
    assert pacer.burst_bytes == MIN_BURST_PACKETS * 8972 <= MAX_BURST_BYTES


@pytest.mark.parametrize("rate", [100e3, 1e6, 12.5e6, 40e6, 200e6])
@pytest.mark.parametrize("wake_period", [0.0, 0.001])
def test_the_rate_is_held_and_reached(rate: float, wake_period: float) -> None:
    pacer = paced(rate)
    sent = send(pacer, 2.0, wake_period)
    assert sent == pytest.approx(2 * rate, rel=0.02, abs=2 * pacer.burst_bytes)


def test_a_short_path_is_not_paced() -> None:
    pacer = paced(5e6, rtt=0.001)
    for _ in range(1000):
        assert pacer.release_at(1.0) == 1.0
        pacer.sent(pacer.burst_bytes, 1.0)


def test_late_wake_ups_cost_nothing_at_lan_rates() -> None:
    assert send(paced(600e6), 2.0, wake_period=0.005) == pytest.approx(1.2e9, rel=0.01)


def test_a_pause_earns_no_more_than_the_credit() -> None:
    pacer = paced(100e6)
    pacer.sent(pacer.burst_bytes, 0.0)
    sent = 0
    while pacer.release_at(10.0) <= 10.0:
        pacer.sent(pacer.burst_bytes, 10.0)
        sent += pacer.burst_bytes
    assert sent <= 100e6 * FAST_CREDIT_PERIOD + pacer.burst_bytes


def test_what_was_sent_is_paid_for_at_the_new_rate() -> None:
    pacer = paced(1e4)
    pacer.sent(7200, 0.0)
    assert pacer.release_at(0.0) > 0.5
    pacer.set_rate(1e6, 0.05, PACKET, 0.0)
    assert pacer.release_at(0.0) < 0.01


@given(
    st.floats(1e4, 1e9),
    st.lists(st.tuples(st.floats(0, 0.01), st.integers(1, 65536)), min_size=1, max_size=200),
)
def test_never_more_than_rate_and_credit(rate: float, steps: list[tuple[float, int]]) -> None:
    pacer, now, sent = paced(rate), 0.0, 0
    for pause, n_bytes in steps:
        now = max(now + pause, pacer.release_at(now + pause))
        before = sent
        sent += n_bytes
        pacer.sent(n_bytes, now)
        assert before <= rate * (now + FAST_CREDIT_PERIOD + 1e-6) * 1.001
