"""How long reading a share still takes: from the pace since it began.

In: what the store tells of its progress, and the time. Out: seconds, or None while there is no telling. What was known
from an earlier reading took no time, so it counts neither as read nor as time.
"""

from __future__ import annotations

from swarmd.store.hashing import Hashed

SETTLE_PERIOD = 1.0
"""Seconds: a pace measured for less says nothing of what is to come."""


class Pace:
    """Of one share."""

    __slots__ = ("_began_at", "_known")

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._known = 0

    def left_s(self, hashed: Hashed, now: float) -> float | None:
        """Seconds to the end. The first call says where it begins."""
        if self._began_at is None:
            self._began_at, self._known = now, hashed.n_bytes
        elapsed, read = now - self._began_at, hashed.n_bytes - self._known
        if read <= 0 or elapsed < SETTLE_PERIOD:
            return None
        return max(0, hashed.total_bytes - hashed.n_bytes) * elapsed / read
