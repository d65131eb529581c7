"""Whom to try though there are links: a part of the group may be cut off there.

Every `HEAL_PERIOD` one of those whom this node has lost, or who were only ever named, is dialed, and one of the
addresses that nobody's name stands at. What was lost within `RECENT_PERIOD` is tried though its back-off has grown;
later the back-off (five minutes at most) holds, so that a group whose members sleep costs little.

A part that is cut off has many members, each with its own lost ones: in a group of any size the first link stands as
soon as the way is open, for some attempt of somebody's falls into the next second. What follows is gossip's: news of a
member that was heard of after we last missed it makes it be dialed at once (`NEWS_REST`), whatever its back-off.

Invariant: one attempt in `HEAL_PERIOD`, and at most one in `HEAL_REST` at the same address. Not here: who is lost
(`groups.membership`), and attempts (`groups.dialer`).
"""

from __future__ import annotations

from collections.abc import Sequence

from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng

HEAL_PERIOD = 20.0
"""Seconds, give or take a half."""
HEAL_REST = 20.0
"""Seconds between two attempts at an address that was lost not long ago."""
RECENT_PERIOD = 3600.0
NEWS_REST = 10.0
"""Seconds from an attempt that failed until news may lead to another one there: who says falsely that the lost are back
costs each of their addresses six dials a minute."""


class Healing:
    def __init__(self, rng: Rng, now: float) -> None:
        self._rng = rng
        self._due_at = now + self._period()
        self.peer: PeerId | None = None
        """Who is to be dialed now."""
        self.is_hint_wanted = False
        """Whether an address without a peer is."""

    @property
    def due_at(self) -> float:
        return self._due_at

    def choose(self, lost: Sequence[PeerId], now: float) -> None:
        """The next one, at `due_at`."""
        self._due_at = now + self._period()
        self.peer = self._rng.choice(lost) if lost else None
        self.is_hint_wanted = True

    def failed(self, peer: PeerId) -> None:
        """It could not be reached."""
        if peer == self.peer:
            self.peer = None

    def _period(self) -> float:
        return HEAL_PERIOD * (0.5 + self._rng.random())
