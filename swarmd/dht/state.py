"""What a node is given again after a restart: its ID, whom it knew, and what it keeps for others with the time left.

Times are spans, since monotonic clocks mean nothing to another process: whoever saves a state notes the wall clock's
time beside it, and gives back `aged` by what has passed since. A crash loses what came after the last save.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from swarmd.core.addresses import Address
from swarmd.dht.contact import Contact
from swarmd.dht.items import Item


@dataclass(frozen=True, slots=True)
class SavedItem:
    """`remaining` seconds until it expires, `age` since its owner put it; `source` is whose share of the storage."""

    item: Item
    source: str
    remaining: float
    age: float


@dataclass(frozen=True, slots=True)
class SavedPeer:
    """Of an announcement."""

    info_hash: bytes
    address: Address
    source: str
    remaining: float


@dataclass(frozen=True, slots=True)
class State:
    node_id: bytes
    contacts: tuple[Contact, ...] = ()
    items: tuple[SavedItem, ...] = ()
    """What expires first stands first; so with the peers."""
    peers: tuple[SavedPeer, ...] = ()
    node_id_ipv6: bytes = b""
    """Where there is IPv6: an ID is bound to an address. Empty: the same as `node_id`, until others say the address."""

    def aged(self, period: float) -> State:
        """The same `period` seconds later, without what has expired by then. A clock set back ages nothing."""
        past = max(0.0, period)
        items = (replace(one, remaining=one.remaining - past, age=one.age + past) for one in self.items)
        peers = (replace(one, remaining=one.remaining - past) for one in self.peers)
        return replace(
            self,
            items=tuple(one for one in items if one.remaining > 0),
            peers=tuple(one for one in peers if one.remaining > 0),
        )
