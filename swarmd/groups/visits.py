"""Who is only ever spoken of, in a group of few: each is called once, so that no list rests on others' words.

A visit is a link that is let go after a few seconds if neither end needs it (`groups.neighbourhood`). It proves that
somebody is there, after which this node tells others so.

In: who has not been met, by how many named; time. Out: whom to dial now. Invariant: one visit in `VISIT_PERIOD`, and
one in `VISIT_REST` to the same peer, whatever is said of it. Whom most neighbours name is visited first: what few have
invented waits. Not here: whose word counts for how much (`groups.hearsay`), and attempts (`groups.dialer`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng

VISIT_PERIOD = 1.0
"""Seconds. Of a group of 60 that comes all at once each has met all after half a minute, since others call, too."""
VISIT_REST = 60.0


class Visits:
    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._made_at = -math.inf
        self._visited: dict[PeerId, float] = {}
        self.due_at = math.inf
        self.peer: PeerId | None = None
        """Whom to dial, until it is linked or the next one is chosen."""

    def soon(self, now: float) -> None:
        """Somebody is spoken of who may not have been met."""
        self.due_at = min(self.due_at, max(now, self._made_at + VISIT_PERIOD))

    def met(self, peer: PeerId) -> None:
        """It is linked."""
        if peer == self.peer:
            self.peer = None

    def choose(self, unmet: Mapping[PeerId, int], now: float) -> None:
        """The next one, at `due_at`: of those who may be dialed, each with the number of those who name it."""
        self._visited = {peer: at for peer, at in self._visited.items() if peer in unmet and now < at + VISIT_REST}
        rested = [peer for peer in unmet if peer not in self._visited]
        most = max((unmet[peer] for peer in rested), default=0)
        first = [peer for peer in rested if unmet[peer] == most]
        self._made_at, self.due_at = now, now + VISIT_PERIOD if len(rested) > 1 else math.inf
        self.peer = self._rng.choice(first) if first else None
        if self.peer is not None:
            self._visited[self.peer] = now
