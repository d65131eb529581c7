"""Tells the groups how quick their links are, as the sessions measure it: by that they choose the neighbours that are
near. Every `PERIOD`, for measuring moves little and a plan follows from it only now and then.

Not here: what groups measure themselves, by how soon a question is answered (`groups.mesh`); that includes the time
for which a busy node lets it wait.
"""

from __future__ import annotations

import math

from swarmd.daemon.memberships import Memberships
from swarmd.daemon.peers import Peers

PERIOD = 10.0


class Latencies:
    def __init__(self, memberships: Memberships, peers: Peers) -> None:
        self._memberships, self._peers = memberships, peers
        self._due_at = -math.inf

    def handle_timer(self, now: float) -> None:
        if now < self._due_at:
            return
        self._due_at = now + PERIOD
        measured = {each.peer: rtt for each in self._peers.connections() if (rtt := each.link.rtt) is not None}
        for membership in self._memberships.all().values():
            for peer in membership.group.neighbours & measured.keys():
                membership.group.measure(peer, measured[peer])
