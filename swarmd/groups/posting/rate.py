"""How much this node itself may post: what an honest author keeps to, so that no member drops anything of it.

Two token buckets, for posts and for bytes. In any ten seconds they let through two thirds, at the most, of what the
others take of one author (`board.SLOT_POSTS`, `board.SLOT_BYTES`).
"""

from __future__ import annotations

from swarmd.core.tokenbucket import TokenBucket

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
"""Times a small post's bytes for copies alone, where telling all neighbours takes the most of SHARE: or all members of
a group of thirty would owe at once, nobody would give, and each post of a few bytes take two seconds."""
MAX_LEFT = 64 << 10
"""Bytes that are saved up by who was seldom asked: a few small posts are then given to some more."""
DEEP = 6
"""Posts of the same size that are owed, from which on a post is given once and not twice. Without that, one of 300
members had sent 3.06 times what was posted, with 31 links that all have to be told of each post. (Giving none is no
answer: in a group of thirty on one machine posts were everywhere after 2.4 s, as all owed.)"""
MAX_OWED = 64 << 10
"""One large post to who insists; what is beyond it is forgiven."""


class Budget:
    """What this node may still send for posts, in bytes: some members are quick and asked by all, and would send every
    post four times, time and again."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = 0.0

    @property
    def is_left(self) -> bool:
        return self._left > 0

    def copies(self, usual: int, post_bytes: int) -> int:
        """How often a post of that size is given by who owes already: `usual` is 1 or 2."""
        return usual if self._left >= -DEEP * post_bytes else 1

    def earn(self, post_bytes: int, announcing_bytes: int) -> None:
        """A post has come, and is passed on; so many bytes tell the neighbours."""
        earned = max(SHARE * post_bytes, COPY_SHARE * post_bytes + announcing_bytes)
        self._left = min(MAX_LEFT, self._left) + earned

    def spend(self, size: int) -> None:
        """A message was sent."""
        self._left = max(-MAX_OWED, self._left - size)
