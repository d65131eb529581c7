"""When to announce, and with which tags: the half of discovery that speaks.

In: `groups_changed`, `handle_timer`. Out: `announcement_to_send`, `next_deadline`.
States: due (an announcement waits to be taken) and resting (until a change or the next rotation).

Every announcement has a fresh nonce, and so fresh tags: two of them cannot be compared, neither to see who
joined what between them nor, across a change of address, that they came from the same node. A node with more
groups than one announcement holds gives another choice of them each time; since its announcement is full, its
next one comes sooner.

Invariant: announcements are at least QUIET_PERIOD apart, and at most ROTATION_PERIOD. It keeps no tag.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from swarmd.core.rng import Rng
from swarmd.discovery.announcement import MAX_TAGS, NONCE_BYTES, Announcement

QUIET_PERIOD = 1.0
"""RFC 6762 §6: the same record is not sent by multicast more than once a second."""
ROTATION_PERIOD = 600.0
"""How long one set of tags can be watched; each change costs three packets of about 900 bytes. Tags count the
wall time in epochs of 900 s (`groups.beacon`), so none is shown for long after its own."""
FULL_PERIOD = 60.0
"""The same when there is no room for all groups: 1,000 groups have been shown in half an hour or so."""

TagsOf = Callable[[bytes], Sequence[bytes]]
"""From a nonce to at most MAX_TAGS tags, in random order; given by whoever knows the groups."""


class Announcer:
    """The announcements of one node."""

    def __init__(self, tags_of: TagsOf, rng: Rng, now: float) -> None:
        self._tags_of, self._rng = tags_of, rng
        self._due_at = now
        self._earliest_at = now

    def groups_changed(self, now: float) -> None:
        """A group was joined or left: say so soon."""
        self._due_at = min(self._due_at, max(now, self._earliest_at))

    def next_deadline(self) -> float:
        """When `announcement_to_send` has something."""
        return self._due_at

    def announcement_to_send(self, now: float) -> Announcement | None:
        """The next one, once it is due."""
        if now < self._due_at:
            return None
        nonce = self._rng.bytes(NONCE_BYTES)
        announcement = Announcement(nonce, tuple(self._tags_of(nonce)))
        period = ROTATION_PERIOD if len(announcement.tags) < MAX_TAGS else FULL_PERIOD
        self._earliest_at = now + QUIET_PERIOD
        self._due_at = now + period * (0.75 + 0.25 * self._rng.random())  # so that nodes do not rotate together
        return announcement
