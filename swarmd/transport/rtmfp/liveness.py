"""Whether the peer is still there: when to ask, and when to give up.

A session that is silent for KEEPALIVE_PERIOD asks with a ping, again every PING_PERIOD. It asks sooner where silence is
strange: while nobody has used the keys yet, and when data has just come: then a NAT may have changed our port, which
only we can make known. Who has been asked, or sent something, and says nothing for SILENCE_TIMEOUT is gone: over TCP
one hears of a restart at once, here nobody may tell.

Where the network says that nobody is there (`hearsay`) it asks every DOUBT_PERIOD, and the peer has as long to answer
as whoever doubts it says. One packet from it ends the doubt.
"""

from __future__ import annotations

from math import inf

CONFIRM_PERIOD = 0.7
KEEPALIVE_PERIOD = 25.0  # under the 30 s after which the meanest NATs forget a mapping
HUSH_PERIOD = 1.0
PING_PERIOD = 1.5
SILENCE_TIMEOUT = 15.0
"""Ten questions: where a fifth of the packets is lost, three unanswered ones would end an idle session in minutes."""
DOUBT_PERIOD = 0.15


class Liveness:
    def __init__(self, now: float) -> None:
        self._heard_at = self._pinged_at = now
        self._asked_at = inf  # first of the pings of which nothing was heard
        self._is_confirmed = False  # a packet of the peer's has opened
        self._doubt_ends_at = inf

    def began(self, now: float) -> None:
        """There are keys."""
        self._heard_at = now

    def heard(self, now: float) -> None:
        self._heard_at, self._asked_at, self._is_confirmed = now, inf, True
        self._doubt_ends_at = inf

    def doubted(self, now: float, patience: float | None) -> bool:
        """Somebody says that the peer is not there. Whether to ask at once; with `patience` it has so long to answer,
        counted from the first doubt.
        """
        if patience is not None and self._doubt_ends_at == inf:
            self._doubt_ends_at = now + patience
        return now >= self._pinged_at + (DOUBT_PERIOD if patience is not None else HUSH_PERIOD)

    def asked(self, now: float) -> None:
        self._pinged_at, self._asked_at = now, min(self._asked_at, now)

    def ask_at(self, data_at: float) -> float:
        """When to ping. `data_at`: when data last came."""
        if self._doubt_ends_at < inf:
            return self._pinged_at + DOUBT_PERIOD
        if not self._is_confirmed:
            return self._pinged_at + CONFIRM_PERIOD
        if self._pinged_at > self._heard_at:
            return self._pinged_at + PING_PERIOD
        return self._heard_at + (HUSH_PERIOD if data_at + HUSH_PERIOD > self._heard_at else KEEPALIVE_PERIOD)

    def gone_at(self, waits_since: float) -> float:
        """When the peer is taken for gone. `waits_since`: since when something of ours is unacknowledged, or inf."""
        return min(max(min(self._asked_at, waits_since), self._heard_at) + SILENCE_TIMEOUT, self._doubt_ends_at)
