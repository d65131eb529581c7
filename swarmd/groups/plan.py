"""Whom to be linked with, as reckoned last, and when to reckon again.

In: the view of the group, what changes. Out: `wanted`. Invariant: two plans are at least a period apart, so that what
many say at once is reckoned with together; one is due after whatever changes what it follows from. Not here: the rule
itself (`groups.topology`), and who may be a neighbour (`groups.membership`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.groups.circle import Circle
from swarmd.groups.topology import Reason, View, plan_neighbours

PLAN_PERIOD, LATE_PLAN_PERIOD = 0.1, 0.25
"""Seconds at least between two plans, in a small and in a large group."""
FAVOURITE_PERIOD = 300.0
"""Seconds until another random neighbour, who may be a near one."""


class Plan:
    """Of the member at `place`."""

    def __init__(self, place: int, rng: Rng) -> None:
        self._place, self._rng = place, rng
        self.wanted: dict[PeerId, Reason] = {}
        """To be read only; the most important first."""
        self.due_at = math.inf
        self._made_at = -math.inf
        self._favourite: PeerId | None = None
        self._favourite_until = -math.inf

    def soon(self, now: float, *, is_small: bool) -> None:
        """Something that it follows from has changed."""
        period = PLAN_PERIOD if is_small else LATE_PLAN_PERIOD
        self.due_at = min(self.due_at, max(now, self._made_at + period))

    def name(self, named: Collection[PeerId], now: float) -> None:
        """Those and nobody else, in a group whose members speak of nobody."""
        self.due_at, self._made_at = math.inf, now
        self.wanted = dict.fromkeys(named, Reason.NAMED)

    def make(
        self,
        reachable: Circle,
        linked: Circle,
        latencies: Mapping[PeerId, float],
        held: Collection[PeerId],
        target: int,
        now: float,
    ) -> None:
        """By the rule, from those who may be neighbours (the linked are among them), with latencies of all neighbours,
        infinity where unknown; held: by others."""
        self.due_at, self._made_at = math.inf, now
        if now >= self._favourite_until:
            self._favourite, self._favourite_until = None, now + FAVOURITE_PERIOD
        favourite = self._favourite if self._favourite in reachable else None
        view = View(self._place, reachable.places, linked.places, latencies, held, favourite, target)
        self.wanted = plan_neighbours(view, self._rng)
        self._favourite = next((peer for peer, why in self.wanted.items() if why is Reason.RANDOM), None)
