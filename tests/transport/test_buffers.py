"""The pool of buffers: what somebody still looks at is never written to again, and what nobody uses is given back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmd.transport.tcp.buffers import MAX_BUFFERS, BufferPool

MIB = 1 << 20


def test_memory_is_used_again_once_the_last_view_is_gone() -> None:
    pool = BufferPool()
    first = pool.take(MIB + 100)
    part = first[1000:2000]
    owner = first.obj
    del first
    second = pool.take(MIB + 100)
    assert second.obj is not owner, "a part of it is still looked at"
    del part, second
    assert pool.take(MIB + 90).obj in (owner, pool._held[0], pool._held[1])
    assert len(pool) == 2


@given(st.lists(st.tuples(st.integers(0, 3 * MIB // 2), st.integers(0, 60)), max_size=120))
def test_views_that_are_kept_keep_what_they_show(steps: list[tuple[int, int]]) -> None:
    """Each has a number written at both ends; whichever is let go, the others still show theirs."""
    pool = BufferPool()
    kept: dict[int, memoryview] = {}
    for number, (size, dropped) in enumerate(steps):
        view = pool.take(size + 16)
        assert len(view) == size + 16
        view[:8] = view[-8:] = number.to_bytes(8, "big")
        kept[number] = view
        kept.pop(dropped, None)
        assert all(held[:8] == held[-8:] == wanted.to_bytes(8, "big") for wanted, held in kept.items())
        assert len(pool) <= MAX_BUFFERS


def test_memory_that_nobody_used_for_a_while_is_given_back() -> None:
    pool = BufferPool()
    view = pool.take(MIB)
    assert not pool.shrink()
    assert len(pool) == 1
    assert pool.shrink()
    assert len(pool) == 0
    assert not pool.shrink()
    assert len(view) == MIB, "whoever has it may keep it"


def test_of_many_only_those_are_kept_that_are_in_use_now() -> None:
    """A little traffic does not hold what a great transfer needed."""
    pool = BufferPool()
    many = [pool.take(MIB) for _ in range(10)]
    assert not pool.shrink()
    many.clear()
    for _ in range(5):
        pool.take(MIB)
    assert pool.shrink()
    assert len(pool) == 1


def test_small_records_are_not_kept() -> None:
    pool = BufferPool()
    assert len(pool.take(1000)) == 1000
    assert len(pool) == 0
