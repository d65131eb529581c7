"""When a loop's turns are kept apart, and when they are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from swarmd.core.clock import ManualClock
from swarmd.net.coalescing import CoalescingSelector


class Loop:
    """A loop that turns; each turn takes a hundredth of a second of its clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.selector = CoalescingSelector(self.clock)

    def turn(self, count: int = 120, *, moved: int = 100, hurry: bool = False) -> bool:
        """More than two windows; whether turns are kept apart at their end."""
        for _ in range(count):
            self.clock.advance(0.01)
            self.selector.select(0)
            self.selector.moved(moved)
            if hurry:
                self.selector.hurry()
        return self.selector.is_coalescing


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.selector.close()


def test_small_talk_is_gathered(loop: Loop) -> None:
    assert loop.turn()


def test_much_is_not(loop: Loop) -> None:
    assert not loop.turn(moved=1 << 20)


def test_nothing_is_gathered_while_a_program_waits(loop: Loop) -> None:
    assert loop.turn()
    loop.selector.hurry()
    assert not loop.selector.is_coalescing, "at once"
    assert not loop.turn(hurry=True)
    assert loop.turn(), "and again when no program has been heard of for a while"
