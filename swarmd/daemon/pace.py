"""How fast bulk work on the event loop goes on while other programs want the processor.

A daemon that verifies 100,000 records takes all the processor that it gets. On a busy machine the kernel then makes it
wait for its next turn like everybody who does so, 100 ms and more, and whoever asks it something waits as well; a
process that uses less than its share is let in at once. So the work is done in slices, with pauses between them while
the loop is kept waiting: the newcomer has its catalogue later, and answers meanwhile.

`Pace` decides. In, after each slice: the time, and how much processor the loop's thread has used. Out: the pause until
the next one. What the loop neither used nor paused for, it was kept waiting. As with congestion on a line, a wait makes
the pause longer at once, and its absence makes it shorter bit by bit. `Paced` does it.

Invariant: a pause is 0 to `MAX_PAUSE`; on a machine with nothing else to do there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from swarmd.core.clock import Clock, thread_seconds

KEPT_WAITING = 0.003
"""Seconds: less is the granularity of the kernel's turns and of timers, and no reason to slow down."""
MIN_PAUSE = 0.002
MAX_PAUSE = 0.02
"""40 slices a second at least, so that work goes on however busy the machine is: 500 records."""
LONGER = 1.5
SHORTER = 0.9

K = TypeVar("K", bound=Hashable)


class Pace:
    """Of one kind of work. Times in seconds, of any clocks that only grow."""

    __slots__ = ("_now", "_pause", "_used")

    def __init__(self) -> None:
        self._pause = self._now = self._used = 0.0

    def begin(self, now: float, used: float) -> None:
        """The first slice is to come at once. The pause between the last ones is remembered."""
        self._now, self._used = now, used

    def next_pause(self, now: float, used: float) -> float:
        """A slice is done: the pause until the next."""
        waited = (now - self._now) - (used - self._used)
        if waited > KEPT_WAITING:
            self._pause = min(MAX_PAUSE, max(MIN_PAUSE, self._pause * LONGER))
        else:
            self._pause = self._pause * SHORTER if self._pause > MIN_PAUSE else 0.0
        self._now, self._used = now + self._pause, used
        return self._pause


class Paced(Generic[K]):
    """Slices of work for several, in turn. Call it on the event loop."""

    def __init__(self, do_slice: Callable[[K], None], clock: Clock, used: Callable[[], float] = thread_seconds) -> None:
        """do_slice: some milliseconds of work for one; where there is more, it calls `add` again."""
        self._do_slice, self._clock, self._used = do_slice, clock, used
        self._pace = Pace()
        self._waiting: dict[K, None] = {}
        self._handle: asyncio.Handle | None = None

    def add(self, key: K) -> None:
        """There is work for this one, as perhaps there was already."""
        self._waiting[key] = None
        if self._handle is None:
            self._pace.begin(self._clock.monotonic(), self._used())
            self._book(0.0)

    def stop(self) -> None:
        """What waits is not done any more."""
        self._waiting.clear()

    def _turn(self) -> None:
        try:
            if self._waiting:
                key = next(iter(self._waiting))
                del self._waiting[key]
                self._do_slice(key)
        finally:
            pause = self._pace.next_pause(self._clock.monotonic(), self._used())
            self._handle = None
            if self._waiting:
                self._book(pause)

    def _book(self, pause: float) -> None:
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(pause, self._turn) if pause else loop.call_soon(self._turn)
