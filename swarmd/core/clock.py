"""The only place that reads the time.

Protocol machines never ask for the time: their driver passes `now`, seconds of a monotonic clock whose zero
means nothing. Wall time exists only to be shown, to date shares and to judge expiry dates; it may jump and
decides no timer.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What a driver needs of a clock; tests pass one they move by hand."""

    def monotonic(self) -> float:
        """Seconds that only grow; the zero point means nothing."""
        ...

    def wall(self) -> float:
        """Seconds since 1970 in UTC, as this machine believes."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


def thread_seconds() -> float:
    """Processor time that the calling thread has used."""
    return time.thread_time()


class ManualClock:
    """A clock that stands still until it is moved: for tests and simulations.

    Invariant: `monotonic` never goes back; `wall` moves along with it and may be set apart.
    """

    __slots__ = ("_monotonic", "_wall")

    def __init__(self, monotonic: float = 0.0, wall: float = 0.0) -> None:
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> float:
        return self._wall

    def advance(self, period: float) -> None:
        """Move both clocks on by `period` seconds, at least 0."""
        if period < 0:
            raise ValueError("a clock does not go back")
        self._monotonic += period
        self._wall += period

    def set_wall(self, wall: float) -> None:
        """What an administrator or NTP does: wall time jumps, timers do not notice."""
        self._wall = wall
