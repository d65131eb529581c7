"""When one group is announced in the DHT and looked for there.

In: how the group stands, time. Out: what to do now. Whoever does it tells when it is done, or was in vain.

- ANNOUNCE at once, then every ANNOUNCE_PERIODS; it finds others on its way, so it counts as a search. In a large group
  each member takes only some of its turns, so that about ANNOUNCED of them are to be found at any time: to a newcomer
  one is enough, and the nodes near the place keep a hundred.
- SEARCH a moment after an announcement, for who came at the same time was announced while we looked; while there are
  no neighbours, and again ever more rarely; while there are fewer than wanted at most
  every FEW_PERIOD. With enough of them the announcements alone see to it that parts that are cut off find each other.

Pure but for its own times.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from swarmd.core.backoff import Backoff
from swarmd.core.rng import Rng

ANNOUNCE_PERIODS = (900.0, 1500.0)
"""Seconds, drawn anew each time: nodes forget after 1,800."""
ANNOUNCED = 64
FIRST_PERIOD, LONGEST_PERIOD = 4.0, 900.0
FEW_PERIOD = 300.0
AGAIN_PERIOD = 1.0
RETRY_PERIOD = 20.0
"""Seconds after an announcement that nobody took."""


class Task(Enum):
    ANNOUNCE = "announce"
    SEARCH = "search"


@dataclass(frozen=True, slots=True)
class Standing:
    """n_wanted: neighbours that the group wants; n_members: about how many there are, this node included."""

    n_neighbours: int
    n_wanted: int
    n_members: int


class Schedule:
    """One group's."""

    def __init__(self, rng: Rng, now: float) -> None:
        self._rng = rng
        self._announce_at = now
        self._search_at = now
        self._backoff = Backoff(FIRST_PERIOD, LONGEST_PERIOD, rng)
        self._was_linked = False

    def take(self, standing: Standing, now: float) -> Task | None:
        """What is to be done now; the next time is booked."""
        self._follow(standing, now)
        if now >= self._announce_at:
            self._announce_at = now + _drawn(ANNOUNCE_PERIODS, self._rng)
            if self._rng.random() * standing.n_members < ANNOUNCED:
                self._book_search(standing, now)
                return Task.ANNOUNCE
        if now >= self._search_at and standing.n_neighbours < standing.n_wanted:
            self._book_search(standing, now)
            return Task.SEARCH
        return None

    def ended(self, task: Task, now: float, *, is_vain: bool = False) -> None:
        """It is done; or was in vain, for nobody took the announcement."""
        if task is Task.ANNOUNCE and not is_vain:
            self._search_at = min(self._search_at, now + AGAIN_PERIOD * (0.5 + self._rng.random()))
        elif task is Task.ANNOUNCE:
            self._announce_at = min(self._announce_at, now + RETRY_PERIOD * (0.5 + self._rng.random()))

    def _follow(self, standing: Standing, now: float) -> None:
        """Whoever has lost the last neighbour begins anew."""
        is_linked = standing.n_neighbours > 0
        if self._was_linked and not is_linked:
            self._backoff.reset()
            self._search_at = min(self._search_at, now + self._backoff.next_period())
        self._was_linked = is_linked

    def _book_search(self, standing: Standing, now: float) -> None:
        period = self._backoff.next_period()
        self._search_at = now + (max(period, FEW_PERIOD) if standing.n_neighbours else period)


def _drawn(periods: tuple[float, float], rng: Rng) -> float:
    least, most = periods
    return least + (most - least) * rng.random()
