"""The groups this node is in: each a `groups.Group` machine, driven here, and kept across restarts.

In: links and messages (from the router), commands (from handlers and shares), time. Out: messages to the peers, calls
of `MembershipSink` for what others of the daemon want to know, rows of the store.

What the catalogue accepts is written down in batches, a record of our own before it is told to anybody; members
are remembered when a ticket names them, soon after they come, once a minute and at the end. A crash loses at most the
batch of the last second, which the neighbours have still, and who came in the last two.

A node is in at most `join.MAX_TAGS` groups. It is the dialer's `CandidateSource`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import Conflict, NotAllowed, NotFound
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.daemon.connection import Connection
from swarmd.daemon.flows import FlowKind
from swarmd.daemon.peers import Peers
from swarmd.daemon.workers import Outcome, Workers
from swarmd.groups import events
from swarmd.groups.authorisation import NEVER, Authorisation, Authority, Right
from swarmd.groups.contacts import Contact, decode_addresses, encode_addresses
from swarmd.groups.dialer import Candidate, Source
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability, GroupSpec, NewGroup
from swarmd.groups.membership import MAX_MEMBERS
from swarmd.groups.records import Record, Share
from swarmd.groups.tickets import GroupTicket
from swarmd.identity.identity import Identity
from swarmd.store.store import Store
from swarmd.store.tables.groups import GroupRow, MemberRow, RecordRow

log = logging.getLogger(__name__)

REMEMBER_PERIOD = 60.0
PRUNE_PERIOD = 86_400.0  # between two looks for members to forget; the first is at the start
FORGET_PERIOD = 90 * 86_400.0
"""Seconds unheard of, after which a member's row goes: far beyond the time for which it would be dialed again
(`membership.KEPT_PERIOD`), since what is deleted on the word of a wrong clock does not come back."""
REMEMBER_SOON_PERIOD = 2.0  # after somebody new: until then it has said where it listens
_MIN_REFERENCE = 8  # letters of a group ID that may stand for it


class MembershipSink(Protocol):
    """Who is told about groups."""

    def group_changed(self, group: GroupId, joined: bool) -> None: ...
    def member_changed(self, group: GroupId, peer: PeerId, address: Address | None, joined: bool) -> None: ...
    def share_changed(self, record: Record, added: bool) -> None: ...

    def work_due(self) -> None:
        """`handle_timer` and `candidates` have something to do before the time that `next_deadline` gave last."""
        ...


@dataclass(slots=True)
class Membership:
    """One group of ours."""

    group: Group
    joined_at: float
    authorisation: Authorisation | None
    authority: Authority | None

    @property
    def spec(self) -> GroupSpec:
        return self.group.spec

    def row(self) -> GroupRow:
        return GroupRow(
            self.spec.group_id,
            self.spec.encode(),
            self.joined_at,
            self.spec.is_listed,
            self.authorisation.encode() if self.authorisation else b"",
            self.authority.private_key if self.authority else b"",
        )


class Memberships:
    def __init__(
        self,
        identity: Identity,
        peers: Peers,
        store: Store,
        ledger: Workers,
        clock: Clock,
        rng: Rng,
        sink: MembershipSink,
    ) -> None:
        self._identity, self._peers, self._store, self._ledger = identity, peers, store, ledger
        self._clock, self._rng, self._sink = clock, rng, sink
        self._memberships: dict[GroupId, Membership] = {}
        self._unsaved: dict[GroupId, dict[tuple[PeerId, str], Record | None]] = {}
        self._addresses: tuple[Address, ...] = ()
        self._port = 0
        self._remember_at = clock.monotonic() + REMEMBER_PERIOD
        self._prune_at = -math.inf
        self._next_look_at = -math.inf

    # Groups -----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Be in every group of the store again."""
        wall, now = self._clock.wall(), self._clock.monotonic()
        await self._ledger.run(self._remembering())
        for row in await self._ledger.run(self._store.groups.rows):
            spec = GroupSpec.decode(row.spec)
            membership = self._add(
                spec,
                row.joined_at,
                Authorisation.decode(row.authorisation) if row.authorisation else None,
                Authority(row.authority) if row.authority else None,
            )
            rows = await self._ledger.run(partial(self._store.records.rows, spec.group_id))
            damaged = membership.group.restore((row.record for row in rows), wall)
            if damaged:
                log.warning("%d share records of group %s could not be read", damaged, spec.group_id.short)
            for member in await self._ledger.run(partial(self._store.members.rows, spec.group_id)):
                contact = Contact(member.peer_id, decode_addresses(member.addresses))
                age = max(0.0, wall - member.last_seen)
                membership.group.add_contact(contact, Source.REMEMBERED, now, age=age)
            self._drain(membership, is_news=False)

    async def create(self, name: str, *, restrict_publish: bool) -> GroupId:
        """A new listed group. Conflict when we are in one of that name."""
        if any(membership.spec.name == name for membership in self._memberships.values()):
            raise Conflict(f"this node is in a group named {name!a} already: choose another name")
        return await self._found(name, Right.PUBLISH if restrict_publish else Right.NONE)

    async def create_unlisted(self) -> GroupId:
        """The group of a single share."""
        return await self._found("", Right.NONE)

    async def join(
        self, spec: GroupSpec, contacts: Iterable[Contact], authorisation: Authorisation | None
    ) -> tuple[GroupId, str | None]:
        """Be in the group of a ticket; joining twice adds what the ticket says. With it a warning, if there is one."""
        warning = self._near_miss(spec)
        membership = self._memberships.get(spec.group_id)
        if authorisation is not None and authorisation.peer_id != self._identity.peer_id:
            authorisation = None
            warning = "the ticket's authorisation to publish is for another node"
        if membership is None:
            membership = self._add(spec, self._clock.wall(), authorisation, None)
            await self._save_row(membership)
            self._sink.group_changed(spec.group_id, True)
        elif authorisation is not None:
            membership.group.set_authorisation(authorisation, self._clock.wall())
            membership.authorisation = authorisation
            await self._save_row(membership)
        for contact in contacts:
            self.add_contact(spec.group_id, contact, Source.TICKET)
        await self._ledger.run(self._remembering())
        return spec.group_id, warning

    async def leave(self, group: GroupId) -> None:
        """Forget the group and its secret."""
        membership = self._memberships.pop(group)
        self._unsaved.pop(group, None)
        self._peers.remove_group(group)
        await self._ledger.run(lambda: self._store.groups.delete(group))
        self._sink.group_changed(membership.spec.group_id, False)

    def find(self, reference: str) -> GroupId:
        """By name, ID, or the beginning of an ID. NotFound, Conflict."""
        named = [group for group, each in self._memberships.items() if each.spec.name == reference]
        if not named and len(reference) >= _MIN_REFERENCE:
            named = [group for group in self._memberships if str(group).startswith(reference.lower())]
        if not named:
            raise NotFound(f"this node is in no group {reference!a}: `swarm group list` shows those it is in")
        if len(named) > 1:
            ids = ", ".join(group.short for group in named)
            raise Conflict(f"several groups are named {reference!a}: say which by its ID ({ids})")
        return named[0]

    def __contains__(self, group: GroupId) -> bool:
        return group in self._memberships

    def __len__(self) -> int:
        return len(self._memberships)

    def all(self) -> Mapping[GroupId, Membership]:
        return self._memberships

    def get(self, group: GroupId) -> Membership:
        return self._memberships[group]

    def spec(self, group: GroupId) -> GroupSpec:
        return self._memberships[group].spec

    def name(self, group: GroupId) -> str | None:
        """None for an unlisted group, and for one that was left."""
        membership = self._memberships.get(group)
        return membership.spec.name or None if membership else None

    def is_replicating(self, group: GroupId) -> bool:
        membership = self._memberships.get(group)
        return membership is not None and Capability.REPLICATION in membership.spec.capabilities

    def discovery_keys(self) -> dict[GroupId, bytes]:
        return {group: membership.spec.discovery_key for group, membership in self._memberships.items()}

    def invitation(self, group: GroupId, publisher: PeerId | None, valid_period: float | None) -> GroupTicket:
        """The ticket that lets somebody in. NotAllowed when `publisher` is to be authorised and the key is not here."""
        membership = self._memberships[group]
        authorisation = None
        if publisher is not None:
            if membership.authority is None:
                raise NotAllowed("this node does not hold the key that authorises publishers in this group")
            expires_at = NEVER if valid_period is None else int((self._clock.wall() + valid_period) * 1000)
            authorisation = membership.authority.authorise(group, publisher, Right.PUBLISH, expires_at)
        return GroupTicket(membership.spec, self.own_contacts(), authorisation)

    # Shares -----------------------------------------------------------------------------------------------------

    def own_records(self, group: GroupId | None = None) -> list[Record]:
        """What this node shares, in one group or in all."""
        groups = self._memberships.values() if group is None else [self._memberships[group]]
        own = self._identity.peer_id
        return [record for each in groups for record in each.group.shares() if record.publisher == own]

    def records(self, group: GroupId | None = None) -> list[Record]:
        groups = self._memberships.values() if group is None else [self._memberships[group]]
        return [record for each in groups for record in each.group.shares()]

    def find_shares(
        self, group: GroupId | None, *, name: str | None = None, content_id: ContentId | None = None
    ) -> list[Record]:
        groups = self._memberships.values() if group is None else [self._memberships[group]]
        return [record for each in groups for record in each.group.find_shares(name=name, content_id=content_id)]

    async def publish(self, group: GroupId, share: Share) -> Record:
        membership = self._memberships[group]
        record = membership.group.publish(share, self._clock.monotonic(), self._clock.wall())
        await self._save_record(record)
        self._drain(membership)
        return record

    async def unpublish(self, group: GroupId, name: str) -> Record:
        membership = self._memberships[group]
        record = membership.group.unpublish(name, self._clock.monotonic(), self._clock.wall())
        await self._save_record(record)
        self._drain(membership)
        return record

    # Links and messages -----------------------------------------------------------------------------------------

    def link_opened(self, group: GroupId, peer: PeerId, connection: Connection) -> None:
        membership = self._memberships.get(group)
        if membership is not None:
            now = self._clock.monotonic()
            membership.group.open_link(peer, connection.dialled or connection.link.remote, now)
            self._remember_at = min(self._remember_at, now + REMEMBER_SOON_PERIOD)
            self._drain(membership)
            self._sink.member_changed(group, peer, connection.link.remote, True)

    def link_closed(self, group: GroupId, peer: PeerId, has_left: bool) -> None:
        membership = self._memberships.get(group)
        if membership is not None:
            membership.group.close_link(peer, self._clock.monotonic(), has_left=has_left)
            self._drain(membership)
            self._sink.member_changed(group, peer, None, False)

    def receive_message(self, group: GroupId, peer: PeerId, data: bytes) -> None:
        """RemoteError passes to whoever ends the session."""
        membership = self._memberships.get(group)
        if membership is not None:
            membership.group.receive_message(peer, data, self._clock.monotonic(), self._clock.wall())
            self._drain(membership)

    # Addresses and dialing --------------------------------------------------------------------------------------

    def set_addresses(self, addresses: tuple[Address, ...], port: int) -> None:
        """Where this node is to be reached."""
        self._addresses, self._port = addresses, port
        now = self._clock.monotonic()
        for membership in self._memberships.values():
            membership.group.set_addresses(port, addresses, now)
            self._drain(membership)

    def own_contacts(self) -> tuple[Contact, ...]:
        """For tickets."""
        return (Contact(self._identity.peer_id, self._addresses[:8]),) if self._addresses else ()

    def add_contact(self, group: GroupId, contact: Contact, source: Source) -> None:
        self._memberships[group].group.add_contact(contact, source, self._clock.monotonic())

    def withdraw_hint(self, group: GroupId, address: Address) -> None:
        """Nobody on the local network says any more that a member is there."""
        if group in self._memberships:
            self._memberships[group].group.withdraw_hint(address)

    def candidates(self, now: float) -> list[Candidate]:
        return [each for membership in self._memberships.values() for each in membership.group.candidates(now)]

    def dial_succeeded(self, address: Address, peer: PeerId, now: float) -> None:
        for membership in self._memberships.values():
            membership.group.dial_succeeded(address, peer, now)

    def dial_failed(self, address: Address, now: float) -> None:
        for membership in self._memberships.values():
            membership.group.dial_failed(address, now)

    def address_is_own(self, address: Address) -> None:
        for membership in self._memberships.values():
            membership.group.forget_address(address)

    # Time -------------------------------------------------------------------------------------------------------

    def handle_timer(self, now: float) -> None:
        """Often enough for `next_deadline`: about ten times a second while something is due."""
        wall = self._clock.wall()
        for membership in list(self._memberships.values()):
            if membership.group.next_deadline() <= now:
                membership.group.handle_timer(now, wall)
                self._drain(membership)
        self._save_records()
        if now >= self._remember_at:
            self._remember_at = now + REMEMBER_PERIOD
            self._ledger.submit(self._remembering(), lambda done: done.result())

    def next_deadline(self) -> float:
        deadlines = [membership.group.next_deadline() for membership in self._memberships.values()]
        self._next_look_at = min([self._remember_at, *deadlines])
        return self._next_look_at

    async def stop(self) -> None:
        """Write down what is not written yet."""
        self._save_records()
        await self._ledger.run(self._remembering())

    # Inside -----------------------------------------------------------------------------------------------------

    async def _found(self, name: str, restricted: Right) -> GroupId:
        made: NewGroup = GroupSpec.create(
            name, self._rng, capabilities=Capability.REPLICATION, restricted=restricted, unique=bool(name)
        )
        authorisation = None
        if made.authority is not None:
            authorisation = made.authority.authorise(made.spec.group_id, self._identity.peer_id, Right.PUBLISH)
        membership = self._add(made.spec, self._clock.wall(), authorisation, made.authority)
        await self._save_row(membership)
        self._sink.group_changed(made.spec.group_id, True)
        return made.spec.group_id

    def _add(
        self, spec: GroupSpec, joined_at: float, authorisation: Authorisation | None, authority: Authority | None
    ) -> Membership:
        now = self._clock.monotonic()
        group = Group(spec, self._identity, self._rng, now)
        membership = Membership(group, joined_at, authorisation, authority)
        if authorisation is not None:
            try:
                group.set_authorisation(authorisation, self._clock.wall())
            except NotAllowed as error:
                log.warning("group %s: %s", spec.group_id.short, error)
        group.set_addresses(self._port, self._addresses, now)
        self._memberships[spec.group_id] = membership
        self._peers.add_group(spec.group_id, spec.join_key)  # peers may have proved it already: links open now
        return membership

    def _near_miss(self, spec: GroupSpec) -> str | None:
        """A group of ours that has the same name and is another one: two people may think that they are in one
        group.
        """
        for group, membership in self._memberships.items():
            if spec.is_listed and group != spec.group_id and membership.spec.name == spec.name:
                return (
                    f"this node is in another group of that name already ({group.short}): they have nothing in common"
                )
        return None

    def _drain(self, membership: Membership, *, is_news: bool = True) -> None:
        """Carry out what the machine wants."""
        group = membership.group
        returned: list[events.OwnRecordReturned] = []
        for peer, data in group.messages_to_send():
            self._peers.send(group.group_id, peer, FlowKind.GROUP, (data,))
        while (event := group.next_event()) is not None:
            if isinstance(event, events.PeerFaulted):
                self._peers.penalise(event.peer_id, event.points, event.reason)
            elif not is_news:
                continue
            elif isinstance(event, events.RecordStored):
                self._unsaved.setdefault(group.group_id, {})[event.record.key] = event.record
            elif isinstance(event, events.RecordDropped):
                self._unsaved.setdefault(group.group_id, {})[event.record.key] = None
            elif isinstance(event, events.ShareAdded):
                self._sink.share_changed(event.record, True)
            elif isinstance(event, events.ShareRemoved):
                self._sink.share_changed(event.record, False)
            elif isinstance(event, events.OwnRecordReturned):
                returned.append(event)
        if group.next_deadline() < self._next_look_at:
            self._next_look_at = -math.inf
            self._sink.work_due()
        for event in returned:
            self._correct(membership, event)

    def _correct(self, membership: Membership, returned: events.OwnRecordReturned) -> None:
        """Others had a record of our own that this node did not know: tell all what is true instead."""
        name = returned.record.share.name
        try:
            record = membership.group.correct(returned, self._clock.monotonic(), self._clock.wall())
        except NotAllowed as error:
            log.warning("what others say of our own share %a is not true, and cannot be corrected: %s", name, error)
            return
        if record is None:
            log.warning("an older state of our own share %a came back from others", name)
            return
        shared = "not shared any more" if record.is_tombstone else "shared as before"
        log.warning("a forgotten state of our own share %a came back from others: it is %s", name, shared)
        row = RecordRow(record.publisher, name, record.encode())

        def tell(outcome: Outcome[None]) -> None:
            outcome.result()
            if self._memberships.get(record.group_id) is membership:
                self._drain(membership)

        self._ledger.submit(lambda: self._store.records.put(record.group_id, [row]), tell)

    # Store ------------------------------------------------------------------------------------------------------

    async def _save_row(self, membership: Membership) -> None:
        row = membership.row()
        await self._ledger.run(lambda: self._store.groups.put(row))

    async def _save_record(self, record: Record) -> None:
        row = RecordRow(record.publisher, record.share.name, record.encode())
        await self._ledger.run(lambda: self._store.records.put(record.group_id, [row]))

    def _save_records(self) -> None:
        if not self._unsaved:
            return
        unsaved, self._unsaved = self._unsaved, {}

        def save() -> None:
            for group, records in unsaved.items():
                kept = [RecordRow(*key, record.encode()) for key, record in records.items() if record is not None]
                self._store.records.put(group, kept)
                self._store.records.delete(group, [key for key, record in records.items() if record is None])

        self._ledger.submit(save, lambda done: done.result())

    def _remembering(self) -> _Remembering:
        now, wall = self._clock.monotonic(), self._clock.wall()
        is_time_to_prune = now >= self._prune_at
        if is_time_to_prune:
            self._prune_at = now + PRUNE_PERIOD
        rows: dict[GroupId, list[MemberRow]] = {
            group: [
                MemberRow(contact.peer_id, encode_addresses(contact.addresses), wall - age)
                for contact, age in membership.group.remembered(now)
                if contact.peer_id is not None
            ]
            for group, membership in self._memberships.items()
        }
        return _Remembering(self._store, rows, wall, is_time_to_prune)


@dataclass(frozen=True, slots=True)
class _Remembering:
    """A job: write down who was there, and now and then forget who has not been for long."""

    store: Store
    rows: dict[GroupId, list[MemberRow]]
    wall: float
    is_pruning: bool

    def __call__(self) -> None:
        for group, members in self.rows.items():
            if members:
                self.store.members.put(group, members, self.wall)
        if self.is_pruning:
            self.store.members.prune(self.wall, FORGET_PERIOD, MAX_MEMBERS)
