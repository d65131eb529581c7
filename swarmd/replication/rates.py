"""How fast something goes: bytes a second over about the last `period` seconds.

An exponential average, corrected for its youth: after half a second it says what that half second was, not half of it.
"""

from __future__ import annotations

from math import exp

MIN_AGE = 0.02
"""A meter younger than this divides by it: one block in no time at all is no rate."""


class RateMeter:
    __slots__ = ("_at", "_period", "_started_at", "_sum", "total")

    def __init__(self, period: float, now: float) -> None:
        self._period = period
        self._sum = 0.0
        self._at = self._started_at = now
        self.total = 0

    def add(self, count: int, now: float) -> None:
        if now > self._at:
            self._sum *= exp((self._at - now) / self._period)
            self._at = now
        self._sum += count
        self.total += count

    def rate(self, now: float) -> float:
        """Bytes a second."""
        age = max(now - self._started_at, MIN_AGE)
        weight = self._period * (1.0 - exp(-age / self._period))
        return self._sum * exp((self._at - now) / self._period) / weight

    def restart(self, now: float) -> None:
        """Forget the past rate (after a pause it says nothing), keep the total."""
        self._sum = 0.0
        self._at = self._started_at = now
