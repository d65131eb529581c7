"""What the dates on posts say of clocks: which neighbours give posts that are dropped for their dates, and by how much
these differ.

In: each post that came, by whom it was given, and when. Out: the neighbours of whom the last one was misdated. Who
gives such a post has taken it, so the two clocks differ; whose is wrong nobody can tell from one of them.

Invariant: at most one entry for each link, none older than KEEP_PERIOD. Only for telling the user: nothing else hangs
on it, so a neighbour that lies gets no more than a line. A crash loses it; the next post brings it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from swarmd.core.ids import PeerId
from swarmd.groups.posting.post import LIFETIME_LIMIT, Post

DIFFERENCE_LIMIT = 120.0
"""Seconds by which clocks may differ (`board.AHEAD_LIMIT`). A post that has come just too late is within it."""
KEEP_PERIOD = 2.0 * LIFETIME_LIMIT
"""Seconds: longer than anybody gives that post to others."""


@dataclass(frozen=True, slots=True)
class Misdated:
    """Posts of these neighbours are dropped. Told when there was none before."""

    n_givers: int
    n_links: int
    ahead: float
    """Seconds, the median: what they are dated later than now here; below 0 earlier."""


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    ahead: float


class Clocks:
    """Of one group's neighbours."""

    def __init__(self) -> None:
        self._seen: dict[PeerId, _Seen] = {}

    def hear(self, giver: PeerId, post: Post, now: float, wall: float) -> bool:
        """Whether this is the first of all neighbours whose post is misdated."""
        ahead = post.created_at / 1000 - wall
        if -DIFFERENCE_LIMIT - LIFETIME_LIMIT <= ahead <= DIFFERENCE_LIMIT:
            self._seen.pop(giver, None)
            return False
        self._tidy(now)
        is_first = not self._seen
        self._seen[giver] = _Seen(now, ahead)
        return is_first

    def close(self, peer: PeerId) -> None:
        self._seen.pop(peer, None)

    def misdated(self, n_links: int, now: float) -> Misdated | None:
        """How it stands; None when nobody's clock differs, as far as is known."""
        self._tidy(now)
        if not self._seen:
            return None
        return Misdated(len(self._seen), n_links, median(each.ahead for each in self._seen.values()))

    def _tidy(self, now: float) -> None:
        for peer in [peer for peer, seen in self._seen.items() if seen.at + KEEP_PERIOD <= now]:
            del self._seen[peer]
