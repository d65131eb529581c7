"""Slots by key, in sorted blocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.groups import index as module
from swarmd.groups.index import MAX_SLOTS, Index


def key(number: int) -> bytes:
    return b"key %d" % number


def test_what_was_added_is_found_and_nothing_else() -> None:
    made = Index()
    assert made.find(key(1)) == []
    made.add(key(1), 7)
    made.add(key(2), 8)
    made.add(key(1), MAX_SLOTS - 1)
    assert made.find(key(1)) == [7, MAX_SLOTS - 1]
    assert made.find(key(3)) == []
    made.discard(key(1), 7)
    made.discard(key(1), MAX_SLOTS - 1)
    assert made.find(key(1)) == []
    assert made.slots() == [8]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 30)), max_size=200))
def test_it_is_a_set_of_pairs(steps: list[tuple[bool, int, int]]) -> None:
    """With blocks so small that they are split and emptied all the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_ENTRIES", 3)
        made, held = Index(), set[tuple[int, int]]()
        for is_added, number, slot in steps:
            if is_added and (number, slot) not in held:
                made.add(key(number), slot)
                held.add((number, slot))
            elif not is_added and (number, slot) in held:
                made.discard(key(number), slot)
                held.discard((number, slot))
        for number in range(6):
            assert made.find(key(number)) == sorted(slot for each, slot in held if each == number)
            assert list(made.backwards(key(number))) == made.find(key(number))[::-1]
        assert sorted(made.slots()) == sorted(slot for _, slot in held)
