"""Which neighbours are told of the posts that have just come.

In: posts that are news, who has announced them, time. Out: for each neighbour the keys that it is told.

Posts that come together are told together. Who has announced one is not told of it, and of a large neighbourhood only
some are, drawn by lot: in a large mesh there are 60 neighbours, and to tell all of them takes three times a small post.
Whom one does not tell, others do. Who has just been linked is told besides, since it may have nobody else yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.groups.posting.messages import ANNOUNCE_BYTES

ANNOUNCE_DELAY = 0.02
"""Seconds: posts that come together are announced together, and a neighbour that announces one is not told of it."""
TOLD_SHARE = 0.5
"""Times a post's bytes for telling of it. Fewer who know mean fewer who ask and are refused, too: posts of 250 bytes
are everywhere sooner than with twice as much."""
TOLD_LIMITS = (8, 32)
"""Who hears of it late tells few others or none, as most have announced it, but those few all: nobody is left out."""
MAX_FRESH = 8


def told_limit(post_bytes: int) -> int:
    """Neighbours that are told of a post, those that have just been linked aside."""
    least, most = TOLD_LIMITS
    return max(least, min(most, int(TOLD_SHARE * post_bytes) // ANNOUNCE_BYTES))


@dataclass(slots=True)
class _Piece:
    limit: int
    others: frozenset[PeerId]


class News:
    """Posts that neighbours are to be told of. `due_at`: when; None when there are none."""

    __slots__ = ("_pieces", "_rng", "due_at")

    def __init__(self, rng: Rng) -> None:
        self.due_at: float | None = None
        self._pieces: dict[bytes, _Piece] = {}
        self._rng = rng

    def add(self, key: bytes, post_bytes: int, others: frozenset[PeerId], now: float) -> None:
        """`others` have announced it."""
        self._pieces[key] = _Piece(told_limit(post_bytes), others)
        if self.due_at is None:
            self.due_at = now + ANNOUNCE_DELAY

    def hear(self, peer: PeerId, keys: Iterable[bytes]) -> None:
        """A neighbour announces these."""
        for key in keys:
            if (piece := self._pieces.get(key)) is not None:
                piece.others |= {peer}

    def tell(self, links: Iterable[PeerId], fresh: Sequence[PeerId]) -> dict[PeerId, list[bytes]]:
        """What each of `links` is told now; of those, `fresh` have just been linked, the last one last."""
        pieces, self._pieces, self.due_at = self._pieces, {}, None
        telling: dict[PeerId, list[bytes]] = {}
        for key, piece in pieces.items():
            able = [peer for peer in links if peer not in piece.others]
            if len(able) > piece.limit:
                told = self._rng.sample(able, piece.limit)
                able = told + [peer for peer in fresh[-MAX_FRESH:] if peer in able and peer not in told]
            for peer in able:
                telling.setdefault(peer, []).append(key)
        return telling
