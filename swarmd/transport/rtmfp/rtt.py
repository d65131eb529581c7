"""Round-trip time of one session, and the time-out that follows from it (RFC 7016 §3.5.2.2).

In come samples: the time from the sending of a packet to its acknowledgement (float seconds), and the echoes of our
timestamps (ticks of 4 ms, for a time in which no data is acknowledged). Out come the smoothed time, its variation,
the retransmission time-outs, and the smallest time of the last three minutes, which stands for the path without
any queue.

A sample longer than the time-out would have waited tells of a host or a path that stood still (a laptop asleep, a
stopped process, a handover) as often as of a longer way. So what was known before is kept, and as soon as a sample fits
that, it holds again. Otherwise ten seconds of standstill, echoed by what had waited in a socket's buffer, would slow
the pacer and the alarms for many round trips.

Invariant: `minimum <= latest` once there is a sample, and `MIN_TIMEOUT <= timeout`. Sampling a retransmitted fragment
would be a guess (which of its packets is acknowledged?): the caller samples first transmissions only.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

TICK_PERIOD = 0.004
ECHO_LIMIT_TICKS = 0x8000
"""An echo older than half the clock's circle (131 s) cannot be told from one of the future."""
DIRECT_FRESH_PERIOD = 1.0
"""An echo is 4 ms coarse, so it counts only when no direct sample came for so long."""

ACKNOWLEDGEMENT_DELAY = 0.2
"""A receiver may hold an acknowledgement back for so long."""
FIRST_TIMEOUT = 3.0
MIN_TIMEOUT = 0.25
MAX_TIMEOUT = 10.0
BACKOFF = math.sqrt(2)

HISTORY_SPANS = 6
SPAN_PERIOD = 30.0
"""The smallest time is that of the last 6 x 30 s: a route that became longer is believed after three minutes."""


class _Before(NamedTuple):
    """What was known when a sample came that was too long for it, at `jumped_at`."""

    smoothed: float
    variation: float
    retransmit_timeout: float
    jumped_at: float


class RttEstimator:
    """Starts unknown: `smoothed` is 0.0 and `minimum` infinite until the first sample."""

    __slots__ = (
        "_before",
        "_direct_at",
        "_is_coarse",
        "_spans",
        "latest",
        "minimum",
        "retransmit_timeout",
        "samples",
        "smoothed",
        "timeout",
        "variation",
    )

    def __init__(self) -> None:
        self.smoothed = 0.0
        self.variation = 0.0
        self.latest = 0.0
        self.samples = 0
        self.minimum = math.inf
        self.retransmit_timeout = MIN_TIMEOUT
        """The RFC's MRTO: for one packet, without back-off."""
        self.timeout = FIRST_TIMEOUT
        """The RFC's ERTO: the session's alarm, which backs off while nothing is answered."""
        self._direct_at = -math.inf
        self._before: _Before | None = None
        self._is_coarse = False  # the smallest time is an echo's, which may be two ticks too short
        self._spans: deque[list[float]] = deque(maxlen=HISTORY_SPANS)  # [started at, smallest]

    def add(self, sample: float, now: float) -> None:
        """A packet sent `sample` seconds ago has been acknowledged. Costs 0.5 us."""
        self._direct_at = now
        if self._is_coarse:
            self._is_coarse = False
            self._spans.clear()
        self._take(sample, now)

    def add_echo(self, ticks_now: int, echo: int, now: float) -> None:
        """The far end sent our timestamp `echo` back, corrected for the time it held it."""
        ticks = (ticks_now - echo) & 0xFFFF
        if ticks < ECHO_LIMIT_TICKS and now - self._direct_at > DIRECT_FRESH_PERIOD:
            # Up to two ticks were lost in rounding at either end; without this a LAN would have a time of 0, and a time
            # too short would make the path itself look like a queue for three minutes.
            self._is_coarse = self._is_coarse or not self._spans
            sample = max(ticks, 1) * TICK_PERIOD
            self._take(sample if self._is_coarse else max(sample, self.minimum), now)

    def back_off(self) -> None:
        """`timeout` passed and nothing was answered."""
        self.timeout = max(min(self.timeout * BACKOFF, MAX_TIMEOUT), self.retransmit_timeout)

    def forget_path(self) -> None:
        """The far address moved: what was smallest on the old path says nothing about the new one.

        Echoes count at once: what was under way is sent again, and tells no time.
        """
        self._spans.clear()
        self._direct_at = -math.inf
        self._before = None
        self.minimum = math.inf

    def _take(self, sample: float, now: float) -> None:
        sample = max(sample, 1e-6)  # a clock that did not advance
        self.latest = sample
        if self.samples:
            if self._before is not None or sample > self.retransmit_timeout:
                self._weigh_jump(sample, now)
            self.variation += (abs(self.smoothed - sample) - self.variation) * 0.25
            self.smoothed += (sample - self.smoothed) * 0.125
        else:
            self.smoothed = sample
            self.variation = sample / 2
        self.samples += 1
        self.retransmit_timeout = timeout = self.smoothed + 4 * self.variation + ACKNOWLEDGEMENT_DELAY
        self.timeout = timeout if timeout > MIN_TIMEOUT else MIN_TIMEOUT
        spans = self._spans
        if not spans or now - spans[-1][0] >= SPAN_PERIOD:
            self._begin_span(sample, now)
        elif sample < spans[-1][1]:
            spans[-1][1] = sample
            if sample < self.minimum:
                self.minimum = sample

    def _weigh_jump(self, sample: float, now: float) -> None:
        before = self._before
        if before is None:
            self._before = _Before(self.smoothed, self.variation, self.retransmit_timeout, now)
        elif now > before.jumped_at + MAX_TIMEOUT:
            self._before = None  # the way has become longer
        elif sample <= before.retransmit_timeout:
            self.smoothed, self.variation = before.smoothed, before.variation
            self._before = None

    def _begin_span(self, sample: float, now: float) -> None:
        spans = self._spans
        spans.append([now, sample])
        while now - spans[0][0] >= HISTORY_SPANS * SPAN_PERIOD:
            spans.popleft()
        self.minimum = min(smallest for _, smallest in spans)
