"""Who has done what it should not, and is refused for a while.

Points come from above and below; BAN_POINTS of them within FORGIVE_PERIOD are a ban. Identities are free, so a ban
stops nobody for good: it keeps a member that is broken, or lies, from doing the same at once again.

Bounds: MAX_MARKED peers with points and MAX_BANS refused ones; the oldest go first. Nothing survives a restart.
"""

from __future__ import annotations

from collections import Counter

from swarmd.core.ids import PeerId

BAN_PERIOD = 300.0
BAN_POINTS = 10
FORGIVE_PERIOD = 600.0  # points count for so long at the most: two slips in a year are no attack
MAX_BANS = 4096
MAX_MARKED = 4096


class Bans:
    def __init__(self, now: float) -> None:
        self._points: Counter[PeerId] = Counter()
        self._until: dict[PeerId, float] = {}
        self._forgive_at = now + FORGIVE_PERIOD

    def __contains__(self, peer: PeerId) -> bool:
        """Whether it is refused."""
        return peer in self._until

    @property
    def marked(self) -> int:
        """How many have points."""
        return len(self._points)

    def add(self, peer: PeerId, points: int, now: float) -> bool:
        """Whether they were enough for a ban."""
        if peer not in self._points and len(self._points) >= MAX_MARKED:
            del self._points[next(iter(self._points))]
        self._points[peer] += points
        if self._points[peer] < BAN_POINTS:
            return False
        del self._points[peer]
        if peer not in self._until and len(self._until) >= MAX_BANS:
            del self._until[next(iter(self._until))]
        self._until[peer] = now + BAN_PERIOD
        return True

    def handle_timer(self, now: float) -> None:
        """Now and then: bans end, points are forgotten."""
        for peer in [peer for peer, until in self._until.items() if until <= now]:
            del self._until[peer]
        if now >= self._forgive_at:
            self._forgive_at = now + FORGIVE_PERIOD
            self._points.clear()
