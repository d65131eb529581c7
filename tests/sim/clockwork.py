"""Virtual time: a heap of what happens when. Ties happen in the order in which they were arranged."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Clockwork:
    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, action: Callable[..., None], *args: Any) -> None:
        """Call `action(*args)` at `when`, or now if that has passed."""
        self._count += 1
        heappush(self._events, (max(when, self.now), self._count, action, args))

    def after(self, delay: float, action: Callable[..., None], *args: Any) -> None:
        self.at(self.now + delay, action, *args)

    def run(self, until: float, is_over: Callable[[], bool]) -> None:
        """Until nothing is left to happen, `is_over`, or the time `until`."""
        events = self._events
        while events and not is_over():
            if events[0][0] > until:
                self.now = until
                return
            self.now, _, action, args = heappop(events)
            action(*args)
