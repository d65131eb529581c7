"""Neighbours that say nothing any more: not asked, though their sessions have not ended yet.

A session is missed after 10 to 30 s. Meanwhile every question near a member that has crashed would lead to it: the one
beside it, who is nearest now, passes on to it whatever is meant for itself. So a neighbour that was asked and has said
nothing at all for `PATIENCE` is asked who it is, which it answers at once; when that brings no word within
`PROBE_TIMEOUT` it is silent, until it says something or `SILENT_PERIOD` is over. (That an answer is late proves
nothing: further members may be the cause. Somebody who drops questions and answers this is not silent; other ways lead
round it.)

In: what was asked, what was said, time. Out: whom to ask who it is, who has fallen silent, who may be asked again.
Invariant: a silent neighbour is not probed, and each other one only after it was asked. Not here: what follows from it
(`relaying`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from swarmd.core.ids import PeerId

PATIENCE = 0.75
"""Seconds: most questions are answered within them."""
PROBE_TIMEOUT = 1.5
"""Seconds: a round trip with a packet lost twice."""
SILENT_PERIOD = 30.0
"""Seconds: by then the session of who has gone has ended."""


@dataclass(slots=True)
class _Asked:
    """`is_probed`: what is awaited is the answer to a probe."""

    due_at: float
    is_probed: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """Whom to probe, who has fallen silent, and who may be asked again."""

    probed: list[PeerId]
    fallen: list[PeerId]
    excused: list[PeerId]


class Silence:
    """Of neighbours."""

    def __init__(self) -> None:
        self._asked: dict[PeerId, _Asked] = {}
        self._silent: dict[PeerId, float] = {}

    def ask(self, peer: PeerId, now: float) -> None:
        """It has something to answer now."""
        if peer not in self._silent and peer not in self._asked:
            self._asked[peer] = _Asked(now + PATIENCE)

    def hear(self, peer: PeerId) -> None:
        """It says something, or is no neighbour any more."""
        self._asked.pop(peer, None)
        self._silent.pop(peer, None)

    def next_deadline(self) -> float:
        dues = (each.due_at for each in self._asked.values())
        return min(min(dues, default=math.inf), min(self._silent.values(), default=math.inf))

    def handle_timer(self, now: float) -> Changes:
        due = [peer for peer, each in self._asked.items() if each.due_at <= now]
        fallen = [peer for peer in due if self._asked[peer].is_probed]
        probed = [peer for peer in due if peer not in fallen]
        for peer in probed:
            self._asked[peer] = _Asked(now + PROBE_TIMEOUT, is_probed=True)
        for peer in fallen:
            del self._asked[peer]
        excused = [peer for peer, until in self._silent.items() if until <= now]
        for peer in excused:
            del self._silent[peer]
        self._silent |= dict.fromkeys(fallen, now + SILENT_PERIOD)
        return Changes(probed, fallen, excused)
