"""A group's catalogue as one member holds it: the newest record of each (publisher, name), verified.

In: records, from our own publishing, from peers, from the store after a restart; wall time. Out: for each
what became of it, and what it displaced.

Invariant: every record held is of this group, signed by its publisher, authorised where the group asks for
it, and has the highest seq seen for its key; a record once displaced does not come back. Whether a record is
accepted depends on nothing but the record, the group, the clock and the bounds below, never on who brought it.

Tombstones keep a removed share from coming back with a member that was away. They go after
`TOMBSTONE_PERIOD`; a member that was away for longer brings the share back, until its publisher removes it
again. Records whose authorisation has expired go as well, tombstones included.

A crash loses what the driver had not stored yet. If that was a record of our own which others have, it comes back
from them as OwnRecordReturned, and is replaced by what is true (`Group.correct`).
Not here: which records are exchanged with whom (`groups.exchange`), and the objects themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from swarmd.core.errors import NotAllowed, NotFound, RemoteError
from swarmd.core.ids import PeerId
from swarmd.groups.authorisation import FORGERY_PENALTY, Authorisation, Right
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.records import CertificateCache, Record, RecordKind, Share, decode_record
from swarmd.identity.identity import Identity

MAX_SHARES = 10_000
"""Of a group: about 10 MB in memory; more needs a catalogue that is not held whole by everybody."""
MAX_SHARES_PER_PUBLISHER = 2_000
"""So that no single member can fill the catalogue of the others."""
MAX_TOMBSTONES = 10_000
MAX_TOMBSTONES_PER_PUBLISHER = 2_000
"""Beyond these the oldest go early, from the publisher that has most, and their shares may come back."""
MAX_RECORDS = MAX_SHARES + MAX_TOMBSTONES
TOMBSTONE_PERIOD = 30 * 86_400
"""Seconds of wall time since it was signed (or first seen, should that be earlier)."""
MAX_VERIFIED_AUTHORISATIONS = 4_096
"""One for each member; each saves 0.1 ms for every further record of that publisher."""


class Outcome(Enum):
    ADDED = auto()
    KNOWN = auto()
    """Held already."""
    STALE = auto()
    """A newer record with the same key is held."""
    REFUSED = auto()
    """Nobody's fault: a bound is reached, or its time is over by our clock."""


@dataclass(frozen=True, slots=True)
class Change:
    """What `put` did. `previous`: the record held before with the same key. `evicted`: gone to keep a bound."""

    outcome: Outcome
    previous: Record | None = None
    evicted: tuple[Record, ...] = ()


