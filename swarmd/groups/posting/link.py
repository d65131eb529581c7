"""What one neighbour may ask of this node, and give it, about posts: token buckets; and what all of it comes to.

Invariant: over any time a neighbour causes no more than the rates and bursts below, whatever it says.
"""

from __future__ import annotations

from dataclasses import dataclass

from swarmd.core.errors import RemoteError
from swarmd.core.tokenbucket import TokenBucket

COMPARISONS_RATE = 1.0
COMPARISONS_BURST = 8
"""Of one neighbour: it begins one when the link opens and one in about a minute. What is more gets no answer."""
GIVE_RATE = 512 << 10
GIVE_BURST = 8 << 20
"""Bytes of posts for one neighbour: a board twice over. Beyond it this node is Busy."""
TAKE_RATE = 256 << 10
TAKE_BURST = 8 << 20
"""Bytes of posts from one neighbour, whoever their authors are said to be. Beyond it its announcements are not heard,
until the next comparison."""
EFFORT_RATE = 64 << 10
EFFORT_BURST = 1 << 20
"""Bytes of all else from one neighbour: twenty times what a busy group needs. Beyond it, it is at fault."""
MESSAGE_EFFORT = 32
"""What the smallest message counts as besides its bytes."""


@dataclass(slots=True)
class Traffic:
    """Bytes of messages since the start. Data: posts, with 15 bytes for each part; control: all else."""

    data_sent: int = 0
    data_received: int = 0
    control_sent: int = 0
    control_received: int = 0


class Link:
    """A neighbour."""

    __slots__ = ("comparisons", "effort", "give", "opened_at", "take")

    def __init__(self, now: float) -> None:
        self.opened_at = now
        self.give = TokenBucket(GIVE_RATE, GIVE_BURST, now)
        self.take = TokenBucket(TAKE_RATE, TAKE_BURST, now)
        self.effort = TokenBucket(EFFORT_RATE, EFFORT_BURST, now)
        self.comparisons = TokenBucket(COMPARISONS_RATE, COMPARISONS_BURST, now)

    def charge(self, size: int, now: float) -> None:
        """It says something; RemoteError when that is more than it could need."""
        if not self.effort.take(size + MESSAGE_EFFORT, now):
            raise RemoteError("a member floods the group with messages about posts")
