"""The BEP 44 items that a node keeps for others. In memory; `saved` and `restore` carry them over a restart with the
time that is left to each; `take_new` gives what has come since its last call, for an owner that writes it down at once.

Invariant: never more than the `Bounds`, in number and bytes; and of one source (`contact.region_of`: a /24, a /64 or a
private host) no more than its share, once half of the whole is used. So a network on one host has half of the room,
and a flood from one source leaves the other half to the rest. What is full refuses: an item that is there stays until
it expires, so that a flood displaces nothing. A mutable item is only followed by one with a higher seq, or by itself.

Items have been verified before they come here. A crash loses what the owner has not written; who put it does it again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice

from swarmd.dht.items import Item
from swarmd.dht.krpc import Code
from swarmd.dht.state import SavedItem

ITEM_PERIOD = 7200.0
"""BEP 44: two hours after it was last put."""
ITEM_OVERHEAD_BYTES = 600
"""What an item costs besides its bytes, in Python; so that `max_bytes` is honest."""


@dataclass(frozen=True, slots=True)
class Bounds:
    max_items: int = 10_000
    max_bytes: int = 16 << 20
    share: float = 0.125
    """Of the items and of the bytes: a source's, once half is used."""


@dataclass(slots=True)
class Stored:
    item: Item
    source: str
    first_at: float
    put_at: float
    cas: int | None = None
    """With which it was put: the same put sent again is none that comes too late."""


class Storage:
    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._items: dict[bytes, Stored] = {}  # least recently put first
        self._new: dict[bytes, None] = {}
        """Of `_items`: other than before, and not given out by `take_new`. An item that is put again is not."""
        self._item_sources: Counter[str] = Counter()
        self._byte_sources: Counter[str] = Counter()
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._items)

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
        if old is not None and item.is_mutable and (code := _obstacle(old, item, cas)) is not None:
            return code
        size = item.size + ITEM_OVERHEAD_BYTES
        freed = old.item.size + ITEM_OVERHEAD_BYTES if old is not None else 0
        if self.n_bytes + size - freed > self._bounds.max_bytes:
            return Code.SERVER
        if old is None and not self._has_place(source, size):
            return Code.SERVER
        if old is None or old.item != item:
            self._new.setdefault(target)
        first_at = now - age
        if old is not None:
            source, first_at = old.source, max(first_at, old.first_at)
            self._drop(target)
        self._items[target] = Stored(item, source, first_at, now, cas)
        self._item_sources[source] += 1
        self._byte_sources[source] += size
        self.n_bytes += size
        return None

    def saved(self, now: float) -> tuple[SavedItem, ...]:
        self.expire(now)
        return tuple(_saved(stored, now) for stored in self._items.values())

    @property
    def has_new(self) -> bool:
        return bool(self._new)

    def take_new(self, limit: int, now: float) -> tuple[SavedItem, ...]:
        """Those that have waited longest."""
        self.expire(now)
        targets = list(islice(self._new, limit))
        for target in targets:
            del self._new[target]
        return tuple(_saved(self._items[target], now) for target in targets)

    def restore(self, saved: tuple[SavedItem, ...], now: float) -> None:
        """Within the bounds; nothing lasts longer than it would have."""
        for one in sorted(saved, key=lambda one: one.remaining):
            at = now + min(one.remaining, ITEM_PERIOD) - ITEM_PERIOD
            if one.remaining > 0:
                self.put(one.item.target, one.item, one.source, at, age=max(0, int(one.age + at - now)))
        self._new.clear()

    def expire(self, now: float) -> None:
        """They are in the order of their times."""
        while self._items:
            target, stored = next(iter(self._items.items()))
            if now - stored.put_at < ITEM_PERIOD:
                break
            self._drop(target)
            self._new.pop(target, None)

    def _has_place(self, source: str, size: int) -> bool:
        bounds, n_items = self._bounds, len(self._items)
        if n_items >= bounds.max_items:
            return False
        if n_items * 2 < bounds.max_items and (self.n_bytes + size) * 2 < bounds.max_bytes:
            return True
        is_within = self._item_sources[source] < bounds.max_items * bounds.share
        return is_within and self._byte_sources[source] + size <= bounds.max_bytes * bounds.share

    def _drop(self, target: bytes) -> None:
        stored = self._items.pop(target)
        size = stored.item.size + ITEM_OVERHEAD_BYTES
        self.n_bytes -= size
        _less(self._item_sources, stored.source)
        _less(self._byte_sources, stored.source, size)


def _obstacle(old: Stored, item: Item, cas: int | None) -> Code | None:
    """BEP 44. The same put once more is welcome: its first copy may have come without our answer getting back."""
    is_same = item.seq == old.item.seq and item.encoded == old.item.encoded
    if cas is not None and cas != old.item.seq and not (is_same and cas == old.cas):
        return Code.CAS_MISMATCH
    return Code.SEQ_TOO_LOW if item.seq <= old.item.seq and not is_same else None


def _saved(stored: Stored, now: float) -> SavedItem:
    return SavedItem(stored.item, stored.source, stored.put_at + ITEM_PERIOD - now, now - stored.first_at)


def _less(counter: Counter[str], source: str, by: int = 1) -> None:
    counter[source] -= by
    if not counter[source]:
        del counter[source]
