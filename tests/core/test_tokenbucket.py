"""The rate limit holds over every span, and waiting until `ready_at` is always enough."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import InvalidArgument
from swarmd.core.tokenbucket import TokenBucket


def test_it_starts_full_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(rate=100.0, burst=50.0, now=10.0)
    assert bucket.take(50, 10.0)
    assert not bucket.take(1, 10.0)
    assert bucket.ready_at(20, 10.0) == pytest.approx(10.2)
    assert not bucket.take(20, 10.1)
    assert bucket.take(20, 10.2)
    assert bucket.available(99.0) == 50.0, "never more than the burst"


def test_more_than_the_burst_passes_when_full_and_is_paid_off() -> None:
    bucket = TokenBucket(rate=100.0, burst=50.0, now=0.0)
    assert bucket.take(250, 0.0)
    assert bucket.available(0.0) == -200.0
    assert bucket.ready_at(1, 0.0) == pytest.approx(2.01)
    assert bucket.ready_at(9999, 0.0) == pytest.approx(2.5)


def test_unlimited() -> None:
    bucket = TokenBucket(rate=None, burst=1.0, now=0.0)
    assert all(bucket.take(10**12, 0.0) for _ in range(10))
    assert bucket.ready_at(10**12, 5.0) == 5.0
    assert bucket.available(0.0) == math.inf


def test_rate_zero_lets_nothing_through_after_the_burst() -> None:
    bucket = TokenBucket(rate=0.0, burst=10.0, now=0.0)
    assert bucket.take(10, 0.0)
    assert not bucket.take(1, 1e9)
    assert bucket.ready_at(1, 0.0) == math.inf


def test_time_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=100.0, burst=50.0, now=10.0)
    assert bucket.take(50, 10.0)
    assert bucket.available(5.0) == 0.0
    assert bucket.available(10.1) == pytest.approx(10.0)


def test_changing_the_rate_keeps_what_was_saved_or_owed() -> None:
    bucket = TokenBucket(rate=100.0, burst=50.0, now=0.0)
    assert bucket.take(80, 0.0)
    bucket.set_rate(10.0, 20.0, 0.1)
    assert bucket.rate == 10.0
    assert bucket.available(0.1) == pytest.approx(-20.0)
    bucket.set_rate(None, 1.0, 0.1)
    assert bucket.take(10**9, 0.1)
    bucket.set_rate(10.0, 20.0, 7.0)
    assert bucket.available(7.0) == 20.0
    assert bucket.available(8.0) == 20.0


@pytest.mark.parametrize(("rate", "burst"), [(-1.0, 1.0), (math.nan, 1.0), (1.0, 0.0), (1.0, -5.0)])
def test_limits_that_make_no_sense(rate: float, burst: float) -> None:
    with pytest.raises(InvalidArgument):
        TokenBucket(rate, burst, 0.0)
    with pytest.raises(InvalidArgument):
        TokenBucket(1.0, 1.0, 0.0).set_rate(rate, burst, 0.0)


@given(
    st.floats(1.0, 1e10),
    st.floats(1.0, 1e8),
    st.floats(0.0, 1e6),
    st.lists(st.tuples(st.integers(1, 2**24), st.floats(0.0, 100.0)), max_size=20),
)
def test_over_any_span_the_rate_holds(rate: float, burst: float, start: float, takes: list[tuple[int, float]]) -> None:
    bucket = TokenBucket(rate, burst, start)
    now, taken = start, 0.0
    for n, pause in takes:
        now = max(now + pause, bucket.ready_at(n, now + pause))
        assert bucket.take(n, now), "ready_at is when it succeeds"
        allowed = burst + rate * (now - start) + max(0.0, n - burst)
        taken += n
        assert taken <= allowed * (1 + 1e-6) + 1
