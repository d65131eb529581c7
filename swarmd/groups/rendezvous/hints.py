"""Addresses of one group's members as the DHT tells them: few, and not for long.

Nodes near a meeting place see its info hash, and may invent members there by the hundred, at anybody's address. So of
what a search brings a few are drawn by lot, there are never more than MAX_HINTS, and what no later search has brought
again is taken back. A false one costs whoever is there a connection attempt of each member now and then, and learns
nothing but that: membership is proved on the session.

In: what searches have found. Out: what to try, what to take back.
"""

from __future__ import annotations

from collections.abc import Iterable

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng

MAX_FOUND = 24
"""New ones of one search."""
MAX_HINTS = 64
"""A quarter of what a group has room for (`groups.dialer`), whoever names them."""
HINT_PERIOD = 3000.0
"""Seconds: two announcements of its owner, and some delay."""


class Hints:
    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._seen: dict[Address, float] = {}  # seen longest ago first

    def __len__(self) -> int:
        return len(self._seen)

    def take(self, found: Iterable[Address], now: float) -> list[Address]:
        """Those to be tried that were not known."""
        named = list(dict.fromkeys(found))
        for address in named:
            if self._seen.pop(address, None) is not None:
                self._seen[address] = now
        fresh = [address for address in named if address not in self._seen]
        chosen = self._rng.sample(fresh, min(len(fresh), MAX_FOUND, MAX_HINTS - len(self._seen)))
        self._seen.update(dict.fromkeys(chosen, now))
        return chosen

    def expired(self, now: float) -> list[Address]:
        """Those to be taken back."""
        old = [address for address, seen_at in self._seen.items() if now - seen_at >= HINT_PERIOD]
        for address in old:
            del self._seen[address]
        return old
