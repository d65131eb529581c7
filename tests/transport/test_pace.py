"""Sizes of records: about 20 ms of what the connection takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.transport.tcp.pace import MIN_RECORD_BYTES, RecordSize
from swarmd.transport.tcp.record import MAX_PLAIN_BYTES

KERNEL_BYTES = 128 << 10
"""A socket takes a large record in pieces of about this."""


def run(size: RecordSize, rate: float, period: float, start: float) -> float:
    """The connection takes `rate` bytes a second, record by record, for `period` seconds; when it ends."""
    now = start
    while now < start + period:
        count = min(size.limit, KERNEL_BYTES)
        size.sent(count, now := now + count / rate)
    return now


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [(100e3, MIN_RECORD_BYTES), (5e6, 100_000), (10e6, 200_000), (100e6, MAX_PLAIN_BYTES), (1e9, MAX_PLAIN_BYTES)],
)
def test_it_settles_at_twenty_milliseconds(rate: float, wanted: int) -> None:
    size = RecordSize()
    run(size, rate, 3.0, start=1000.0)
    assert size.limit == pytest.approx(wanted, rel=0.25)


def test_a_fast_connection_gets_large_records_within_a_few_of_them() -> None:
    size = RecordSize()
    now, records = 5.0, 0
    while size.limit < MAX_PLAIN_BYTES:
        size.sent(size.limit, now := now + size.limit / 1e9)
        records += 1
    assert records < 50


def test_a_connection_that_slows_down_is_followed_within_two_windows() -> None:
    size = RecordSize()
    now = run(size, 1e9, 1.0, start=0.0)
    assert size.limit == MAX_PLAIN_BYTES
    run(size, 500e3, 1.5, start=now)
    assert size.limit == MIN_RECORD_BYTES


def test_a_pause_says_nothing_about_the_connection() -> None:
    size = RecordSize()
    now = run(size, 1e9, 1.0, start=0.0)
    for _ in range(20):
        size.sent(100, now := now + 30.0)
    assert size.limit == MAX_PLAIN_BYTES


@given(st.lists(st.tuples(st.integers(1, 1 << 21), st.floats(0, 100)), max_size=200))
def test_it_stays_within_its_bounds(steps: list[tuple[int, float]]) -> None:
    size, now = RecordSize(), 0.0
    for count, period in steps:
        size.sent(count, now := now + period)
        assert MIN_RECORD_BYTES <= size.limit <= MAX_PLAIN_BYTES
