"""Members in the order of their places on the ring.

Invariant: `places` is sorted and holds each member once. Not here: who they are (`groups.membership`), and pure
arithmetic of the ring (`groups.ring`).
"""

from __future__ import annotations

from bisect import bisect_left, insort

from swarmd.core.ids import PeerId
from swarmd.groups.topology import RING_SIDE, Place, around


class Circle:
    """Some hundred members; adding and discarding cost O(log n) and a move of memory."""

    __slots__ = ("_peers", "places")

    def __init__(self) -> None:
        self.places: list[Place] = []
        """To be read only."""
        self._peers: set[PeerId] = set()

    def __contains__(self, peer: object) -> bool:
        return peer in self._peers

    def __len__(self) -> int:
        return len(self.places)

    def add(self, place: int, peer: PeerId) -> None:
        if peer not in self._peers:
            self._peers.add(peer)
            insort(self.places, (place, peer))

    def discard(self, place: int, peer: PeerId) -> None:
        if peer in self._peers:
            self._peers.remove(peer)
            del self.places[bisect_left(self.places, (place, peer))]

    def around(self, place: int, n_side: int = RING_SIDE) -> list[PeerId]:
        """The next ones above and below that place."""
        return around(place, self.places, n_side)

    def span(self, place: int, n_side: int) -> tuple[int, int]:
        """Where the `n_side`-th one below that place stands, and the `n_side`-th one above; there must be as many."""
        at = bisect_left(self.places, (place,))
        return self.places[at - n_side][0], self.places[(at + n_side - 1) % len(self.places)][0]