class Catalogue:
    """The records of one group."""

    def __init__(self, spec: GroupSpec) -> None:
        self._spec = spec
        self._certificates = CertificateCache()
        self._by_key: dict[tuple[PeerId, str], Record] = {}
        self._by_digest: dict[bytes, Record] = {}
        self._n_shares: Counter[PeerId] = Counter()
        self._n_tombstones: Counter[PeerId] = Counter()
        self._seen_at: dict[tuple[PeerId, str], float] = {}
        self._authorised: dict[Authorisation, None] = {}

    def __len__(self) -> int:
        return len(self._by_digest)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._by_digest

    def get(self, digest: bytes) -> Record | None:
        """The record with this digest."""
        return self._by_digest.get(digest)

    def find(self, publisher: PeerId, name: str) -> Record | None:
        """The newest record with this key, which may be a tombstone."""
        return self._by_key.get((publisher, name))

    def digests(self) -> Iterable[bytes]:
        return self._by_digest.keys()

    def shares(self) -> list[Record]:
        """Everything that is shared now, oldest first."""
        held = (record for record in self._by_key.values() if not record.is_tombstone)
        return sorted(held, key=lambda record: (record.created_at, record.digest))

    def decode(self, data: bytes) -> Record:
        """A record that may be given to `put`; RemoteError when it is none."""
        return decode_record(data, self._certificates)

    def put(self, record: Record, wall: float) -> Change:
        """Take in what a peer sent; RemoteError when it is false, which an honest peer would have noticed."""
        self._check_allowed(record)
        held = self._by_key.get(record.key)
        if held is not None and not record.supersedes(held):
            return Change(Outcome.KNOWN if held.digest == record.digest else Outcome.STALE, held)
        if self._must_refuse(record, held, wall):
            return Change(Outcome.REFUSED, held)
        record.verify()
        return self._take(record, wall)

    def restore(self, record: Record, wall: float) -> Change:
        """Take in what this node had verified and stored before."""
        held = self._by_key.get(record.key)
        if held is not None and not record.supersedes(held):
            return Change(Outcome.STALE, held)
        if record.group_id != self._spec.group_id or self._is_over(record, wall):
            return Change(Outcome.REFUSED, held)
        return self._take(record, wall)

    def sign_share(self, identity: Identity, share: Share, authorisation: Authorisation | None, wall: float) -> Record:
        """A record of our own, in the place of one with the same name; it holds when it is given to `adopt`.

        NotAllowed when the group does not allow it or this node shares too much already.
        """
        self._check_may_publish(identity.peer_id, authorisation, wall)
        held = self._by_key.get((identity.peer_id, share.name))
        if held is None or held.is_tombstone:
            self._check_room(identity.peer_id)
        return self._sign(identity, RecordKind.SHARE, share, authorisation, wall)

    def may_publish(self, publisher: PeerId, authorisation: Authorisation | None, wall: float) -> bool:
        """Whether `publish` would be allowed, its bounds aside."""
        try:
            self._check_may_publish(publisher, authorisation, wall)
        except NotAllowed:
            return False
        return True

    def sign_tombstone(self, identity: Identity, name: str, authorisation: Authorisation | None, wall: float) -> Record:
        """What replaces our share of that name when it is given to `adopt`. NotFound when there is none."""
        held = self._by_key.get((identity.peer_id, name))
        if held is None or held.is_tombstone:
            raise NotFound(f"this node shares nothing named {name!r} in this group")
        return self._sign(identity, RecordKind.TOMBSTONE, held.share, authorisation or held.authorisation, wall)

    def adopt(self, record: Record, wall: float) -> Change:
        """Take in a record that this node has signed; STALE when one as new has come for its key meanwhile."""
        held = self._by_key.get(record.key)
        if held is not None and not record.supersedes(held):
            return Change(Outcome.STALE, held)
        return self._take(record, wall)

    def expire(self, wall: float) -> list[Record]:
        """Drop what has had its time; returns what was dropped."""
        over = [record for record in self._by_key.values() if self._is_over(record, wall)]
        for record in over:
            self._drop(record)
        return over

    def _sign(
        self,
        identity: Identity,
        kind: RecordKind,
        share: Share,
        authorisation: Authorisation | None,
        wall: float,
    ) -> Record:
        unsigned = Record(
            group_id=self._spec.group_id,
            certificate=identity.certificate,
            seq=self._next_seq(identity.peer_id, share.name, wall),
            kind=kind,
            share=share,
            created_at=max(0, int(wall * 1000)),
            authorisation=authorisation if Right.PUBLISH in self._spec.restricted else None,
            signature=b"",
        )
        return unsigned.signed_by(identity)

    def _next_seq(self, publisher: PeerId, name: str, wall: float) -> int:
        """Higher than any before, even if this node lost its memory and not its clock, or the other way round."""
        held = self._by_key.get((publisher, name))
        return max(0, int(wall * 1000), held.seq + 1 if held else 0)

    def _check_allowed(self, record: Record) -> None:
        """RemoteError for what no honest member would have kept, let alone passed on."""
        if record.group_id != self._spec.group_id:
            raise RemoteError("a share record is of another group", penalty=FORGERY_PENALTY)
        if Capability.REPLICATION not in self._spec.capabilities:
            raise RemoteError("a share record in a group without replication", penalty=FORGERY_PENALTY)
        if Right.PUBLISH in self._spec.restricted:
            self._check_authorisation(record.publisher, record.authorisation)
        elif record.authorisation is not None:
            raise RemoteError("a share record has an authorisation that the group does not ask for")

    def _check_authorisation(self, publisher: PeerId, authorisation: Authorisation | None) -> None:
        """RemoteError unless the authority signed it for this publisher; when it expires is not looked at."""
        if authorisation is None:
            raise RemoteError("a share record lacks the authorisation to publish", penalty=FORGERY_PENALTY)
        if authorisation.peer_id != publisher or Right.PUBLISH not in authorisation.rights:
            raise RemoteError("a share record has the authorisation of another", penalty=FORGERY_PENALTY)
        if authorisation in self._authorised:
            return
        authorisation.verify(self._spec.authority, self._spec.group_id)
        if len(self._authorised) >= MAX_VERIFIED_AUTHORISATIONS:
            del self._authorised[next(iter(self._authorised))]
        self._authorised[authorisation] = None

    def _check_may_publish(self, publisher: PeerId, authorisation: Authorisation | None, wall: float) -> None:
        if Capability.REPLICATION not in self._spec.capabilities:
            raise NotAllowed("this group was made without replication: nothing can be shared in it")
        if Right.PUBLISH not in self._spec.restricted:
            return
        if authorisation is None:
            raise NotAllowed(
                "only authorised members share here: ask whoever made the group for a ticket that authorises this node"
            )
        try:
            self._check_authorisation(publisher, authorisation)
        except RemoteError as error:
            raise NotAllowed(f"this node's authorisation does not hold: {error}; ask for a new one") from None
        if not authorisation.is_valid_at(wall):
            raise NotAllowed("this node's authorisation to share in this group has expired: ask for a new one")

    def _check_room(self, publisher: PeerId) -> None:
        if self._n_shares[publisher] >= MAX_SHARES_PER_PUBLISHER:
            raise NotAllowed(
                f"this node shares {MAX_SHARES_PER_PUBLISHER} things in this group, which is the limit: "
                "unshare some, or share a folder of them"
            )
        if self._n_shares.total() >= MAX_SHARES:
            raise NotAllowed(f"this group shares {MAX_SHARES} things, which is the limit: share it in another group")

    def _must_refuse(self, record: Record, held: Record | None, wall: float) -> bool:
        if record.is_tombstone and held is not None and not held.is_tombstone:
            return not _is_authorised_at(record, wall)  # even an old one removes a share that came back
        return self._is_over(record, wall) or not self._has_room(record, held)

    def _has_room(self, record: Record, held: Record | None) -> bool:
        if record.is_tombstone or (held is not None and not held.is_tombstone):
            return True
        own, all_shares = self._n_shares[record.publisher], self._n_shares.total()
        return own < MAX_SHARES_PER_PUBLISHER and all_shares < MAX_SHARES

    def _is_over(self, record: Record, wall: float) -> bool:
        if not _is_authorised_at(record, wall):
            return True
        if not record.is_tombstone:
            return False
        signed_at = record.created_at / 1000
        return wall >= min(signed_at, self._seen_at.get(record.key, wall)) + TOMBSTONE_PERIOD

    def _take(self, record: Record, wall: float) -> Change:
        previous = self._by_key.get(record.key)
        if previous is not None:
            self._drop(previous)
        self._by_key[record.key] = record
        self._by_digest[record.digest] = record
        if not record.is_tombstone:
            self._n_shares[record.publisher] += 1
            return Change(Outcome.ADDED, previous)
        self._n_tombstones[record.publisher] += 1
        self._seen_at[record.key] = wall
        return Change(Outcome.ADDED, previous, tuple(self._evict(record.publisher)))

    def _evict(self, publisher: PeerId) -> Iterable[Record]:
        """Drop the oldest tombstones that are too many."""
        if self._n_tombstones[publisher] > MAX_TOMBSTONES_PER_PUBLISHER:
            yield self._drop_oldest_tombstone(publisher)
        if self._n_tombstones.total() > MAX_TOMBSTONES:
            ((most, _),) = self._n_tombstones.most_common(1)
            yield self._drop_oldest_tombstone(most)

    def _drop_oldest_tombstone(self, publisher: PeerId) -> Record:
        tombstones = (r for r in self._by_key.values() if r.is_tombstone and r.publisher == publisher)
        oldest = min(tombstones, key=lambda record: record.seq)
        self._drop(oldest)
        return oldest

    def _drop(self, record: Record) -> None:
        del self._by_key[record.key]
        del self._by_digest[record.digest]
        self._seen_at.pop(record.key, None)
        counts = self._n_tombstones if record.is_tombstone else self._n_shares
        counts[record.publisher] -= 1
        if not counts[record.publisher]:
            del counts[record.publisher]


def _is_authorised_at(record: Record, wall: float) -> bool:
    return record.authorisation is None or record.authorisation.is_valid_at(wall)
