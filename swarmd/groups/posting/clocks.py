"""What neighbours' clocks say: whose differ so much from ours that what they post is dropped here, and ours there.

In: what time each says that it is, and the dates on the posts that come from it. Out: the neighbours whose clocks
differ. A post that is dropped for its date tells the same of whoever gives it, since it has taken it; whose clock is
wrong nobody can tell from one of them.

Invariant: at most one entry for each link, none older than KEEP_PERIOD. A neighbour's time is kept as what it is ahead
of the monotonic `now`, so that a note goes when our clock is set right. Only for telling the user: nothing else hangs
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
    """The clocks of these neighbours differ. Told when there was none before."""

    n_givers: int
    n_links: int
    ahead: float
    """Seconds, the median: what they are ahead of the clock here; below 0 behind."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """At `at` its clock was at `epoch` + `at`."""

    at: float
    epoch: float


class Clocks:
    """Of one group's neighbours."""

    def __init__(self) -> None:
        self._seen: dict[PeerId, _Seen] = {}

    def hear(self, giver: PeerId, post: Post, now: float, wall: float) -> bool:
        """Whether this is the first of all neighbours whose clock differs."""
        return self._note(giver, post.created_at / 1000, now, wall, is_apart=is_misdated(post, wall))

    def hear_time(self, peer: PeerId, seconds: int, now: float, wall: float) -> bool:
        """A neighbour says what time it is. Returns the same."""
        return self._note(peer, seconds, now, wall, is_apart=abs(seconds - wall) > DIFFERENCE_LIMIT)

    def close(self, peer: PeerId) -> None:
        self._seen.pop(peer, None)

    def misdated(self, n_links: int, now: float, wall: float) -> Misdated | None:
        """How it stands; None when nobody's clock differs, as far as is known."""
        differing = self._differing(now, wall)
        return Misdated(len(differing), n_links, median(differing)) if differing else None

    def _note(self, peer: PeerId, seconds: float, now: float, wall: float, *, is_apart: bool) -> bool:
        if not is_apart:
            self._seen.pop(peer, None)
            return False
        is_first = not self._differing(now, wall)
        self._seen[peer] = _Seen(now, seconds - now)
        return is_first

    def _differing(self, now: float, wall: float) -> list[float]:
        """By how much they are ahead, below 0 behind."""
        for peer in [peer for peer, seen in self._seen.items() if seen.at + KEEP_PERIOD <= now]:
            del self._seen[peer]
        ahead = (seen.epoch + now - wall for seen in self._seen.values())
        return [each for each in ahead if abs(each) > DIFFERENCE_LIMIT]


def is_misdated(post: Post, wall: float) -> bool:
    """Whether it is dropped, and not because it came just too late."""
    return not -DIFFERENCE_LIMIT - LIFETIME_LIMIT <= post.created_at / 1000 - wall <= DIFFERENCE_LIMIT
