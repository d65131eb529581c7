"""Rates: every unit, what is refused, and there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import InvalidArgument
from swarmd.daemon.rates import MAX_RATE, MIN_RATE, format_rate, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10 MiB/s", 10 * 2**20),
        ("10MiB", 10 * 2**20),
        (" 1.5 MB/s ", 1_500_000),
        ("2048 B/s", 2048),
        ("3 kB/s", 3000),
        ("3 KiB/s", 3072),
        ("20 Mbit/s", 2_500_000),
        ("1 Gbit/s", 125_000_000),
        (4096, 4096),
        ("unlimited", None),
    ],
)
def test_what_people_write(text: str | int, rate: int | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "10", "10 mb/s", "10 mbit", "fast", "-1 MiB/s", "1e3 MB/s", "10 MiB/h", "1 MiB/s/s", "１０ MiB/s", -5],
)
def test_what_cannot_be_meant(text: str | int) -> None:
    with pytest.raises(InvalidArgument):
        parse_rate(text)


@pytest.mark.parametrize("text", [0, "0 B/s", "0 MiB/s"])
def test_zero_is_refused_with_the_word_for_no_limit(text: str | int) -> None:
    with pytest.raises(InvalidArgument, match='write "unlimited"'):
        parse_rate(text)


@pytest.mark.parametrize("text", [1023, "1 B/s", MAX_RATE + 1, "999999999 GiB/s"])
def test_bounds(text: str | int) -> None:
    with pytest.raises(InvalidArgument, match="is not between"):
        parse_rate(text)


@given(st.none() | st.integers(MIN_RATE, MAX_RATE - 1))
def test_there_and_back(rate: int | None) -> None:
    assert parse_rate(format_rate(rate)) == rate


@given(st.text())
def test_any_text_is_a_rate_or_refused(text: str) -> None:
    try:
        rate = parse_rate(text)
    except InvalidArgument:
        return
    assert rate is None or MIN_RATE <= rate <= MAX_RATE
