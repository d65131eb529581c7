"""Bounded, in order, and honest about gaps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmd.control.backlog import Backlog


@given(st.lists(st.one_of(st.just(None), st.integers(0, 30)), max_size=200))
def test_what_comes_out_is_what_went_in_less_what_was_counted_lost(steps: list[int | None]) -> None:
    """An integer pushes an item of that weight, None takes one."""
    backlog: Backlog[int] = Backlog(max_items=5, max_bytes=60)
    next_in = next_out = kept = 0
    weights: list[int] = []
    for weight in steps:
        if weight is not None:
            backlog.push(next_in, weight)
            weights.append(weight)
            next_in += 1
            assert len(backlog) <= 5
            kept = next_in - len(backlog)
            assert sum(weights[kept:]) <= 60
        elif backlog:
            next_out += backlog.take_lost()
            if len(backlog):
                assert backlog.pop() == next_out
                next_out += 1
    next_out += backlog.take_lost() + len(backlog)
    assert next_out == next_in


def test_an_item_beyond_the_bound_is_lost_at_once() -> None:
    backlog: Backlog[str] = Backlog(max_items=5, max_bytes=60)
    backlog.push("huge", 61)
    assert bool(backlog)
    assert len(backlog) == 0
    assert backlog.take_lost() == 1
    assert not backlog
