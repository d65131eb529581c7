"""Where in the DHT members of a group meet: info hashes that only members can reckon, other ones each day.

    meeting place   HMAC-SHA256(rendezvous key, "swarmd meet" + u64 day)[:20]
    of an object    HMAC-SHA256(rendezvous key, "swarmd object" + u64 day + content ID)[:20]

To a node of the DHT an info hash is a random number: it tells neither the group nor that yesterday's was the same
group's. (Who announces there shows its address, day after day: SECURITY.md.) A group's day begins at an hour of its
own, so that not all of them move at once, which would show which places of two days belong together.

Within OVERLAP of the change both days' places hold, so that clocks may differ by that much.

Pure functions. Not here: what is asked when (`schedule`), what is kept as items (`slots`).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

from swarmd.core.codec import Writer
from swarmd.core.ids import ContentId
from swarmd.groups.groupspec import GroupSpec

DAY = 86_400
OVERLAP = 3600.0
"""Seconds before and after the change in which both places are used: members' clocks may be wrong by as much, and an
announcement lives for half of it."""
PLACE_BYTES = 20
"""Of an info hash of BEP 5."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """One group's places. Whoever has it can find the members' addresses."""

    key: bytes = field(repr=False)

    @classmethod
    def of(cls, spec: GroupSpec) -> Calendar:
        return cls(spec.derive(b"rendezvous"))

    def days(self, wall: float) -> tuple[int, ...]:
        """The numbers of the days whose places hold now: today's, then the one that is near, if one is."""
        offset = int.from_bytes(self._digest(b"swarmd hour")[:4], "big") % DAY
        day, since = divmod(max(0.0, wall) + offset, DAY)
        today = int(day)
        if since < OVERLAP and today:
            return today, today - 1
        return (today, today + 1) if since >= DAY - OVERLAP else (today,)

    def meeting_places(self, wall: float) -> tuple[bytes, ...]:
        """Where members announce themselves and look for others."""
        return tuple(self._place(b"swarmd meet", day) for day in self.days(wall))

    def object_places(self, content_id: ContentId, wall: float) -> tuple[bytes, ...]:
        """The same for those who hold an object."""
        return tuple(self._place(b"swarmd object", day, content_id) for day in self.days(wall))

    def _place(self, label: bytes, day: int, of: bytes = b"") -> bytes:
        return self._digest(Writer().raw(label).u64(day).raw(of).bytes())[:PLACE_BYTES]

    def _digest(self, message: bytes) -> bytes:
        return hmac.digest(self.key, message, sha256)
