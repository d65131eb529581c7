"""Providers as a service of a group: who holds an object, kept by the members nearest to its key, and asked of them.

In a group where everybody is linked with everybody each hears of its neighbours what they hold (`replication`), and
nothing is done here. In a larger one every member announces what it holds to the members nearest to the object's
key (`announcing`, `record`, `table`), and one that lacks an object asks towards that key (`searching`); whoever on the
way holds the object, or knows who does, answers. Questions, answers and announcements pass from neighbour to neighbour,
each hop nearer to the key, as in routing.

Each member verifies a record before it keeps or passes it on, so that a false one can be charged to the neighbour that
it came from. What is true of it is only who says so: a member that invents providers has to sign for each, and gains a
dial of the asker that leads nowhere.

Invariant: as of `groups.service.Service`. Not here: dialing those who were found, and what is served (the driver).
Nothing is kept across a restart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ContentId, PeerId
from swarmd.core.rng import Rng, SystemRng
from swarmd.groups import ring
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.providers.announcing import Announcing
from swarmd.groups.providers.events import Found
from swarmd.groups.providers.links import PATH_PERIOD, Links, Path
from swarmd.groups.providers.messages import MAX_ANSWERS, Announce, Find, Held, Unknown, decode
from swarmd.groups.providers.record import ProviderRecord, decode_record, key_of
from swarmd.groups.providers.searching import Searching
from swarmd.groups.providers.table import Table
from swarmd.groups.records import CertificateCache
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing.links import pick_hop
from swarmd.groups.service import PROVIDER_TYPES
from swarmd.identity.identity import Identity

SWEEP_PERIOD = 5.0
"""Seconds between looks for what has had its time."""
MAX_HANDED = 128
"""Records for somebody new next to this member."""


@dataclass(frozen=True, slots=True)
class ProvidersInfo:
    """Bytes are those of whole messages, since the group was joined."""

    received_bytes: int
    sent_bytes: int
    n_records: int
    """Kept here for others."""
    n_held: int
    """Objects that this node holds."""
    n_searches: int


class Providers:
    """One group's. `rng` chooses ways; `secrets` makes IDs, and is the system's generator but in tests."""

    def __init__(
        self, spec: GroupSpec, identity: Identity, rng: Rng, now: float, *, secrets: Rng | None = None
    ) -> None:
        secrets = secrets or SystemRng()
        self._group_id, self._own_id, self._rng = spec.group_id, identity.peer_id, rng
        self._certificates = CertificateCache()
        self._events: deque[Found] = deque()
        self._links = Links(ring.group_address(identity.peer_id))
        self._table = Table(secrets)
        self._announcing = Announcing(identity, spec.group_id, self._links, rng)
        self._searching = Searching(identity.peer_id, self._links, rng, secrets, self._events)
        self._received_bytes = 0
        self._sweep_at = now + SWEEP_PERIOD

    # what the driver does

    @property
    def is_needed(self) -> bool:
        """Whether there are members besides the neighbours."""
        return self._announcing.is_needed

    @property
    def info(self) -> ProvidersInfo:
        held, searches = self._announcing.n_held, len(self._searching)
        return ProvidersInfo(self._received_bytes, self._links.sent_bytes, len(self._table), held, searches)

    def set_member_count(self, n_members: int, now: float) -> None:
        """About how many there are, this node included."""
        self._announcing.set_needed(n_members > len(self._links) + 1, now)

    def set_addresses(self, addresses: Iterable[Address], now: float) -> None:
        """Where this node is to be reached."""
        self._announcing.set_addresses(addresses, now)

    def provide(self, objects: Collection[ContentId], now: float) -> None:
        """This node holds these, in whole or in part, and gives them to members of this group."""
        self._announcing.provide(objects, now)

    def withdraw(self, objects: Collection[ContentId], now: float) -> None:
        """It does so no longer; nothing happens for others."""
        self._announcing.withdraw(objects, now)

    def find(self, content_id: ContentId, now: float) -> int:
        """Look for those who hold it: the number of the `Found` that follow, the last within 15 seconds. Conflict when
        too many are looked for."""
        key = key_of(self._group_id, content_id)
        known = [record.contact for record in self._choose(self._table.holders(key, now))]
        return self._searching.begin(content_id, key, known, now)

    def cancel(self, search_id: int) -> None:
        """Nobody waits for it any more."""
        self._searching.cancel(search_id)

    # the service

    @property
    def types(self) -> range:
        return PROVIDER_TYPES

    def open_link(self, peer: PeerId, now: float) -> None:
        self._links.open(peer, now)
        if len(self._table) and self._links.is_beside(peer):
            self._hand_over(peer, now)

    def close_link(self, peer: PeerId, now: float) -> None:
        for path_id, path in self._links.close(peer):
            self._answer(path_id, path, (), now)

    def receive(self, peer: PeerId, data: bytes | memoryview, now: float, wall: float) -> None:
        """One message from a neighbour; RemoteError when it breaks the rules."""
        self._received_bytes += len(data)
        message = decode(data)
        match message:
            case Announce():
                self._receive_announce(peer, message, now, wall)
            case Find():
                self._receive_find(peer, message, now, wall)
            case Held():
                self._receive_held(peer, message, now, wall)
            case Unknown():
                if (path := self._expected(peer, message.path)) is not None:
                    self._links.drop_path(message.path)
                    self._answer(message.path, path, (), now)

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        return self._links.messages_to_send()

    def next_event(self) -> Found | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float:
        searches = self._searching.next_deadline()
        soonest = self._announcing.next_deadline()
        soonest = soonest if searches is None else min(soonest, searches)
        return min(soonest, self._sweep_at) if len(self._table) or self._links.n_paths else soonest

    def handle_timer(self, now: float, wall: float) -> None:
        self._announcing.handle_timer(now, wall)
        self._searching.handle_timer(now)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_PERIOD
            self._table.expire(now)
            self._links.expire(now)

    # what others announce

    def _receive_announce(self, peer: PeerId, message: Announce, now: float, wall: float) -> None:
        if not self._links.admit_announce(peer, now):
            return
        record = self._decode(message.record)
        left = record.left(wall)
        if left <= 0 or record.peer_id == self._own_id:
            return
        keepers = self._links.keepers(record.key)
        if keepers is None:
            self._pass_on(peer, message, record.key, now)
        elif self._table.is_news(record):
            self._table.keep(record, peer, now + left)
            if not message.is_copy:
                self._spread(message, record, [other for other in keepers if other not in (peer, record.peer_id)])

    def _spread(self, message: Announce, record: ProviderRecord, keepers: Sequence[PeerId]) -> None:
        """To the other keepers: copies, but for one who is nearer; it may know others than we do."""
        for other in keepers:
            is_first = other == keepers[0] and ring.is_nearer(record.key, self._links.address(other), self._links.own)
            may_go = is_first and message.n_hops_left
            self._links.send(other, message.onward() if may_go else Announce(0, 0, True, record.encoded))

    def _pass_on(self, peer: PeerId, message: Announce, key: GroupAddress, now: float) -> None:
        """A copy goes no further: its sender sees the ring otherwise."""
        if message.is_copy or not message.n_hops_left or not self._links.admit_transit(peer, now):
            return
        hop = pick_hop(self._links.own, self._links.nearer(key), peer, message.turn)
        if hop is not None:
            self._links.send(hop, message.onward())

    def _hand_over(self, peer: PeerId, now: float) -> None:
        """Somebody new is nearer to some of what is kept here."""
        address = self._links.address(peer)
        nearer = [key for key in self._table if ring.is_nearer(key, address, self._links.own)]
        records = [record for key in nearer for record in self._table.records(key) if record.peer_id != peer]
        for record in records[:MAX_HANDED]:
            self._links.send(peer, Announce(0, 0, True, record.encoded))

    # what others ask

    def _receive_find(self, peer: PeerId, message: Find, now: float, wall: float) -> None:
        if self._links.path(message.path) is not None or not self._links.admit_question(peer, now):
            self._links.send(peer, Unknown(message.path))
            return
        if records := self._known(peer, message.key, now, wall):
            self._links.send(peer, Held(message.path, tuple(record.encoded for record in records)))
            return
        hop = pick_hop(self._links.own, self._links.nearer(message.key), peer, message.turn)
        may_go = bool(message.n_hops_left) and self._links.has_room(peer)
        if hop is None or not may_go or not self._links.admit_transit(peer, now):
            self._links.send(peer, Unknown(message.path))
            return
        self._links.add_path(message.path, Path(peer, hop, message.key, now + PATH_PERIOD))
        self._links.send(hop, message.onward())

    def _receive_held(self, peer: PeerId, message: Held, now: float, wall: float) -> None:
        if (path := self._expected(peer, message.path)) is None:
            return
        self._links.drop_path(message.path)
        try:
            records = [self._decode(each) for each in message.records]
            if any(record.key != path.key for record in records):
                raise RemoteError("a member answers to what it was not asked", penalty=10)
        except RemoteError:
            self._answer(message.path, path, (), now)
            raise
        self._answer(message.path, path, [each for each in records if each.is_held and each.left(wall) > 0], now)

    def _answer(self, path_id: bytes, path: Path, records: Collection[ProviderRecord], now: float) -> None:
        """To whoever asked: us, or the neighbour before."""
        if path.previous is None:
            self._searching.answered(path_id, [record.contact for record in records], now)
        elif records:
            self._links.send(path.previous, Held(path_id, tuple(record.encoded for record in records)))
        else:
            self._links.send(path.previous, Unknown(path_id))

    def _expected(self, peer: PeerId, path_id: bytes) -> Path | None:
        """The path on which `peer` was asked. It may have been forgotten, which is nobody's fault."""
        path = self._links.path(path_id)
        return path if path is not None and path.next == peer else None

    def _known(self, asker: PeerId, key: GroupAddress, now: float, wall: float) -> list[ProviderRecord]:
        """What this member answers, itself first."""
        own = self._announcing.record(key, wall)
        others = [record for record in self._table.holders(key, now) if record.peer_id != asker]
        return [*([own] if own is not None else []), *self._choose(others)][:MAX_ANSWERS]

    def _choose(self, records: list[ProviderRecord]) -> list[ProviderRecord]:
        """Some of them, so that no provider has all the askers."""
        return records if len(records) <= MAX_ANSWERS else self._rng.sample(records, MAX_ANSWERS)

    def _decode(self, data: bytes) -> ProviderRecord:
        return decode_record(data, self._group_id, self._certificates)
