"""Where the first nodes of a DHT are: places that are named, looked up again and again, and nodes with whom there is a
session, while nobody is known.

A name that leads nowhere now is said once, and tried again. Not here: when (`dht`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError
from swarmd.daemon.resolution import addresses_of
from swarmd.daemon.values import HostPort

log = logging.getLogger(__name__)

MAX_NEIGHBOURS = 16
"""Tried at a time; one that answers is enough."""


class Entry:
    def __init__(self, places: Sequence[HostPort], neighbours: Callable[[], list[Address]]) -> None:
        self.places = tuple(dict.fromkeys(places))
        self.knows_some = False
        """Contacts of an earlier run are tried."""
        self.found: tuple[Address, ...] = ()
        """Where the places are, when they were looked up last."""
        self._neighbours = neighbours
        self._missed: set[HostPort] = set()

    @property
    def has_hope(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self.places or self.knows_some or self._neighbours())

    async def addresses(self, *, is_needed: bool) -> list[Address]:
        """`is_needed`: nobody is known."""
        found = await asyncio.gather(*map(self._looked_up, self.places))
        self.found = tuple(address for each in found for address in each)
        near = self._neighbours()[:MAX_NEIGHBOURS] if is_needed else []
        return list(dict.fromkeys([*self.found, *near]))

    async def _looked_up(self, place: HostPort) -> list[Address]:
        try:
            addresses = await addresses_of(place)
        except LocalError as error:
            if place not in self._missed:
                log.warning("bootstrap node of the DHT: %s; it is tried again", error)
            self._missed.add(place)
            return []
        self._missed.discard(place)
        return addresses
