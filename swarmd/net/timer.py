"""One timer for one machine: called when the machine's next deadline is due.

A deadline moves with every packet, mostly to later, and a call of the loop costs more than most packets do. So the
call is moved only when it would come too late; when it comes too early, `due` looks, finds nothing, and sets it again.

Invariant: while a deadline is set there is one call on the loop, which comes no later than the earliest deadline set
since the last one. After `cancel` there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from swarmd.core.clock import Clock


class Timer:
    def __init__(self, due: Callable[[], None], clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        """`due` is called on the loop, at a deadline or sooner, and sets the next one."""
        self._due, self._clock, self._loop = due, clock, loop
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0

    def set(self, deadline: float | None) -> None:
        """By the clock; in the past: at the loop's next turn. None sets nothing, and leaves what is set."""
        if deadline is None or (self._handle is not None and self._at <= deadline):
            return
        self.cancel()
        self._at = deadline
        self._handle = self._loop.call_later(max(0.0, deadline - self._clock.monotonic()), self._run)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _run(self) -> None:
        self._handle = None
        self._due()
