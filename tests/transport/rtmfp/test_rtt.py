"""Round-trip times: smoothing and time-outs by the RFC's numbers, echoes, and the smallest of three minutes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.transport.rtmfp.rtt import FIRST_TIMEOUT, MAX_TIMEOUT, MIN_TIMEOUT, TICK_PERIOD, RttEstimator


def test_it_starts_unknown() -> None:
    rtt = RttEstimator()
    assert (rtt.samples, rtt.smoothed, rtt.minimum, rtt.timeout) == (0, 0.0, math.inf, FIRST_TIMEOUT)


def test_smoothing_is_the_rfcs() -> None:
    rtt = RttEstimator()
    rtt.add(0.100, 1.0)
    assert (rtt.smoothed, rtt.variation) == (0.100, 0.050)
    assert rtt.retransmit_timeout == pytest.approx(0.100 + 4 * 0.050 + 0.2)
    rtt.add(0.180, 1.1)
    assert rtt.variation == pytest.approx(0.050 * 3 / 4 + 0.080 / 4)
    assert rtt.smoothed == pytest.approx(0.100 * 7 / 8 + 0.180 / 8)
    assert rtt.latest == 0.180
    assert rtt.timeout == rtt.retransmit_timeout


def test_the_session_time_out_has_a_floor() -> None:
    rtt = RttEstimator()
    for step in range(100):
        rtt.add(0.001, step / 10)
    assert rtt.retransmit_timeout < MIN_TIMEOUT == rtt.timeout


def test_back_off_by_root_two_up_to_ten_seconds_until_a_sample() -> None:
    rtt = RttEstimator()
    rtt.add(0.1, 0.0)
    first = rtt.timeout
    rtt.back_off()
    rtt.back_off()
    assert rtt.timeout == pytest.approx(2 * first)
    for _ in range(20):
        rtt.back_off()
    assert rtt.timeout == MAX_TIMEOUT
    rtt.add(0.1, 60.0)
    assert rtt.timeout < 1.0


def test_an_echo_counts_over_the_clocks_end_and_never_as_nothing() -> None:
    rtt = RttEstimator()
    rtt.add_echo(3, 0xFFFE, 0.0)
    assert rtt.latest == pytest.approx(5 * TICK_PERIOD)
    rtt.add_echo(7, 7, 0.1)
    assert rtt.latest == TICK_PERIOD


def test_an_echo_from_the_future_or_beside_direct_samples_is_left_alone() -> None:
    rtt = RttEstimator()
    rtt.add_echo(10, 11, 0.0)
    assert rtt.samples == 0
    rtt.add(0.0005, 1.0)
    rtt.add_echo(20, 10, 1.5)
    assert rtt.minimum == rtt.latest == 0.0005
    rtt.add_echo(20, 10, 2.5)
    assert rtt.latest == pytest.approx(10 * TICK_PERIOD)


def test_an_echo_that_is_too_short_is_not_the_smallest_time() -> None:
    rtt = RttEstimator()
    rtt.add_echo(4, 0, 0.0)
    assert rtt.minimum == pytest.approx(4 * TICK_PERIOD)  # nothing better is known
    rtt.add(0.020, 1.0)
    assert rtt.minimum == 0.020
    rtt.add_echo(4, 0, 5.0)
    assert rtt.minimum == rtt.latest == 0.020


def test_a_longer_route_is_believed_after_three_minutes() -> None:
    rtt = RttEstimator()
    rtt.add(0.010, 0.0)
    for second in range(1, 179):
        rtt.add(0.050, float(second))
    assert rtt.minimum == 0.010
    for second in range(179, 220):
        rtt.add(0.050, float(second))
    assert rtt.minimum == 0.050


def settled() -> RttEstimator:
    """On a path of 20 ms, at second 10."""
    rtt = RttEstimator()
    for step in range(100):
        rtt.add(0.020, step / 10)
    return rtt


def test_a_standstill_is_forgotten_with_the_first_sample_that_fits_what_was_before() -> None:
    rtt = settled()
    before = rtt.smoothed, rtt.variation, rtt.timeout
    for step in range(5):
        rtt.add_echo(2500, 0, 20 + step / 1000)  # ten seconds old
    assert rtt.smoothed > 3 and rtt.timeout > 10
    rtt.add(0.020, 20.1)
    assert (rtt.smoothed, rtt.variation, rtt.timeout) == pytest.approx(before)


def test_a_longer_way_is_learned_and_the_shorter_one_not_remembered_for_long() -> None:
    rtt = settled()
    for step in range(110):
        rtt.add(0.5, 10 + step / 10)
    assert rtt.smoothed == pytest.approx(0.5)
    rtt.add(0.2, 21.0)
    assert rtt.smoothed == pytest.approx(0.5 * 7 / 8 + 0.2 / 8)


def test_a_moved_address_forgets_the_smallest_only() -> None:
    rtt = RttEstimator()
    rtt.add(0.010, 0.0)
    rtt.forget_path()
    assert rtt.minimum == math.inf and rtt.smoothed == 0.010
    rtt.add_echo(20, 0, 0.1)
    assert rtt.minimum == 0.080


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 100), st.booleans()), max_size=100))
def test_bounds(steps: list[tuple[float, float, bool]]) -> None:
    rtt, now = RttEstimator(), 0.0
    for sample, pause, backs_off in steps:
        now += pause
        if backs_off:
            rtt.back_off()
        else:
            rtt.add(sample, now)
            assert 0 < rtt.minimum <= rtt.latest
        assert rtt.timeout >= MIN_TIMEOUT
        assert rtt.timeout >= min(rtt.retransmit_timeout, MAX_TIMEOUT)
