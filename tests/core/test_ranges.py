"""RangeSet against the plain thing it stands for: a set of integers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from swarmd.core.codec import Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ranges import INDEX_LIMIT, RangeSet

SPAN = 60
"""Small, so that random ranges meet, touch and swallow each other all the time."""

indices = st.integers(0, SPAN)
spans = st.tuples(indices, indices).map(lambda pair: (min(pair), max(pair)))
plain_sets = st.frozensets(indices)


def ranged(plain: frozenset[int] | set[int]) -> RangeSet:
    return RangeSet((index, index + 1) for index in plain)


def assert_sound(ranges: RangeSet) -> None:
    """The invariant of the class, from outside."""
    pairs = list(ranges.ranges())
    assert all(start < stop for start, stop in pairs)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(pairs))
    assert len(ranges) == sum(stop - start for start, stop in pairs)
    assert ranges.n_ranges == len(pairs)
    assert bool(ranges) == bool(pairs)


class AgainstASet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.plain: set[int] = set()
        self.ranges = RangeSet()

    @rule(span=spans)
    def add(self, span: tuple[int, int]) -> None:
        self.plain.update(range(*span))
        self.ranges.add(*span)

    @rule(index=indices)
    def add_one(self, index: int) -> None:
        self.plain.add(index)
        self.ranges.add(index)

    @rule(span=spans)
    def discard(self, span: tuple[int, int]) -> None:
        self.plain.difference_update(range(*span))
        self.ranges.discard(*span)

    @rule(index=indices)
    def discard_one(self, index: int) -> None:
        self.plain.discard(index)
        self.ranges.discard(index)

    @rule(other=plain_sets)
    def update(self, other: frozenset[int]) -> None:
        self.plain |= other
        self.ranges.update(ranged(other))

    @rule(other=plain_sets)
    def difference_update(self, other: frozenset[int]) -> None:
        self.plain -= other
        self.ranges.difference_update(ranged(other))

    @rule()
    def clear(self) -> None:
        self.plain.clear()
        self.ranges.clear()

    @invariant()
    def agree(self) -> None:
        assert_sound(self.ranges)
        assert list(self.ranges) == sorted(self.plain)
        assert len(self.ranges) == len(self.plain)


TestAgainstASet = AgainstASet.TestCase


@given(plain_sets, plain_sets)
def test_set_operations(one: frozenset[int], other: frozenset[int]) -> None:
    a, b = ranged(one), ranged(other)
    for result, expected in [(a | b, one | other), (a & b, one & other), (a - b, one - other)]:
        assert_sound(result)
        assert set(result) == expected
    assert a.isdisjoint(b) == one.isdisjoint(other)
    assert (a == b) == (one == other)
    assert a == ranged(one), "the operands stay as they were"


@given(plain_sets, indices, indices)
def test_questions(plain: frozenset[int], start: int, stop: int) -> None:
    ranges = ranged(plain)
    everything = set(range(SPAN + 2))
    assert (start in ranges) == (start in plain)
    assert ranges.covers(start, stop) == all(index in plain for index in range(start, stop))
    assert ranges.first() == min(plain, default=None)
    assert ranges.last() == max(plain, default=None)
    assert ranges.first(start) == min((index for index in plain if index >= start), default=None)
    assert ranges.first_missing(start) == min(index for index in everything - plain if index >= start)
    assert set(ranges.missing(stop)) == set(range(stop)) - plain


@given(plain_sets)
def test_a_copy_is_its_own(plain: frozenset[int]) -> None:
    ranges = ranged(plain)
    copy = ranges.copy()
    copy.add(0, SPAN + 5)
    assert set(ranges) == plain
    assert len(copy) == SPAN + 5


def test_single_and_repr() -> None:
    assert list(RangeSet.single(3, 6)) == [3, 4, 5]
    assert not RangeSet.single(3, 3)
    assert repr(RangeSet([(0, 1), (5, 8)])) == "RangeSet(0..0, 5..7; 4)"
    assert "..." in repr(RangeSet((index, index + 1) for index in range(0, 40, 2)))


def test_equality_with_something_else_and_no_hash() -> None:
    assert RangeSet() != set()
    with pytest.raises(TypeError, match="unhashable"):
        hash(RangeSet())


@pytest.mark.parametrize("span", [(-1, 2), (3, 2), (0, INDEX_LIMIT + 1)])
def test_what_is_no_range_is_a_value_error(span: tuple[int, int]) -> None:
    for method in (RangeSet().add, RangeSet().discard):
        with pytest.raises(ValueError, match="not a range"):
            method(*span)


@pytest.mark.parametrize(
    ("ranges", "encoded"),
    [
        ([], ""),
        ([(0, 1)], "0000"),
        ([(0, 4), (5, 6)], "00030000"),
        ([(300, 600)], "ac02ab02"),
    ],
)
def test_encoding_is_as_written_down(ranges: list[tuple[int, int]], encoded: str) -> None:
    assert RangeSet(ranges).encode().hex() == encoded


wide_sets = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 2**40)), max_size=8).map(
    lambda pairs: RangeSet((start, min(start + length, 2**64)) for start, length in pairs)
)


@given(st.one_of(wide_sets, plain_sets.map(ranged)))
def test_encoding_round_trip(ranges: RangeSet) -> None:
    decoded = RangeSet.decode(memoryview(ranges.encode()), INDEX_LIMIT, 100)
    assert decoded == ranges
    assert_sound(decoded)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_set_or_are_the_peers_fault(data: bytes) -> None:
    try:
        ranges = RangeSet.decode(data, 1000, 10)
    except RemoteError:
        return
    assert_sound(ranges)
    assert ranges.n_ranges <= 10
    assert (ranges.last() or 0) < 1000
    assert ranges.encode() == data, "each set has one encoding"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\0", "even"),
        (b"\0\0" * 11, "boundaries"),
        (b"\0" * 221, "more than 10 ranges"),
        (b"\0\x80\x00", "shortest form"),
        (b"\0\x80", "ends early"),
        (b"\xe7\x07\x01", "beyond 1000"),
        (Writer().varint(2**64 - 1).varint(2**64 - 1).bytes(), "beyond 1000"),
    ],
)
def test_what_a_peer_may_not_send(data: bytes, why: str) -> None:
    with pytest.raises(RemoteError, match=why):
        RangeSet.decode(data, 1000, 10)


def test_the_last_index_allowed_passes() -> None:
    assert list(RangeSet.decode(b"\xe7\x07\x00", 1000, 1)) == [999]
