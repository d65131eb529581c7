"""The replay window against a set of all numbers seen, and its bounds."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.rng import SeededRng
from swarmd.transport.rtmfp.replay import WINDOW, ReplayWindow


def size_of(window: ReplayWindow) -> int:
    return sys.getsizeof(window._bitmap)


@given(st.lists(st.one_of(st.integers(-40, 40), st.sampled_from([1, 1, 1, WINDOW - 1, WINDOW, -WINDOW, 1 << 40]))))
def test_it_says_what_a_set_would(steps: list[int]) -> None:
    """`steps`: each packet's number against that of the one before; what is too old counts as seen."""
    window, seen, at = ReplayWindow(), set[int](), 0
    for step in steps:
        at = max(0, at + step)
        is_new = at not in seen and at > max(seen, default=-1) - WINDOW
        assert window.is_new(at) == is_new
        if is_new:
            window.mark(at)
            seen.add(at)
    for number in range(max(0, at - WINDOW), at + WINDOW):
        assert window.is_new(number) == (number not in seen and number > max(seen, default=-1) - WINDOW)


def test_every_packet_of_a_shuffled_stream_is_taken_once() -> None:
    rng = SeededRng(1)
    numbers = sorted(range(20_000), key=lambda number: number + rng.random() * (WINDOW // 2))
    window = ReplayWindow()
    for number in numbers:
        assert window.is_new(number)
        window.mark(number)
        assert not window.is_new(number)


def test_looking_changes_nothing() -> None:
    window = ReplayWindow()
    for number in (5, 1 << 63, 0):
        assert window.is_new(number) and window.is_new(number)
    window.mark(3)
    assert window.is_new(2) and window.is_new(4)


def test_it_stays_small_whatever_number_comes() -> None:
    window = ReplayWindow()
    for number in (0, 1, 2**32, 2**32 + 1, 2**63, 2**63 + 5, 2**64 - 1):
        assert window.is_new(number)
        window.mark(number)
        assert size_of(window) < 1000
    assert not window.is_new(2**64 - 1) and not window.is_new(0)


def test_a_run_longer_than_the_window_is_remembered_as_far_as_it_reaches() -> None:
    window = ReplayWindow()
    for number in range(3 * WINDOW):
        window.mark(number)
    window.mark(3 * WINDOW + 1)
    assert window.is_new(3 * WINDOW)
    assert not any(window.is_new(number) for number in range(3 * WINDOW))
