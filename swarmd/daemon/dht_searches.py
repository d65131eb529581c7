"""Searches of the DHT that somebody here waits for: the machine's numbered operations as coroutines.

Bounded: MAX_SEARCHES and MAX_VALUES under way. Whoever waits is told after a time at the latest, and may go at any
time; the operation then ends by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import Conflict, TimedOut
from swarmd.dht.events import GetDone, NodesDone, PeersDone, PeersFound, PutDone
from swarmd.dht.shelf import BlobDone, Shelf

MAX_SEARCHES = 128
"""With the upkeep's and those of values in pieces still below what the machine runs."""
MAX_VALUES = 8
"""Values in pieces: 8 MiB."""
SEARCH_TIMEOUT = 60.0
"""A search asks some twenty nodes, of which each has 2 s."""
VALUE_TIMEOUT = 300.0
"""1,100 items, sixteen at a time, even where a search takes 4 s."""

Done = GetDone | PutDone | PeersDone | NodesDone
D = TypeVar("D", GetDone, PutDone, PeersDone)
T = TypeVar("T")

Begin = Callable[[float], int]
"""Begins an operation now; its number."""


class Searches:
    def __init__(self, shelf: Shelf, clock: Clock, begun: Callable[[], None]) -> None:
        """`begun`: the machine has something to send."""
        self._shelf, self._clock, self._begun = shelf, clock, begun
        self._loop = asyncio.get_running_loop()
        self._searches: dict[int, asyncio.Future[Done]] = {}
        self._found: dict[int, list[Address]] = {}
        self._values: dict[int, asyncio.Future[BlobDone]] = {}

    async def search(self, kind: type[D], begin: Begin) -> D:
        """Conflict, TimedOut."""
        if len(self._searches) >= MAX_SEARCHES:
            raise Conflict(f"{MAX_SEARCHES} searches of the DHT are under way; try again when one has ended")
        number = begin(self._clock.monotonic())
        future = self._searches[number] = self._loop.create_future()
        self._begun()
        try:
            async with asyncio.timeout(SEARCH_TIMEOUT):
                done = await future
        except TimeoutError:
            raise TimedOut(f"the search of the DHT has not ended within {SEARCH_TIMEOUT:.0f} s") from None
        finally:
            del self._searches[number]
        assert isinstance(done, kind)
        return done

    async def peers(self, begin: Begin) -> list[Address]:
        """All that are found."""
        found: list[Address] = []

        def noted(now: float) -> int:
            number = begin(now)
            self._found[number] = found
            return number

        await self.search(PeersDone, noted)
        return found

    async def value(self, begin: Begin) -> BlobDone:
        """Of the shelf's. Conflict, TimedOut."""
        if len(self._values) >= MAX_VALUES:
            raise Conflict(f"{MAX_VALUES} values are put or fetched already; try again when one is done")
        number = begin(self._clock.monotonic())
        future: asyncio.Future[BlobDone] = self._loop.create_future()
        self._values[number] = future
        self._begun()
        try:
            async with asyncio.timeout(VALUE_TIMEOUT):
                return await future
        except TimeoutError:
            raise TimedOut(f"the DHT has not done it within {VALUE_TIMEOUT:.0f} s") from None

    def receive_event(self, event: PeersFound | Done) -> None:
        """The machine's; what was done for a value goes to the shelf."""
        if isinstance(event, PeersFound):
            self._found.get(event.operation, []).extend(event.peers)
        elif not self._shelf.receive_event(event, self._clock.monotonic()):
            self._found.pop(event.operation, None)
            _settle(self._searches.get(event.operation), event)
        while (value := self._shelf.next_event()) is not None:
            _settle(self._values.pop(value.number, None), value)


def _settle(future: asyncio.Future[T] | None, result: T) -> None:
    """Whoever waited may have gone."""
    if future is not None and not future.done():
        future.set_result(result)
