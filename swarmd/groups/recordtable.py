"""Verified records in little memory: their bytes, and indexes; a `Record` is made anew whenever one is asked for.

What all records of one publisher have in common (certificate, authorisation) lies in a `Head`, held once. The rest of
each record is one bytes object in a slot, and what is looked for (digest, key, name, content, publisher) leads to slots
by an `Index`. Nothing is read from a disk: a look-up is microseconds on whatever loop runs the group, and a thousand
simulated members need no files. Memory: about 330 bytes a record with names of 20 letters, so 100,000 shares and
50,000 tombstones fit 50 MiB; as objects they would take 150 (`python -m tests.bench.catalogue`).

Invariant: one record for each key (publisher and name). Each slot in use is in the indexes of digests and keys; one
with a share also in those of names, contents and sharers, one with a tombstone in that of tombstones.

Not here: which record may be in it (`groups.catalogue`), and writing any of it down.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from math import inf

from swarmd.core.errors import RemoteError
from swarmd.core.ids import ID_BYTES, ContentId, GroupId, PeerId
from swarmd.groups.authorisation import Authorisation
from swarmd.groups.index import Index
from swarmd.groups.records import Entry, Record, decode_record, digest_of, read_entry
from swarmd.identity.certificate import CERTIFICATE_BYTES, SIGNATURE_BYTES, Certificate

_PREFIX_BYTES = 1 + ID_BYTES + CERTIFICATE_BYTES


class Head:
    """The beginning of all records of one publisher, and the authorisation in them. `decode_record` takes the
    certificate from here, where it has been verified."""

    __slots__ = ("authorisation", "certificate", "n_records", "prefix", "tail")

    def __init__(self, record: Record, tail: bytes) -> None:
        self.certificate: Certificate = record.certificate
        self.authorisation: Authorisation | None = record.authorisation
        self.prefix = record.encoded[:_PREFIX_BYTES]
        self.tail = tail
        """The authorisation as it stands in a record, before the signature."""
        self.n_records = 0

    def decode(self, data: bytes) -> Certificate:
        return self.certificate

    def strip(self, record: Record) -> bytes:
        """What of the record is not here."""
        encoded = record.encoded
        return encoded[_PREFIX_BYTES : -SIGNATURE_BYTES - len(self.tail)] + encoded[-SIGNATURE_BYTES:]

    def restore(self, body: bytes) -> bytes:
        return b"".join((self.prefix, body[:-SIGNATURE_BYTES], self.tail, body[-SIGNATURE_BYTES:]))


Held = tuple[Head, bytes]
"""A record as it lies here; never changed, so it may be taken to another thread (`decode_held`, `entry_of`)."""


class RecordTable:
    """Records of one group."""

    def __init__(self, group_id: GroupId) -> None:
        self.n_shares: Counter[PeerId] = Counter()
        """Of each publisher who shares anything."""
        self.n_tombstones: Counter[PeerId] = Counter()
        self.n_all_shares = 0
        self._heads: dict[bytes, Head] = {}
        self._head_of: list[Head | None] = []  # each slot's; beside it its body, for pairs would take 56 bytes each
        self._bodies: list[bytes] = []
        self._until = array("d")
        """Wall time, in seconds, at which a tombstone may go."""
        self._free: list[int] = []
        self._digests, self._keys = Index(), Index()
        self._names, self._contents, self._sharers, self._tombstones = Index(), Index(), Index(), Index()

    def __len__(self) -> int:
        return len(self._bodies) - len(self._free)

    def __contains__(self, digest: bytes) -> bool:
        return self.encoded(digest) is not None

    def encoded(self, digest: bytes) -> bytes | None:
        """The record with this digest, as it is sent. 3 us."""
        for slot in self._digests.find(digest):
            encoded = self._encoded(slot)
            if digest_of(encoded) == digest:
                return encoded
        return None

    def get(self, digest: bytes) -> Record | None:
        slot = self._slot(digest)
        return None if slot is None else self._record(slot)

    def find(self, publisher: PeerId, name: str) -> Record | None:
        """The one with this key."""
        slot = self._slot_under(publisher, name)
        return None if slot is None else self._record(slot)

    def encoded_under(self, publisher: PeerId, name: str) -> bytes | None:
        """The same as it is sent. 5 us."""
        slot = self._slot_under(publisher, name)
        return None if slot is None else self._encoded(slot)

    def named(self, name: str, limit: int) -> list[Record]:
        """Shares of that name, at most `limit`."""
        return [record for record in self._first(self._names, name.encode(), limit) if record.share.name == name]

    def with_content(self, content_id: ContentId, limit: int) -> list[Record]:
        """Shares of that object, at most `limit`."""
        found = self._first(self._contents, content_id, limit)
        return [record for record in found if record.share.content_id == content_id]

    def shares_of(self, publisher: PeerId) -> list[Record]:
        """All that one member shares."""
        return list(map(decode_held, self.held_of(publisher)))

    def held_of(self, publisher: PeerId) -> list[Held]:
        return [self._held(slot) for slot in self._slots_of(self._sharers, publisher)]

    def latest_share_of(self, publisher: PeerId) -> Record:
        """One that it shares, of which there must be one: the last that came, as far as slots tell."""
        slots = self._sharers.backwards(publisher)
        return self._record(next(slot for slot in slots if self._held(slot)[0].certificate.peer_id == publisher))

    def shares(self) -> Iterator[Record]:
        """All of them, in no order."""
        return map(self._record, self._names.slots())

    def held(self, digests: Iterable[bytes]) -> list[Held]:
        """These, which must be here, for `decode_held` and `entry_of`. 2 us each."""
        return [self._held(self._slot_of_held(digest)) for digest in digests]

    def until(self, record: Record) -> float:
        """When this tombstone may go."""
        slot = self._slot(record.digest)
        assert slot is not None
        return self._until[slot]

    def oldest_tombstones(self, publisher: PeerId, count: int) -> list[Record]:
        """Those that may go first."""
        slots = self._slots_of(self._tombstones, publisher)
        return [self._record(slot) for slot in sorted(slots, key=self._until.__getitem__)[:count]]

    def expired(self, wall: float, limit: int) -> list[Record]:
        """Tombstones that have had their time, and whatever was signed with an authorisation that has; so many."""
        over = [slot for slot in self._tombstones.slots() if self._until[slot] <= wall]
        ended = {id(head) for head in self._heads.values() if _has_ended(head, wall)}
        if ended:
            over += [slot for slot, head in enumerate(self._head_of) if id(head) in ended]
        return [self._record(slot) for slot in islice(dict.fromkeys(over), limit)]

    def add(self, record: Record, until: float = inf) -> None:
        """Put one in, of whose key none is there. 10 us."""
        head = self._head(record)
        head.n_records += 1
        slot = self._take_slot(head, head.strip(record), until)
        for index, key in self._places(record):
            index.add(key, slot)
        self._count(record)[record.publisher] += 1
        self.n_all_shares += not record.is_tombstone

    def remove(self, record: Record) -> None:
        """Take one out that is there."""
        slot = self._slot(record.digest)
        assert slot is not None
        head, _ = self._held(slot)
        for index, key in self._places(record):
            index.discard(key, slot)
        counts = self._count(record)
        counts[record.publisher] -= 1
        self.n_all_shares -= not record.is_tombstone
        if not counts[record.publisher]:
            del counts[record.publisher]
        self._head_of[slot], self._bodies[slot] = None, b""
        self._free.append(slot)
        head.n_records -= 1
        if not head.n_records:
            del self._heads[head.prefix + head.tail]

    def _places(self, record: Record) -> list[tuple[Index, bytes]]:
        share, publisher = record.share, record.publisher
        places: list[tuple[Index, bytes]] = [
            (self._digests, record.digest),
            (self._keys, _key(publisher, share.name)),
        ]
        if record.is_tombstone:
            return [*places, (self._tombstones, publisher)]
        return [
            *places,
            (self._names, share.name.encode()),
            (self._contents, share.content_id),
            (self._sharers, publisher),
        ]

    def _count(self, record: Record) -> Counter[PeerId]:
        return self.n_tombstones if record.is_tombstone else self.n_shares

    def _head(self, record: Record) -> Head:
        blob = record.authorisation.encode() if record.authorisation is not None else b""
        tail = bytes([len(blob)]) + blob
        key = record.encoded[:_PREFIX_BYTES] + tail
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = Head(record, tail)
        return head

    def _take_slot(self, head: Head, body: bytes, until: float) -> int:
        if self._free:
            slot = self._free.pop()
            self._head_of[slot], self._bodies[slot], self._until[slot] = head, body, until
            return slot
        self._head_of.append(head)
        self._bodies.append(body)
        self._until.append(until)
        return len(self._bodies) - 1

    def _slot(self, digest: bytes) -> int | None:
        for slot in self._digests.find(digest):
            if digest_of(self._encoded(slot)) == digest:
                return slot
        return None

    def _slot_under(self, publisher: PeerId, name: str) -> int | None:
        for slot in self._keys.find(_key(publisher, name)):
            held = self._held(slot)
            if held[0].certificate.peer_id == publisher and entry_of(held).name == name:
                return slot
        return None

    def _slot_of_held(self, digest: bytes) -> int:
        """Of one that is here: where only one slot may have it, its bytes need not be looked at."""
        slots = self._digests.find(digest)
        slot = slots[0] if len(slots) == 1 else self._slot(digest)
        assert slot is not None
        return slot

    def _slots_of(self, index: Index, publisher: PeerId) -> list[int]:
        slots = index.find(publisher)
        return [slot for slot in slots if self._held(slot)[0].certificate.peer_id == publisher]

    def _first(self, index: Index, key: bytes, limit: int) -> list[Record]:
        return [self._record(slot) for slot in index.find(key)[:limit]]

    def _held(self, slot: int) -> Held:
        head = self._head_of[slot]
        assert head is not None
        return head, self._bodies[slot]

    def _encoded(self, slot: int) -> bytes:
        head, body = self._held(slot)
        return head.restore(body)

    def _record(self, slot: int) -> Record:
        return decode_held(self._held(slot))


def decode_held(held: Held) -> Record:
    """The record that lies there so."""
    head, body = held
    try:
        return decode_record(head.restore(body), head)
    except RemoteError as error:  # it was decoded before it was put there
        raise AssertionError(f"a record that is held cannot be read: {error}") from error


def entry_of(held: Held) -> Entry:
    """What a list shows of the record that lies there so."""
    return read_entry(held[1], 0)


def _key(publisher: PeerId, name: str) -> bytes:
    return publisher + name.encode()


def _has_ended(head: Head, wall: float) -> bool:
    return head.authorisation is not None and not head.authorisation.is_valid_at(wall)
