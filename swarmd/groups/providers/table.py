"""The provider records that this member keeps for others: bounded for each object, each provider, and in all.

A full list of an object takes a newcomer in the place of one whom the same neighbour brought as most others there: so
somebody who invents providers displaces his own. Among those, chance that is drawn once for each provider decides, not
who came last: to announce oneself again gains nothing.

Invariant: for a key and a provider one record is held, the latest; it is not expired. That an object is held no longer
is remembered, for as long as an earlier record could come back.
A crash loses all of it; providers announce themselves anew.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.groups.providers.record import ProviderRecord
from swarmd.groups.ring import GroupAddress

MAX_RECORDS = 4096
"""About 4 MB. In a group of 1,000 whose members hold 100 objects each it is some 800."""
MAX_OF_OBJECT = 32
"""Providers of one object: more than a transfer is connected with."""
MAX_OF_PROVIDER = 256
"""Records of one provider: of the at most `service.MAX_OBJECTS` objects that it announces few lie near here."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """via: the neighbour that brought it."""

    record: ProviderRecord
    via: PeerId
    expires_at: float


class Table:
    """One group's."""

    def __init__(self, rng: Rng) -> None:
        self._salt = rng.bytes(16)
        self._kept: dict[GroupAddress, dict[PeerId, _Kept]] = {}
        self._n_via: Counter[PeerId] = Counter()
        self._n_of: Counter[PeerId] = Counter()
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[GroupAddress]:
        """The keys of which something is known."""
        return iter(self._kept)

    def records(self, key: GroupAddress) -> list[ProviderRecord]:
        """All that is known, also of those who hold it no longer."""
        return [kept.record for kept in self._kept.get(key, {}).values()]

    def holders(self, key: GroupAddress, now: float) -> list[ProviderRecord]:
        """Those who hold the object."""
        kept = self._kept.get(key, {}).values()
        return [each.record for each in kept if each.record.is_held and each.expires_at > now]

    def is_news(self, record: ProviderRecord) -> bool:
        """Whether nothing as late is known of that provider."""
        known = self._kept.get(record.key, {}).get(record.peer_id)
        return known is None or known.record.created_at < record.created_at

    def keep(self, record: ProviderRecord, via: PeerId, expires_at: float) -> None:
        """Take in what is news, or what is of more worth than it go."""
        known = self._kept.get(record.key, {}).get(record.peer_id)
        if known is not None:
            self._drop(known)
        elif self._n_of[record.peer_id] >= MAX_OF_PROVIDER:
            return
        kept = self._kept.setdefault(record.key, {})
        kept[record.peer_id] = new = _Kept(record, via, expires_at)
        self._count(new, 1)
        if len(kept) > MAX_OF_OBJECT:
            self._drop(self._least(kept))
        elif self._n > MAX_RECORDS:
            self._make_room()

    def expire(self, now: float) -> None:
        gone = [each for kept in self._kept.values() for each in kept.values() if each.expires_at <= now]
        for each in gone:
            self._drop(each)

    def _least(self, kept: dict[PeerId, _Kept]) -> _Kept:
        via = Counter(each.via for each in kept.values())
        return max(kept.values(), key=lambda each: (via[each.via], self._chance(each.record.peer_id)))

    def _make_room(self) -> None:
        """The oldest of whoever has brought most goes."""
        ((most, _),) = self._n_via.most_common(1)
        self._drop(next(each for kept in self._kept.values() for each in kept.values() if each.via == most))

    def _chance(self, peer: PeerId) -> bytes:
        return hashlib.sha256(self._salt + peer).digest()

    def _drop(self, each: _Kept) -> None:
        kept = self._kept[each.record.key]
        del kept[each.record.peer_id]
        if not kept:
            del self._kept[each.record.key]
        self._count(each, -1)

    def _count(self, each: _Kept, step: int) -> None:
        self._n += step
        for counter, peer in ((self._n_via, each.via), (self._n_of, each.record.peer_id)):
            counter[peer] += step
            if not counter[peer]:
                del counter[peer]
