"""What a node keeps for others: BEP 44 items and announced peers. In memory; whoever runs the node may save `items`.

Invariant: never more than the `Bounds`, in number and bytes, in all and for each source (the host that brought it; a
/24 or /64 where hosts are cheap). What is full refuses: an item that is there stays until it expires, so that a flood
displaces nothing. A mutable item is only followed by one with a higher seq, or by itself.

Items have been verified before they come here. A crash loses what was not saved; its owners put it again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.dht.items import Item
from swarmd.dht.krpc import Code

ITEM_PERIOD = 7200.0
"""BEP 44: two hours after it was last put."""
PEER_PERIOD = 1800.0
ITEM_OVERHEAD_BYTES = 600
"""What an item costs besides its bytes, in Python; so that `max_bytes` is honest."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept for others. A source is a /24 or a /64, or one host where networks are not told apart: all of a
    private network may well be one host's."""

    max_items: int = 10_000
    max_bytes: int = 16 << 20
    max_items_of_source: int = 2_500
    max_info_hashes: int = 4_000
    max_peers: int = 100
    """For each info hash: as many as fit an answer."""
    max_peers_of_source: int = 5_000
    """In all."""


@dataclass(slots=True)
class Stored:
    item: Item
    source: str
    first_at: float
    put_at: float


class Storage:
    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._items: dict[bytes, Stored] = {}  # least recently put first
        self._item_sources: Counter[str] = Counter()
        self._peer_sources: Counter[str] = Counter()
        self._peers: dict[bytes, dict[Address, tuple[float, str]]] = {}
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def info_hashes(self) -> list[bytes]:
        return list(self._peers)

    def items(self) -> list[Stored]:
        """The least recently put first."""
        return list(self._items.values())

    def item(self, target: bytes, now: float) -> Item | None:
        stored = self._items.get(target)
        return stored.item if stored is not None and now - stored.put_at < ITEM_PERIOD else None

    def put(
        self, target: bytes, item: Item, source: str, now: float, *, cas: int | None = None, age: int = 0
    ) -> Code | None:
        """None when it is kept, otherwise why not."""
        self.expire(now)
        old = self._items.get(target)
        if old is not None and item.is_mutable:
            if cas is not None and old.item.seq != cas:
                return Code.CAS_MISMATCH
            is_same = item.seq == old.item.seq and item.encoded == old.item.encoded
            if item.seq <= old.item.seq and not is_same:
                return Code.SEQ_TOO_LOW
        size = item.size + ITEM_OVERHEAD_BYTES
        freed = old.item.size + ITEM_OVERHEAD_BYTES if old is not None else 0
        if self.n_bytes + size - freed > self._bounds.max_bytes:
            return Code.SERVER
        if old is None and not self._has_place(source):
            return Code.SERVER
        first_at = now - age
        if old is not None:
            source, first_at = old.source, max(first_at, old.first_at)
            self._drop(target)
        self._items[target] = Stored(item, source, first_at, now)
        self._item_sources[source] += 1
        self.n_bytes += size
        return None

    def peers(self, info_hash: bytes, now: float) -> list[Address]:
        held = self._peers.get(info_hash, {})
        return [address for address, (at, _) in held.items() if now - at < PEER_PERIOD]

    def announce(self, info_hash: bytes, peer: Address, source: str, now: float) -> bool:
        """False when there is no room. The oldest of an info hash gives way, as they change anyway."""
        self.expire(now)
        held = self._peers.get(info_hash)
        if held is None:
            if len(self._peers) >= self._bounds.max_info_hashes:
                return False
            held = {}
        if peer in held:
            self._drop_peer(info_hash, held, peer)
        elif self._peer_sources[source] >= self._bounds.max_peers_of_source:
            return False
        elif len(held) >= self._bounds.max_peers:
            self._drop_peer(info_hash, held, next(iter(held)))
        held[peer] = (now, source)
        self._peers[info_hash] = held
        self._peer_sources[source] += 1
        return True

    def expire(self, now: float) -> None:
        """Items are in the order of their times; of peers the hashes that were announced longest ago are looked at."""
        while self._items:
            target, stored = next(iter(self._items.items()))
            if now - stored.put_at < ITEM_PERIOD:
                break
            self._drop(target)

    def expire_peers(self, now: float) -> None:
        """All of them: from time to time."""
        for info_hash in list(self._peers):
            held = self._peers[info_hash]
            for peer in [peer for peer, (at, _) in held.items() if now - at >= PEER_PERIOD]:
                self._drop_peer(info_hash, held, peer)

    def _has_place(self, source: str) -> bool:
        is_full = len(self._items) >= self._bounds.max_items
        return not is_full and self._item_sources[source] < self._bounds.max_items_of_source

    def _drop(self, target: bytes) -> None:
        stored = self._items.pop(target)
        self.n_bytes -= stored.item.size + ITEM_OVERHEAD_BYTES
        _less(self._item_sources, stored.source)

    def _drop_peer(self, info_hash: bytes, held: dict[Address, tuple[float, str]], peer: Address) -> None:
        _, source = held.pop(peer)
        _less(self._peer_sources, source)
        if not held:
            self._peers.pop(info_hash, None)


def _less(counter: Counter[str], source: str) -> None:
    counter[source] -= 1
    if not counter[source]:
        del counter[source]
