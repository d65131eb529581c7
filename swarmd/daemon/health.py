"""Whether the event loop turns: measured once a second, told to systemd's watchdog, logged when it does not.

The ping is sent from the loop itself, so a loop that is blocked (a lock, a disk call that should have been on
a thread, an endless loop) goes silent, and systemd ends it with SIGABRT, which leaves every thread's stack in
the journal. A thread of its own would go on pinging for a dead daemon.

Invariant: pings come at least three times within the period that systemd allows, as long as the loop is late
by less than that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from swarmd.core.clock import Clock
from swarmd.daemon.systemd import Notifier

TICK_PERIOD = 1.0
"""Fine enough to notice a stall, and one wake-up a second: far below the 0.5 % of a core that idling may cost."""
SLOW_PERIOD = 0.25
"""A loop late by more than this breaks the promise of answers within 50 ms badly enough to be logged."""
QUIET_PERIOD = 60.0
"""Between two such lines: a machine that swaps is late at every tick."""
_PINGS_IN_PERIOD = 3
_log = logging.getLogger(__name__)


class Heartbeat:
    """Run it as a task; `lag` and `worst_lag` are for `status` and figures."""

    def __init__(
        self,
        notifier: Notifier,
        clock: Clock,
        watchdog_period: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._notifier, self._clock, self._sleep = notifier, clock, sleep
        self._is_watched = watchdog_period is not None
        self._period = TICK_PERIOD
        if watchdog_period is not None:
            self._period = min(TICK_PERIOD, watchdog_period / _PINGS_IN_PERIOD)
        self._logged_at: float | None = None
        self.lag = 0.0
        self.worst_lag = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if self._is_watched:
                self._notifier.watchdog()
            due_at = self._clock.monotonic() + self._period
            await self._sleep(self._period)
            now = self._clock.monotonic()
            self._measure(max(0.0, now - due_at), now)

    def _measure(self, lag: float, now: float) -> None:
        self.lag = lag
        self.worst_lag = max(self.worst_lag, lag)
        is_quiet = self._logged_at is not None and now - self._logged_at < QUIET_PERIOD
        if lag >= SLOW_PERIOD and not is_quiet:
            self._logged_at = now
            _log.warning("the event loop was late by %.2f s; the worst so far is %.2f s", lag, self.worst_lag)
