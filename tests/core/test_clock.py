"""The clocks: the real one runs, the manual one stands still until moved."""

from __future__ import annotations

import pytest

from swarmd.core.clock import Clock, ManualClock, SystemClock


def test_the_system_clock_goes_forward() -> None:
    clock: Clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.wall() > 1_700_000_000


def test_the_manual_clock_stands_still_until_moved() -> None:
    clock = ManualClock(monotonic=5.0, wall=1000.0)
    assert clock.monotonic() == clock.monotonic() == 5.0
    clock.advance(2.5)
    assert (clock.monotonic(), clock.wall()) == (7.5, 1002.5)


def test_wall_time_may_jump_and_timers_do_not_notice() -> None:
    clock = ManualClock(monotonic=5.0, wall=1000.0)
    clock.set_wall(10.0)
    assert (clock.monotonic(), clock.wall()) == (5.0, 10.0)


def test_monotonic_time_never_goes_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        ManualClock().advance(-1)
