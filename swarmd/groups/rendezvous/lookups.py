"""Which lost members' records are looked up (`peerrecords`): few at a time, each ever more rarely.

In: who is lost (all addresses known of it have failed), time. Out: whom to look up now.

Invariant: a member is looked up at most once in FIRST_PERIOD / 2, all of a group at most one in STEP_PERIOD; MAX_LOST
are followed.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from swarmd.core.backoff import Backoff
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng

FIRST_PERIOD, LONGEST_PERIOD = 30.0, 3600.0
STEP_PERIOD = 2.0
MAX_LOST = 256


@dataclass(slots=True)
class _Lost:
    backoff: Backoff
    due_at: float


class Lookups:
    """One group's."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._lost: dict[PeerId, _Lost] = {}
        self._step_at = -math.inf

    def __len__(self) -> int:
        return len(self._lost)

    def take(self, lost: Collection[PeerId], now: float) -> PeerId | None:
        """Whom to look up now: who has waited longest."""
        for peer in self._lost.keys() - set(lost):
            del self._lost[peer]  # it was found, or is given up
        for peer in lost:
            if peer not in self._lost and len(self._lost) < MAX_LOST:
                self._lost[peer] = _Lost(Backoff(FIRST_PERIOD, LONGEST_PERIOD, self._rng), now)
        due = [peer for peer, each in self._lost.items() if each.due_at <= now]
        if not due or now < self._step_at:
            return None
        peer = min(due, key=lambda each: self._lost[each].due_at)
        self._lost[peer].due_at = now + self._lost[peer].backoff.next_period()
        self._step_at = now + STEP_PERIOD
        return peer
