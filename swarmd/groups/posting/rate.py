"""How much this node itself may post: what an honest author keeps to, so that no member drops anything of it.

Two token buckets, for posts and for bytes. In any ten seconds they let through two thirds, at the most, of what the
others take of one author (`board.SLOT_POSTS`, `board.SLOT_BYTES`).
"""

from __future__ import annotations

from swarmd.core.tokenbucket import TokenBucket
from swarmd.groups.posting.messages import ANNOUNCE_BYTES

POSTS_RATE = 4.0
"""A second, in the long run: more than people write, and enough for a program that tells its state."""
POSTS_BURST = 25
BYTES_RATE = 40 << 10
BYTES_BURST = 256 << 10
"""Four posts of the largest kind at once, then one in 1.6 s."""


class OwnRate:
    __slots__ = ("_bytes", "_posts")

    def __init__(self, now: float) -> None:
        self._posts = TokenBucket(POSTS_RATE, POSTS_BURST, now)
        self._bytes = TokenBucket(BYTES_RATE, BYTES_BURST, now)

    def wait_period(self, size: int, now: float) -> float:
        """Seconds until a post of that size may be made."""
        return max(self._posts.ready_at(1, now), self._bytes.ready_at(size, now)) - now

    def take(self, size: int, now: float) -> None:
        """One is made now."""
        self._posts.take(1, now)
        self._bytes.take(size, now)


SHARE = 2.3
"""Times a post's bytes that a member sends for it, announcements included: less than three with comparisons and what
cannot be refused, because somebody insists."""
COPY_SHARE = 1.3
"""Times a small post's bytes for copies alone, where telling neighbours takes the most of SHARE: or all members of a
group of thirty would owe at once, nobody would give, and each post of a few bytes take two seconds."""
MAX_LEFT = 64 << 10
"""Bytes that are saved up by who was seldom asked: a few small posts are then given to some more."""
DEEP = 2
"""Posts of the same size that are owed, from which on a post is given once and not twice."""
TOO_DEEP = 8
"""From which on it is not given at all: who owes so much has had it asked of it by others who insisted. (Giving none
earlier is no answer: in a group of thirty on one machine posts were everywhere after 2.4 s, as all owed.)"""
LATE_RATE = 0.1
LATE_BURST = 4
"""Older posts that are given although more is owed than that: somebody who has just come insists, and has many others
to ask. One neighbour gave 43 of 60 posts to one newcomer without it, and so sent 3.2 times what was posted."""
MAX_OWED = 64 << 10
"""One large post to who insists; what is beyond it is forgiven."""


class Budget:
    """What this node may still send for posts, in bytes: some members are quick and asked by all, and would send every
    post four times, time and again."""

    __slots__ = ("_late", "_left")

    def __init__(self, now: float) -> None:
        self._left = 0.0
        self._late = TokenBucket(LATE_RATE, LATE_BURST, now)

    @property
    def is_left(self) -> bool:
        return self._left > 0

    def copies(self, usual: int, post_bytes: int) -> int:
        """How often a new post of that size is given by who owes already: `usual` is 1 or 2."""
        if self._left >= -DEEP * post_bytes:
            return usual
        return 1 if self._left >= -TOO_DEEP * post_bytes else 0

    def take_late(self, post_bytes: int, now: float) -> bool:
        """Whether an older post is given to who insists."""
        return self._left >= -DEEP * post_bytes or self._late.take(1, now)

    def earn(self, post_bytes: int, n_announced: int) -> None:
        """A post has come, and is passed on; so many neighbours are told."""
        earned = max(SHARE * post_bytes, COPY_SHARE * post_bytes + n_announced * ANNOUNCE_BYTES)
        self._left = min(MAX_LEFT, self._left) + earned

    def spend(self, size: int) -> None:
        """A message was sent."""
        self._left = max(-MAX_OWED, self._left - size)
