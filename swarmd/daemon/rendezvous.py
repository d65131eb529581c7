"""What this node does in the DHT for its groups, of its own accord and never all at once.

The parts: `rendezvous_meeting` (members find each other), `rendezvous_records` (lost members are found again),
`rendezvous_objects` (who holds what) and `rendezvous_values` (what members keep there for each other). In: time, how
the groups stand. Out: jobs, each a few searches of the DHT, in the background.

Invariant: at most MAX_RUNNING jobs at once, and RATE a second begun, however many groups there are: with thousands,
each has its turn more rarely. Nothing is begun while the DHT is off or knows nobody.
A crash loses nothing: all of it is said again after a start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from swarmd.core.tokenbucket import TokenBucket
from swarmd.daemon.rendezvous_work import Dht, Job, Part

MAX_RUNNING = 8
RATE = 2.0
"""Jobs a second, of some hundred datagrams each on the public network."""
BURST = 16


class Rendezvous:
    """`start(name, job)` runs a job in the background; its name is no other's."""

    def __init__(self, dht: Dht, parts: Sequence[Part], start: Callable[[str, Job], None], now: float) -> None:
        self._dht, self._parts, self._start = dht, list(parts), start
        self._begun = TokenBucket(RATE, BURST, now)
        self._numbers = count(1)
        self.n_running = 0

    @property
    def found(self) -> dict[str, int]:
        """How much the DHT has brought in this run, by kind."""
        return {part.kind: part.n_found for part in self._parts}

    def handle_timer(self, now: float) -> None:
        """About once a second."""
        if not self._dht.is_ready:
            return
        for part in self._parts:
            while self.n_running < MAX_RUNNING and self._begun.available(now) >= 1:
                if (job := part.next_job(now)) is None:
                    break
                self._begin(job, now)
        self._parts = [*self._parts[1:], *self._parts[:1]]  # no part has all the turns

    def _begin(self, job: Job, now: float) -> None:
        self._begun.take(1, now)
        self.n_running += 1

        async def run() -> None:
            try:
                await job()
            finally:
                self.n_running -= 1

        self._start(f"rendezvous {next(self._numbers)}", run)
