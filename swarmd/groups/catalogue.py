"""A group's catalogue as one member holds it: the newest record of each (publisher, name), verified.

In: records, from our own publishing, from peers, from the store after a restart; wall time. Out: for each
what became of it, and what it displaced.

Invariant: every record held is of this group, signed by its publisher, authorised where the group asks for
it, and has the highest seq seen for its key; a record once displaced does not come back. Whether a record is
accepted depends on nothing but the record, the group, the clock and the bounds below, never on who brought it.

Bounds: `MAX_SHARES` in a group, `MAX_SHARES_PER_PUBLISHER` of one member; what is beyond is refused and counted
(`refused`, `refusals`). A full catalogue still takes the share of a member that has fewer than another: the one that
has most loses its latest for it. So one who floods ends with no more than anybody else; a thousand invented members are
kept out by a group that authorises publishers, and by nothing else. Two members of a full group may have kept different
shares. What has given way leaves its number behind, `MAX_LEFT` of them: no older record of the same name takes its
place, nor after a restart (`restore_numbers`).

Tombstones keep a removed share from coming back with a member that was away. They go after `TOMBSTONE_PERIOD`, and a
member that has heard of nobody for `AWAY_LIMIT`, which is less, trusts nothing of others' (`forget_others`). So what
was removed comes back in two cases only: its publisher removes more than `MAX_TOMBSTONES_PER_PUBLISHER` names within
the period, or two parts of a group were apart for longer; then until the publisher hears of it. Records whose
authorisation has expired go as well, tombstones included.

A crash loses what the driver had not stored yet. If that was a record of our own which others have, it comes back
from them as OwnRecordReturned, and is replaced by what is true (`Group.correct`).
Not here: how records lie in memory (`groups.recordtable`), which are exchanged with whom (`groups.exchange`), and the
objects themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from swarmd.core.errors import NotAllowed, NotFound, RemoteError
from swarmd.core.ids import ContentId, PeerId
from swarmd.groups.authorisation import FORGERY_PENALTY, Authorisation, Right
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.reconciliation import DigestSet
from swarmd.groups.records import CertificateCache, Record, RecordKind, Share, decode_record, digest_of
from swarmd.groups.recordtable import Held, RecordTable
from swarmd.identity.identity import Identity

MAX_SHARES = 100_000
"""Of a group: 35 MB in memory, a minute to fetch for a newcomer at 4 Mbit/s and 15 s of its CPU to verify."""
MAX_SHARES_PER_PUBLISHER = 20_000
"""So that no single member can fill the catalogue of the others."""
MAX_TOMBSTONES = 50_000
MAX_TOMBSTONES_PER_PUBLISHER = 10_000
"""Beyond these the oldest go early, from the publisher that has most, and their shares may come back."""
EVICTED_PART = 16
"""That part of a publisher's tombstones goes at once, since finding the oldest means to look at all of them."""
MAX_RECORDS = MAX_SHARES + MAX_TOMBSTONES
MAX_FOUND = 1_000
"""Shares of one name, or of one content: more members than anybody looks through."""
MAX_REFUSED_PUBLISHERS = 256
"""Whose refused records are counted: to be shown."""
MAX_LEFT = 16_384
"""Numbers of records that have given way, the latest: 2.5 MB. To bring an older one back somebody would first have to
publish so many shares into a full group."""
EXPIRED_AT_ONCE = 256
"""Records: 10 ms. An authorisation that ends may take 20,000 with it."""
AWAY_LIMIT = 30 * 86_400
"""Seconds of wall time without a word from any member, after which what is held of others is not trusted."""
TOMBSTONE_PERIOD = AWAY_LIMIT + 2 * 86_400
"""Seconds of wall time since it was signed (or first seen, should that be earlier): longer than members may be away, by
what clocks differ and removals take to reach everybody."""
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


