"""How long to wait before the next try: twice as long each time, with jitter, up to a limit.

Invariant: every period lies in [half of first, limit]. The jitter keeps nodes that failed together (a
switch that was restarted) from coming back together.
"""

from __future__ import annotations

from swarmd.core.errors import InvalidArgument
from swarmd.core.rng import Rng


class Backoff:
    """Periods for one thing that is tried again; `reset` when it worked."""

    __slots__ = ("_first", "_limit", "_period", "_rng", "failures")

    def __init__(self, first: float, limit: float, rng: Rng) -> None:
        if not 0 < first <= limit:
            raise InvalidArgument(f"back-off needs 0 < first <= limit, not {first} and {limit}")
        self._first = first
        self._limit = limit
        self._rng = rng
        self._period = first
        self.failures = 0

    def next_period(self) -> float:
        """Seconds to wait now: a random half to the whole of the present step, which then doubles."""
        period = self._period
        self._period = min(period * 2, self._limit)
        self.failures += 1
        return period * (0.5 + 0.5 * self._rng.random())

    def reset(self) -> None:
        """It worked: the next failure starts from `first` again."""
        self._period = self._first
        self.failures = 0
