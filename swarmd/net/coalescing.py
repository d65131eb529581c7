"""Fewer wake-ups where there is much small talk: a selector that lets events gather before it gives them out.

A swarm on slow links is thousands of small events a second: a Have here, a quarter of a record there. Each wakes the
process, and on a busy machine a wake-up with cold caches costs more than the work it is for. So while a loop turns
often and moves little, two turns are kept PERIOD apart, and one turn handles what has come meanwhile.
(Network cards do the same: interrupt coalescing.)

It never delays a loop that is idle (the first event after a pause is given at once), one that moves much, one that has
work of its own to do, nor one that a local program waits for step by step (`hurry`). What it costs: up to PERIOD for an
event, a third of what the control socket may take. `moved` is told by whoever reads and writes sockets.
"""

from __future__ import annotations

import select
import selectors

from swarmd.core.clock import Clock

PERIOD = 0.015
_WINDOW = 0.5
_CHATTY_TURNS = 40  # in a window: below, coalescing would gain nothing
_SLOW_RATE = 8e6  # bytes a second, both ways: what PERIOD lets through the 128 KiB that a link keeps in the kernel

Ready = list[tuple[selectors.SelectorKey, int]]


class CoalescingSelector(selectors.EpollSelector):
    """For `asyncio.SelectorEventLoop`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._window_at = self._returned_at = clock.monotonic()
        self._turns = self._bytes = 0
        self._is_urgent = False
        self.is_coalescing = False

    def hurry(self) -> None:
        """A program on this machine has said something or is to answer: no delays for now.

        Else each piece of a program's object waits three times, and 32 under way are 400 a second at the most.
        """
        self._is_urgent = True
        self.is_coalescing = False

    def moved(self, count: int) -> None:
        """`count` bytes went through a socket in this turn."""
        self._bytes += count

    def select(self, timeout: float | None = None) -> Ready:
        now = self._clock.monotonic()
        self._turns += 1
        if now - self._window_at >= _WINDOW:
            self._judge(now)
        if self.is_coalescing and (timeout is None or timeout > 0):
            pause = self._returned_at + PERIOD - now
            if pause > 0:
                select.select((), (), (), pause if timeout is None else min(pause, timeout))
                timeout = None if timeout is None else max(0.0, timeout - pause)
        ready = super().select(timeout)
        self._returned_at = self._clock.monotonic()
        return ready

    def _judge(self, now: float) -> None:
        """Whether the last window was small talk. The bound on turns is lower while turns are kept apart."""
        span = now - self._window_at
        chatty = _CHATTY_TURNS / 2 if self.is_coalescing else _CHATTY_TURNS
        is_chatty = self._turns * _WINDOW > chatty * span and self._bytes < _SLOW_RATE * span
        self.is_coalescing = is_chatty and not self._is_urgent
        self._window_at, self._turns, self._bytes, self._is_urgent = now, 0, 0, False
