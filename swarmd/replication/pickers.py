"""Which chunk to ask a peer for next: pure functions of what may be asked, how rare it is, and chance.

A picker gets the candidates (wanted by us, had by the peer, verifiable) and returns one of them, or None when there is
none. It decides nothing else: not whom to ask, not how much. tests/replication/test_pickers.py is one conformance
suite for all of them.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from swarmd.core.rng import Rng
from swarmd.replication import bits
from swarmd.replication.availability import Availability


class Order(Enum):
    """NetGroup's replication strategies. LOWEST plays while it loads; RAREST spreads fastest."""

    LOWEST = "lowest"
    RAREST = "rarest"


class Picker(Protocol):
    def __call__(self, candidates: int, availability: Availability, rng: Rng) -> int | None: ...


def lowest_first(candidates: int, availability: Availability, rng: Rng) -> int | None:
    """The lowest index."""
    return bits.lowest(candidates) if candidates else None


def rarest_first(candidates: int, availability: Availability, rng: Rng) -> int | None:
    """One of those that the fewest connected peers have, each as likely as the other.

    Ties at random, exactly: with a biased draw the members of a swarm all ask for the same chunk first, and have
    nothing to exchange.
    """
    if not candidates:
        return None
    rarest = availability.rarest(candidates)
    count = rarest.bit_count()
    return bits.select(rarest, rng.randrange(count)) if count > 1 else bits.lowest(rarest)


PICKERS: dict[Order, Picker] = {Order.LOWEST: lowest_first, Order.RAREST: rarest_first}
