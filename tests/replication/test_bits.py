"""Sets as integers against sets of integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.ranges import RangeSet
from swarmd.replication import bits

plain_sets = st.frozensets(st.integers(0, 300))
runs = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 400)), max_size=60)


def packed(plain: frozenset[int] | set[int]) -> int:
    return sum(1 << index for index in plain)


@given(plain_sets)
def test_members_come_in_rising_order(plain: frozenset[int]) -> None:
    assert list(bits.members(packed(plain))) == sorted(plain)


@given(plain_sets)
def test_lowest(plain: frozenset[int]) -> None:
    assert bits.lowest(packed(plain)) == min(plain, default=-1)


@given(plain_sets, plain_sets)
def test_without(one: frozenset[int], other: frozenset[int]) -> None:
    assert bits.without(packed(one), packed(other)) == packed(one - other)


@given(plain_sets, st.integers(0, 310))
def test_has(plain: frozenset[int], index: int) -> None:
    assert bits.has(packed(plain), index) is (index in plain)


@given(st.integers(0, 300), st.integers(0, 300))
def test_single(start: int, width: int) -> None:
    assert bits.single(start, start + width) == packed(set(range(start, start + width)))


@given(st.frozensets(st.integers(0, 300), min_size=1), st.data())
def test_select(plain: frozenset[int], data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, len(plain) - 1))
    assert bits.select(packed(plain), rank) == sorted(plain)[rank]


@pytest.mark.parametrize("size", [64, 65, 1000, 1 << 12])
def test_select_each_of_a_wide_set(size: int) -> None:
    chunks = packed(set(range(0, 3 * size, 3)))
    assert [bits.select(chunks, rank) for rank in range(0, size, 7)] == list(range(0, 3 * size, 21))


@given(plain_sets)
def test_to_ranges_and_back(plain: frozenset[int]) -> None:
    ranges = bits.to_ranges(packed(plain))
    assert list(ranges) == sorted(plain)
    assert bits.of_ranges(ranges) == packed(plain)


@given(runs)
def test_of_ranges_few_or_many(spans: list[tuple[int, int]]) -> None:
    """Both ways of putting it together, the shifts and the digits."""
    ranges = RangeSet((start, start + width) for start, width in spans)
    assert bits.of_ranges(ranges) == packed(set(ranges))
    assert bits.to_ranges(bits.of_ranges(ranges)) == ranges
