"""Who has left or vanished, and when: so that gossip which is older than that does not bring it back.

Invariant: at most `MAX_DEAD`, the last ones; each for as long as gossip may be old. Not here: what counts as death
(`groups.membership`).
"""

from __future__ import annotations

import math

from swarmd.core.ids import PeerId
from swarmd.groups.messages import MAX_AGE

MAX_DEAD = 1024


class Deaths:
    def __init__(self) -> None:
        self._died_at: dict[PeerId, float] = {}

    def __len__(self) -> int:
        return len(self._died_at)

    def note(self, peer: PeerId, died_at: float) -> None:
        self.forget(peer)
        self._died_at[peer] = died_at
        if len(self._died_at) > MAX_DEAD:
            del self._died_at[next(iter(self._died_at))]

    def forget(self, peer: PeerId) -> None:
        """It lives."""
        self._died_at.pop(peer, None)

    def at(self, peer: PeerId) -> float:
        """When it died; minus infinity if that is not known."""
        return self._died_at.get(peer, -math.inf)

    def expire(self, now: float) -> None:
        for peer in [peer for peer, died_at in self._died_at.items() if now - died_at > MAX_AGE]:
            del self._died_at[peer]
