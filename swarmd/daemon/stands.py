"""Standing still for room: since when, how long until the place is looked at again, and whether a stand is news.

In: `begin` with what was refused, `end` when there seems to be room. A file system may say that it has room and still
take nothing (quotas, reserved blocks): then one stand follows the other. Those that follow within SAME_PERIOD for the
same reason count as one: they are no news, `since` is that of the first, and the periods grow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from swarmd.core.errors import DiskFull

FIRST_PERIOD = 2.0  # how often a full disk is looked at again
LONGEST_PERIOD = 30.0
SAME_PERIOD = 60.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Why nothing happens although nobody paused it."""

    error: DiskFull
    since: float


class Stands:
    """Of one transfer."""

    def __init__(self) -> None:
        self.current: Standing | None = None
        self.period = FIRST_PERIOD
        """Seconds until the place is looked at."""
        self._last: Standing | None = None
        self._ended_at = -math.inf

    def begin(self, error: DiskFull, now: float) -> bool:
        """Whether that is news."""
        last = self._last
        if last is not None and type(last.error) is type(error) and now < self._ended_at + SAME_PERIOD:
            self.current = self._last = Standing(error, last.since)
            self.period = min(2 * self.period, LONGEST_PERIOD)
            return False
        self.current = self._last = Standing(error, now)
        self.period = FIRST_PERIOD
        return True

    def end(self, now: float) -> None:
        self.current = None
        self._ended_at = now
