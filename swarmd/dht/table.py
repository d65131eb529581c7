"""The routing table of one address family: k-buckets by the length of the prefix shared with our own ID.

In: contacts that answered, and failures to answer. Out: the closest ones to a target; whom to ask whether it still
lives; which buckets to refresh.

Invariant: a contact is in its bucket, in the bucket's replacement cache, or nowhere; only one that has answered a query
of ours from its address gets into either, and a good one is never replaced (so a flood of new nodes cannot push out
old ones), except by one of another region (a /24, a /64, a private host) where its own has more than MAX_PER_REGION
places in the table. An address has one place: who answers there under another ID waits until the first is gone; a node
that has an ID for each question gets no further. With `is_bound`, an ID must fit its address (BEP 42).

With `is_public`, a public host has one place in all, and its region MAX_PER_REGION in a bucket even where there is
room: on a private network several nodes behind one address are common, on the public one they are not needed.

Who asks us is no better known by it (BEP 5 would call it good again): questions can come from anywhere, so only answers
count, for some pings more.

A bucket holds K, and the cache as many. A restart needs `contacts()` only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from swarmd.core.addresses import Address
from swarmd.dht.contact import ID_BITS, ID_BYTES, Contact, is_bound, region_of

K = 8
GOOD_PERIOD = 900.0
"""BEP 5: who has not been heard for 15 minutes is questionable."""
MAX_FAILURES = 2
"""Questions in a row without an answer, after which a node is replaced by any other."""
MAX_DROPPED_FAILURES = 5
"""And dropped though there is none to replace it."""
MAX_PER_REGION = 2


@dataclass(slots=True)
class Entry:
    contact: Contact
    heard_at: float
    failures: int = 0
    asked_at: float = -1e9
    region: str = field(init=False)

    def __post_init__(self) -> None:
        self.region = region_of(self.contact.address.host)

    def is_questionable(self, now: float) -> bool:
        return self.failures > 0 or now - self.heard_at >= GOOD_PERIOD


@dataclass(slots=True)
class Bucket:
    entries: list[Entry] = field(default_factory=list)
    spare: list[Entry] = field(default_factory=list)
    """Most recently heard last."""
    used_at: float = 0.0


class Table:
    def __init__(self, own_id: bytes, *, is_bound: bool = False, is_public: bool = False) -> None:
        self.own_id = own_id
        self._own = int.from_bytes(own_id, "big")
        self._is_bound = is_bound
        self._is_public = is_public
        self._buckets: dict[int, Bucket] = {}
        self._entries: dict[bytes, Entry] = {}
        self._hosts: dict[str, bytes] = {}
        self._addresses: dict[Address, Entry] = {}
        self._regions: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, contact: Contact) -> bool:
        entry = self._entries.get(contact.node_id)
        return entry is not None and entry.contact.address == contact.address

    def contacts(self) -> list[Contact]:
        """Those in buckets, the longest known first."""
        return [entry.contact for entry in self._entries.values()]

    def has_room(self, contact: Contact) -> bool:
        """Whether it would be worth to find out whether it answers."""
        if contact.node_id in self._entries or contact.node_id == self.own_id:
            return False
        bucket = self._buckets.get(self._place(contact.number))
        if bucket is None or len(bucket.entries) < K or any(entry.failures for entry in bucket.entries):
            return True
        return bool(self._surplus(bucket)) and not self._is_crowded(bucket, contact.address)

    def answered(self, contact: Contact, now: float) -> None:
        """It answered a query of ours from its address."""
        entry = self._entries.get(contact.node_id)
        if entry is not None:
            if entry.contact.address == contact.address:
                entry.heard_at, entry.failures = now, 0
            return
        if contact.node_id == self.own_id or (self._is_bound and not is_bound(contact.node_id, contact.address.host)):
            return
        bucket = self._buckets.setdefault(self._place(contact.number), Bucket(used_at=now))
        if not self._has_left(contact.address):
            return
        is_crowded = self._is_crowded(bucket, contact.address)
        if is_crowded and self._is_public and not contact.address.is_private:
            return
        entry = Entry(contact, now)
        bucket.spare = [spare for spare in bucket.spare if spare.contact.node_id != contact.node_id][-(K - 1) :]
        if len(bucket.entries) < K:
            self._put(bucket, entry)
        elif not self._replace(bucket, entry, is_crowded):
            bucket.spare.append(entry)

    def failed(self, contact: Contact) -> None:
        """It did not answer."""
        entry = self._entries.get(contact.node_id)
        if entry is None or entry.contact.address != contact.address:
            return
        entry.failures += 1
        bucket = self._buckets[self._place(contact.number)]
        if bucket.spare and entry.failures >= MAX_FAILURES:
            self._remove(bucket, entry)
            self._promote(bucket)
        elif entry.failures >= MAX_DROPPED_FAILURES:
            self._remove(bucket, entry)

    def closest(self, target: bytes, count: int = K) -> list[Contact]:
        """Up to `count`, closest first; those that have failed to answer are left out."""
        number = int.from_bytes(target, "big")
        found: list[Contact] = []
        for group in self._by_distance(self._place(number)):
            alive = [entry.contact for entry in group if entry.failures < MAX_FAILURES]
            alive.sort(key=lambda contact: contact.number ^ number)
            found += alive
            if len(found) >= count:
                break
        return found[:count]

    def questionable(self, now: float, again: float) -> list[Contact]:
        """One of each bucket, to be pinged; none twice within `again` seconds."""
        found = []
        for bucket in self._buckets.values():
            doubtful = [
                entry for entry in bucket.entries if entry.is_questionable(now) and now - entry.asked_at >= again
            ]
            if doubtful:
                oldest = min(doubtful, key=lambda entry: entry.heard_at)
                oldest.asked_at = now
                found.append(oldest.contact)
        return found

    def used(self, target: bytes, now: float) -> None:
        """A lookup of `target` refreshes its bucket."""
        bucket = self._buckets.get(self._place(int.from_bytes(target, "big")))
        if bucket is not None:
            bucket.used_at = now

    def stale(self, now: float) -> int | None:
        """The bucket that has waited longest for a refresh, if one has to be."""
        due = [
            (bucket.used_at, place) for place, bucket in self._buckets.items() if now - bucket.used_at >= GOOD_PERIOD
        ]
        return min(due)[1] if due else None

    def target_in(self, place: int, filling: bytes) -> bytes:
        """An ID that belongs into the bucket, otherwise as in `filling`."""
        place = min(place, ID_BITS - 1)
        keep = ID_BITS - place
        flipped = self._own ^ (1 << (keep - 1))
        low = int.from_bytes(filling, "big") & ((1 << (keep - 1)) - 1)
        return (flipped >> (keep - 1) << (keep - 1) | low).to_bytes(ID_BYTES, "big")

    def deepest(self) -> int:
        """The longest prefix shared with somebody."""
        return max((place for place, bucket in self._buckets.items() if bucket.entries), default=0)

    def radius(self) -> int:
        """How far from us the K-th nearest is: the distance from any ID in which K nodes are to be expected. 0 when
        there are fewer."""
        near = self.closest(self.own_id, K)
        return near[-1].number ^ self._own if len(near) == K else 0

    def moved(self, own_id: bytes, now: float) -> Table:
        """The same contacts, seen from another ID."""
        table = Table(own_id, is_bound=self._is_bound, is_public=self._is_public)
        for entry in self._entries.values():
            table.answered(entry.contact, entry.heard_at)
        return table

    def _place(self, number: int) -> int:
        return ID_BITS - (number ^ self._own).bit_length()

    def _by_distance(self, place: int) -> Iterator[list[Entry]]:
        """Groups of entries, each group nearer than the next to a target that shares `place` bits with us."""
        buckets = self._buckets
        if place in buckets:
            yield buckets[place].entries
        yield [entry for other, bucket in buckets.items() if other > place for entry in bucket.entries]
        for other in sorted((other for other in buckets if other < place), reverse=True):
            yield buckets[other].entries

    def _is_crowded(self, bucket: Bucket, address: Address) -> bool:
        if self._is_public and address.host in self._hosts:
            return True
        region = region_of(address.host)
        if not self._is_public:
            return self._regions[region] >= MAX_PER_REGION
        return sum(entry.region == region for entry in bucket.entries) >= MAX_PER_REGION

    def _has_left(self, address: Address) -> bool:
        """Whether nobody is at the address any more, under another ID, as far as we know."""
        old = self._addresses.get(address)
        if old is None:
            return True
        if old.failures < MAX_FAILURES:
            return False
        bucket = self._buckets[self._place(old.contact.number)]
        self._remove(bucket, old)
        self._promote(bucket)
        return True

    def _surplus(self, bucket: Bucket) -> Entry | None:
        """The youngest of a region that has more than its places."""
        return next((entry for entry in reversed(bucket.entries) if self._regions[entry.region] > MAX_PER_REGION), None)

    def _replace(self, bucket: Bucket, entry: Entry, is_crowded: bool) -> bool:
        bad = next((old for old in bucket.entries if old.failures >= MAX_FAILURES), None)
        if bad is None and not is_crowded:
            bad = self._surplus(bucket)
        if bad is None:
            return False
        self._remove(bucket, bad)
        self._put(bucket, entry)
        return True

    def _promote(self, bucket: Bucket) -> None:
        while bucket.spare:
            spare = bucket.spare.pop()
            address = spare.contact.address
            if address in self._addresses:
                continue
            if not self._is_public or address.is_private or not self._is_crowded(bucket, address):
                self._put(bucket, spare)
                return

    def _put(self, bucket: Bucket, entry: Entry) -> None:
        bucket.entries.append(entry)
        self._entries[entry.contact.node_id] = entry
        self._addresses[entry.contact.address] = entry
        self._regions[entry.region] += 1
        self._hosts[entry.contact.address.host] = entry.contact.node_id

    def _remove(self, bucket: Bucket, entry: Entry) -> None:
        bucket.entries.remove(entry)
        del self._entries[entry.contact.node_id]
        del self._addresses[entry.contact.address]
        self._regions[entry.region] -= 1
        if not self._regions[entry.region]:
            del self._regions[entry.region]
        if self._hosts.get(entry.contact.address.host) == entry.contact.node_id:
            del self._hosts[entry.contact.address.host]
