"""What time it is for the others of a private network: so that whoever dates something by a wrong clock can be told.

In: our wall time from the owner, which may be set meanwhile, and what replies say. Out: by how much we are ahead.

Invariant: one vote for each /24, /64 or private host, its latest of the last PERIOD, MAX_VOTERS at most; the median of
them counts, so those who lie would have to be the most of those that were asked. Times of others are kept as what they
are ahead of the monotonic `now`: when our clock is set right, they hold still.
"""

from __future__ import annotations

from statistics import median

from swarmd.core.addresses import Address
from swarmd.dht.contact import region_of

PERIOD = 1800.0
MAX_VOTERS = 64
STEP = 10
"""Seconds. Enough to see a clock that is minutes wrong, and not to know a machine by its clock."""


class Clocks:
    def __init__(self) -> None:
        self._own: float | None = None
        self._votes: dict[str, tuple[float, float]] = {}

    def set(self, wall: float, now: float) -> None:
        """That is the time here. Until then nobody is told any."""
        self._own = wall - now

    def told(self, now: float) -> int | None:
        """What a reply says."""
        return None if self._own is None else round((self._own + now) / STEP) * STEP

    def heard(self, voter: Address, wall: int, now: float) -> None:
        region = region_of(voter.host)
        self._votes.pop(region, None)
        if len(self._votes) >= MAX_VOTERS:
            del self._votes[next(iter(self._votes))]
        self._votes[region] = wall - now, now

    def ahead(self, now: float) -> float | None:
        """Seconds by which ours is ahead of theirs, below 0 behind; None when nobody has said."""
        theirs = [ahead for ahead, heard_at in self._votes.values() if now - heard_at < PERIOD]
        return self._own - median(theirs) if theirs and self._own is not None else None
