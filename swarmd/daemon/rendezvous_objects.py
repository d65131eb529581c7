"""Who holds an object, in the DHT: for groups so large that the neighbours do not know, when the ring does not either.

The rule: an object is announced where its group has members besides our neighbours (as `groups.providers` reckons it),
all of them in turns, at most TURNS of a group in ANNOUNCE_PERIOD. With up to that many each is always to be found; with
more, at least some of the time. It is looked for by a transfer that nobody linked can give anything to, after a search
over the ring has brought nobody.

Who is found is called at once, a few at a time; a provider proves its membership as everybody does, and then its link
is held as long as chunks come over it (`daemon.providers`).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterator
from functools import partial
from typing import Protocol

from swarmd.core.addresses import Address
from swarmd.core.backoff import Backoff
from swarmd.core.errors import LocalError, Unreachable
from swarmd.core.ids import ContentId, GroupId
from swarmd.core.tokenbucket import TokenBucket
from swarmd.daemon.peers import Peers
from swarmd.daemon.rendezvous_work import Around, Job
from swarmd.groups.rendezvous.places import Calendar

log = logging.getLogger(__name__)

ANNOUNCE_PERIOD = 1200.0
"""Seconds, give or take a quarter: nodes forget after 1,800."""
TURNS = 64
BURST = 8
"""Objects of a group announced at once, when they come."""
LOOK_PERIOD = 2.0
"""Seconds between two looks at what there is to announce."""
LACK_PERIOD = 0.5
"""And at what is lacking."""
FIRST_PERIOD, LONGEST_PERIOD = 4.0, 900.0
"""Seconds until the same object is looked for again: soon at first, for who has it may be announcing it."""
MAX_CALLS = 6
"""Addresses of one search that are called, drawn by lot."""


class Provided(Protocol):
    """What `daemon.providers` knows."""

    def announced(self) -> Iterator[tuple[GroupId, Collection[ContentId]]]:
        """What this node gives in each group that has members besides its neighbours."""
        ...

    def lacking(self) -> Iterator[tuple[GroupId, ContentId]]:
        """What a transfer lacks, which nobody linked has anything of, and the ring knows nobody for."""
        ...


class _Announced:
    """One group's. `due`: when each is announced again."""

    def __init__(self, now: float) -> None:
        self.turns = TokenBucket(TURNS / ANNOUNCE_PERIOD, BURST, now)
        self.due: dict[ContentId, float] = {}

    def follow(self, given: Collection[ContentId], now: float) -> None:
        for content_id in self.due.keys() - set(given):
            del self.due[content_id]
        for content_id in given:
            self.due.setdefault(content_id, now)

    def take(self, now: float, chance: float) -> ContentId | None:
        if not self.due or not self.turns.available(now) >= 1:
            return None
        content_id = min(self.due, key=self.due.__getitem__)
        if self.due[content_id] > now or not self.turns.take(1, now):
            return None
        self.due[content_id] = now + ANNOUNCE_PERIOD * (0.75 + chance / 2)
        return content_id


class ObjectPlaces:
    """A `Part`."""

    def __init__(self, around: Around, provided: Provided, peers: Peers) -> None:
        self._around, self._provided, self._peers = around, provided, peers
        self._announced: dict[GroupId, _Announced] = {}
        self._wanted: dict[tuple[GroupId, ContentId], tuple[Backoff, float]] = {}
        self._look_at = self._lack_at = -math.inf
        self.kind, self.n_found = "provider", 0  # addresses that were called

    def next_job(self, now: float) -> Job | None:
        if now >= self._look_at:
            self._look_at = now + LOOK_PERIOD
            self._follow_given(now)
        if now >= self._lack_at:
            self._lack_at = now + LACK_PERIOD
            self._follow_lacking(now)
        for (group, content_id), (backoff, due_at) in self._wanted.items():
            if now >= due_at:
                self._wanted[group, content_id] = backoff, now + backoff.next_period()
                return partial(self._find, group, content_id)
        for group, announced in self._announced.items():
            if (turn := announced.take(now, self._around.chance.random())) is not None:
                return partial(self._announce, group, turn)
        return None

    def _follow_given(self, now: float) -> None:
        given = dict(self._provided.announced())
        for group in self._announced.keys() - given.keys():
            del self._announced[group]
        for group, objects in given.items():
            self._announced.setdefault(group, _Announced(now)).follow(objects, now)

    def _follow_lacking(self, now: float) -> None:
        lacking = dict.fromkeys(self._provided.lacking())
        for key in self._wanted.keys() - lacking.keys():
            del self._wanted[key]
        for key in lacking:
            self._wanted.setdefault(key, (Backoff(FIRST_PERIOD, LONGEST_PERIOD, self._around.chance), now))

    async def _announce(self, group: GroupId, content_id: ContentId) -> None:
        await self._at_places(group, content_id, self._around.dht.announce)

    async def _find(self, group: GroupId, content_id: ContentId) -> None:
        found: list[Address] = []

        async def look(place: bytes) -> None:
            found.extend(await self._around.dht.get_peers(place))

        await self._at_places(group, content_id, look)
        usable = list(dict.fromkeys(self._around.usable(found)))
        called = self._around.chance.sample(usable, min(len(usable), MAX_CALLS))
        self.n_found += len(called)
        await asyncio.gather(*map(self._call, called))

    async def _at_places(self, group: GroupId, content_id: ContentId, do: Callable[[bytes], Awaitable[object]]) -> None:
        if group not in self._around.memberships:
            return
        calendar = Calendar.of(self._around.memberships.spec(group))
        try:
            for place in calendar.object_places(content_id, self._around.wall):
                await do(place)
        except LocalError as error:
            log.debug("object %s in the DHT: %s", content_id.short, error)

    async def _call(self, address: Address) -> None:
        """Whoever is there; if it is a member, the proof shows it, and the group has one more neighbour."""
        try:
            await self._peers.reach([address], None)
        except Unreachable as error:
            log.debug("a provider that the DHT has named: %s: %s", address, error)