class Refusal(Enum):
    """Why a record is not in the catalogue. The values are names of the control protocol and of metrics."""

    QUOTA = "quota"
    """Its publisher shares as much as one member may."""
    FULL = "full"
    """The group shares as much as a group may, and nobody has more than this publisher."""
    EXPIRED = "expired"
    """The publisher's authorisation, or the tombstone's time."""
    ROLLED_BACK = "rolled_back"
    """A newer one has given way to a bound before."""
    FALSE = "false"
    """It is none, or its signature or authorisation does not hold: a fault of who sent it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What `put` did. `previous`: the record held before with the same key. `evicted`: gone to keep a bound."""

    outcome: Outcome
    previous: Record | None = None
    evicted: tuple[Record, ...] = ()


class Catalogue:
    """The records of one group."""

    def __init__(self, spec: GroupSpec, own_id: PeerId | None = None) -> None:
        """`own_id`: whose shares never give way to others."""
        self._spec = spec
        self._own_id = own_id
        self._certificates = CertificateCache()
        self._authorised: dict[Authorisation, None] = {}
        self._table = RecordTable(spec.group_id)
        self.digests = DigestSet()
        """Of all records: what catalogues are compared by."""
        self.refused: Counter[PeerId] = Counter()
        """How many records of each publisher were beyond a bound."""
        self.refusals: Counter[Refusal] = Counter()
        self._left: dict[bytes, int] = {}
        """The seq of what gave way, by the digest of its key."""

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._table

    @property
    def n_shares(self) -> int:
        return self._table.n_all_shares

    def get(self, digest: bytes) -> Record | None:
        """The record with this digest."""
        return self._table.get(digest)

    def encoded(self, digest: bytes) -> bytes | None:
        """The same as bytes, which is cheaper."""
        return self._table.encoded(digest)

    def find(self, publisher: PeerId, name: str) -> Record | None:
        """The newest record with this key, which may be a tombstone."""
        return self._table.find(publisher, name)

    def encoded_under(self, publisher: PeerId, name: str) -> bytes | None:
        """The same as bytes, which is cheaper."""
        return self._table.encoded_under(publisher, name)

    def shares(self) -> list[Record]:
        """Everything that is shared now, oldest first. 15 us each: not for a full catalogue on an event loop."""
        return oldest_first(self._table.shares())

    def find_shares(self, *, name: str | None = None, content_id: ContentId | None = None) -> list[Record]:
        """The shares with that name, or that content, or both, at most `MAX_FOUND`, oldest first."""
        if name is not None:
            found = self._table.named(name, MAX_FOUND)
            return oldest_first(each for each in found if content_id in (None, each.share.content_id))
        assert content_id is not None
        return oldest_first(self._table.with_content(content_id, MAX_FOUND))

    def shares_of(self, publisher: PeerId) -> list[Record]:
        """What one member shares, oldest first."""
        return oldest_first(self._table.shares_of(publisher))

    def held_of(self, publisher: PeerId) -> list[Held]:
        """The same in no order, for `entry_of` and `decode_held`: 5 ms for as much as a member may share."""
        return self._table.held_of(publisher)

    def n_shares_of(self, publisher: PeerId) -> int:
        return self._table.n_shares[publisher]

    def following(self, digest: bytes, limit: int) -> tuple[list[Held], bytes | None]:
        """The next records after this digest, tombstones among them, and the last digest of these; None at the end."""
        digests = self.digests.following(digest, limit)
        return self._table.held(digests), digests[-1] if len(digests) == limit else None

    def decode(self, data: bytes) -> Record:
        """A record that may be given to `put`; RemoteError when it is none."""
        with self._counted():
            return decode_record(data, self._certificates)

    def put(self, record: Record, wall: float) -> Change:
        """Take in what a peer sent; RemoteError when it is false, which an honest peer would have noticed."""
        with self._counted():
            self._check_allowed(record)
        held = self.find(*record.key)
        if held is not None and not record.supersedes(held):
            return Change(Outcome.KNOWN if held.digest == record.digest else Outcome.STALE, held)
        if (refusal := self._refusal(record, held, wall)) is not None:
            self._count(record.publisher, refusal)
            return Change(Outcome.REFUSED, held)
        with self._counted():
            record.verify()
        return self._take(record, held, wall)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except RemoteError:
            self.refusals[Refusal.FALSE] += 1
            raise

    def _count(self, publisher: PeerId, refusal: Refusal) -> None:
        self.refusals[refusal] += 1
        is_beyond = refusal in (Refusal.QUOTA, Refusal.FULL)
        if is_beyond and (publisher in self.refused or len(self.refused) < MAX_REFUSED_PUBLISHERS):
            self.refused[publisher] += 1

    def restore(self, data: bytes, wall: float) -> Change:
        """Take in what this node had verified and stored before, its signature not verified again. RemoteError for what
        cannot be read. 25 us."""
        record = decode_record(data, self._certificates)
        held = self.find(*record.key)
        if held is not None and not record.supersedes(held):
            return Change(Outcome.STALE, held)
        if record.group_id != self._spec.group_id or self._is_over(record, wall):
            return Change(Outcome.REFUSED, held)
        return self._take(record, held, wall)

    def forget_others(self) -> None:
        """Hold nothing but the records of this node."""
        publisher, table = self._own_id, self._table
        self._table, self.digests = RecordTable(self._spec.group_id), DigestSet()
        if publisher is not None:
            for record in [*table.shares_of(publisher), *table.oldest_tombstones(publisher, len(table))]:
                self._add(record, table.until(record))

    def number_left(self, publisher: PeerId, name: str) -> tuple[bytes, int] | None:
        """What a record under this key has left behind when it gave way, for `restore_numbers`."""
        key = _digest_of_key(publisher, name)
        return (key, self._left[key]) if key in self._left else None

    def restore_numbers(self, numbers: Iterable[tuple[bytes, int]]) -> None:
        """What was left behind before a restart, the latest last."""
        for key, seq in numbers:
            self._leave(key, seq)

    def sign_share(self, identity: Identity, share: Share, authorisation: Authorisation | None, wall: float) -> Record:
        """A record of our own, in the place of one with the same name; it holds when it is given to `adopt`.

        NotAllowed when the group does not allow it or this node shares too much already.
        """
        self._check_may_publish(identity.peer_id, authorisation, wall)
        held = self.find(identity.peer_id, share.name)
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
        held = self.find(identity.peer_id, name)
        if held is None or held.is_tombstone:
            raise NotFound(f"this node shares nothing named {name!r} in this group")
        return self._sign(identity, RecordKind.TOMBSTONE, held.share, authorisation or held.authorisation, wall)

    def adopt(self, record: Record, wall: float) -> Change:
        """Take in a record that this node has signed; STALE when one as new has come for its key meanwhile."""
        held = self.find(*record.key)
        if held is not None and not record.supersedes(held):
            return Change(Outcome.STALE, held)
        return self._take(record, held, wall)

    def expire(self, wall: float) -> list[Record]:
        """Drop what has had its time, at most `EXPIRED_AT_ONCE`; returns what was dropped."""
        over = self._table.expired(wall, EXPIRED_AT_ONCE)
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
        held = self.find(publisher, name)
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
        if Right.PUBLISH not in authorisation.rights:
            raise NotAllowed("this node is authorised to post here, not to share: ask for a ticket for both")
        try:
            self._check_authorisation(publisher, authorisation)
        except RemoteError as error:
            raise NotAllowed(f"this node's authorisation does not hold: {error}; ask for a new one") from None
        if not authorisation.is_valid_at(wall):
            raise NotAllowed("this node's authorisation to share in this group has expired: ask for a new one")

    def _check_room(self, publisher: PeerId) -> None:
        if self.n_shares_of(publisher) >= MAX_SHARES_PER_PUBLISHER:
            raise NotAllowed(
                f"this node shares {MAX_SHARES_PER_PUBLISHER} things in this group, which is the limit: "
                "unshare some, or share a folder of them"
            )
        if not self._has_room_for(publisher):
            raise NotAllowed(f"this group shares {MAX_SHARES} things, which is the limit: share it in another group")

    def _refusal(self, record: Record, held: Record | None, wall: float) -> Refusal | None:
        if record.is_tombstone and held is not None and not held.is_tombstone:
            return (
                None if _is_authorised_at(record, wall) else Refusal.EXPIRED
            )  # even an old one removes what came back
        if self._is_over(record, wall):
            return Refusal.EXPIRED
        if self._left and record.seq < self._left.get(_key_digest(record), 0):
            return Refusal.ROLLED_BACK
        if record.is_tombstone or (held is not None and not held.is_tombstone) or self._has_room_for(record.publisher):
            return None
        return Refusal.QUOTA if self.n_shares_of(record.publisher) >= MAX_SHARES_PER_PUBLISHER else Refusal.FULL

    def _has_room_for(self, publisher: PeerId) -> bool:
        """Whether one more share of this publisher is taken."""
        own = self.n_shares_of(publisher)
        if own >= MAX_SHARES_PER_PUBLISHER or self.n_shares < MAX_SHARES:
            return own < MAX_SHARES_PER_PUBLISHER
        most = self._biggest_publisher()
        return most is not None and own + 1 < self.n_shares_of(most)

    def _biggest_publisher(self) -> PeerId | None:
        """Of the others, who has most shares."""
        others = ((count, publisher) for publisher, count in self._table.n_shares.items() if publisher != self._own_id)
        return max(others, default=(0, None))[1]

    def _is_over(self, record: Record, wall: float) -> bool:
        return not _is_authorised_at(record, wall) or wall >= _until(record, wall)

    def _take(self, record: Record, previous: Record | None, wall: float) -> Change:
        evicted: list[Record] = []
        if not record.is_tombstone and (previous is None or previous.is_tombstone):
            evicted += self._make_room()
        if previous is not None:
            self._drop(previous)
        self._add(record, _until(record, wall))
        self._left.pop(_key_digest(record), None)
        if record.is_tombstone:
            evicted += self._evict_tombstones(record.publisher)
        return Change(Outcome.ADDED, previous, tuple(evicted))

    def _make_room(self) -> Iterator[Record]:
        """In a full catalogue, where `_has_room_for` has said that there is room."""
        if self.n_shares >= MAX_SHARES and (most := self._biggest_publisher()) is not None:
            latest = self._table.latest_share_of(most)
            self._give_way(latest)
            yield latest

    def _evict_tombstones(self, publisher: PeerId) -> Iterator[Record]:
        """Drop the oldest tombstones, where there are too many."""
        counts = self._table.n_tombstones
        if counts[publisher] > MAX_TOMBSTONES_PER_PUBLISHER:
            yield from self._drop_oldest_tombstones(publisher)
        if len(self._table) - self.n_shares > MAX_TOMBSTONES:
            yield from self._drop_oldest_tombstones(max(counts, key=counts.__getitem__))

    def _drop_oldest_tombstones(self, publisher: PeerId) -> list[Record]:
        count = max(1, self._table.n_tombstones[publisher] // EVICTED_PART)
        oldest = self._table.oldest_tombstones(publisher, count)
        for record in oldest:
            self._give_way(record)
        return oldest

    def _give_way(self, record: Record) -> None:
        self._drop(record)
        self._leave(_key_digest(record), record.seq)

    def _leave(self, key: bytes, seq: int) -> None:
        self._left[key] = seq
        if len(self._left) > MAX_LEFT:
            del self._left[next(iter(self._left))]

    def _add(self, record: Record, until: float) -> None:
        self._table.add(record, until)
        self.digests.add(record.digest)

    def _drop(self, record: Record) -> None:
        self._table.remove(record)
        self.digests.discard(record.digest)


def oldest_first(records: Iterable[Record]) -> list[Record]:
    """In the order in which their publishers say that they were made."""
    return sorted(records, key=lambda record: (record.created_at, record.digest))


def _key_digest(record: Record) -> bytes:
    return _digest_of_key(*record.key)


def _digest_of_key(publisher: PeerId, name: str) -> bytes:
    return digest_of(publisher + name.encode())


def _until(record: Record, wall: float) -> float:
    """When this one goes, if it comes at `wall`."""
    return min(record.created_at / 1000, wall) + TOMBSTONE_PERIOD if record.is_tombstone else inf


def _is_authorised_at(record: Record, wall: float) -> bool:
    return record.authorisation is None or record.authorisation.is_valid_at(wall)
