"""The groups this node is in: each a `groups.Group` machine, driven here, and kept across restarts.

In: links and messages (from the router), commands (from handlers and shares), time. Out: messages to the peers, calls
of `MembershipSink` for what others of the daemon want to know, rows of the store (`chronicle`).

A command changes the database first, then the memory, and then the peers are told. So after one that has failed
memory and database agree, and it can be tried again. Commands take turns, and each goes on to its end even when its
caller goes away. What others say is kept at once and written down in batches.

After a start the groups are there at once (`load`), their catalogues a little later (`restore`): until then no member
is let into a group or called, and commands that change something wait for their turn.

A node is in at most `join.MAX_TAGS` groups. It is the dialer's `CandidateSource`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol, TypeVar

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import Conflict, LocalError, NotAllowed, NotFound, Unreachable
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.daemon import advice
from swarmd.daemon.chronicle import Chronicle, Kept, Members
from swarmd.daemon.connection import Connection
from swarmd.daemon.flows import FlowKind
from swarmd.daemon.membership import Membership
from swarmd.daemon.pace import Paced
from swarmd.daemon.peers import Peers
from swarmd.daemon.publishing import Publishing
from swarmd.daemon.restoring import Restoring
from swarmd.daemon.trials import Trials
from swarmd.daemon.turns import Turns
from swarmd.daemon.workers import Workers
from swarmd.groups import events
from swarmd.groups.authorisation import NEVER, Authorisation, Authorisations, Authority, Right
from swarmd.groups.contacts import Contact, decode_addresses
from swarmd.groups.dialer import Candidate, Ended, Source
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability, GroupSpec, NewGroup
from swarmd.groups.records import Record, Share
from swarmd.groups.tickets import GroupTicket
from swarmd.identity.identity import Identity
from swarmd.store.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")

_MIN_REFERENCE = 8  # letters of a group ID that may stand for it


class MembershipSink(Protocol):
    """Who is told about groups."""

    def group_changed(self, group: GroupId, joined: bool) -> None: ...
    def member_changed(self, group: GroupId, peer: PeerId, address: Address | None, joined: bool) -> None: ...
    def share_changed(self, record: Record, added: bool) -> None: ...

    def service_event(self, group: GroupId, event: object) -> None: ...

    def work_due(self) -> None:
        """`handle_timer` and `candidates` have something to do before the time that `next_deadline` gave last."""
        ...


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
        self._chronicle = Chronicle(store, ledger, clock, self._kept)
        self._publishing = Publishing(self._chronicle, clock, self._drain, self._is_ours)
        self._turns = Turns()
        self._trials = Trials()
        self._verifying = Paced(self._verify, clock)
        self.restoring = Restoring(self._chronicle, self._enter_restored, self._is_ours)
        self._addresses: tuple[Address, ...] = ()
        self._port = 0
        self._next_look_at = -math.inf

    # Groups -----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Be in every group of the store again; `restore` is to follow."""
        wall, now = self._clock.wall(), self._clock.monotonic()
        await self._chronicle.remember({})  # forgets whom nobody has heard of for long
        for row in await self._ledger.run(self._store.groups.rows):
            spec = GroupSpec.decode(row.spec)
            membership = self._make(
                spec,
                row.joined_at,
                Authorisations.decode(row.authorisation),
                Authority(row.authority) if row.authority else None,
            )
            members = await self._ledger.run(partial(self._store.members.rows, spec.group_id))
            for member in members:
                contact = Contact(member.peer_id, decode_addresses(member.addresses))
                age = max(0.0, wall - member.last_seen)
                membership.group.add_contact(contact, Source.REMEMBERED, now, age=age)
            self._memberships[spec.group_id] = membership
            self.restoring.add(membership, members)

    async def restore(self) -> None:
        """Read the catalogues, and let members into each group when its own is there. Before all other changes."""
        await self._turns.take(self.restoring.run())

    async def create(
        self, name: str, capabilities: Capability = Capability.REPLICATION, restricted: Right = Right.NONE
    ) -> GroupId:
        """A new listed group. Conflict when we are in one of that name."""
        return await self._turns.take(self._found(name, capabilities, restricted))

    async def create_unlisted(self) -> GroupId:
        """The group of a single share."""
        return await self._turns.take(self._found("", Capability.REPLICATION, Right.NONE))

    async def join(
        self, spec: GroupSpec, contacts: Iterable[Contact], authorisation: Authorisation | None
    ) -> tuple[GroupId, str | None]:
        """Be in the group of a ticket; joining twice adds what the ticket says. With it a warning, if there is one."""
        self._trials.settle(spec.group_id)
        return await self._turns.take(self._join(spec, tuple(contacts), authorisation))

    @asynccontextmanager
    async def visit(
        self, spec: GroupSpec, contacts: Iterable[Contact], is_used: Callable[[GroupId], bool]
    ) -> AsyncIterator[GroupId]:
        """Be in the group of a ticket, for what is done in the block. When that fails the group is left again, unless
        we were in it before, share something there, or `is_used`.
        """
        group = spec.group_id
        self._trials.begin(group, group in self._memberships, is_used)
        try:
            yield (await self._turns.take(self._join(spec, tuple(contacts), None)))[0]
        except BaseException:
            self._trials.end(group, well=False)
            await self._turns.take(self._tidy(group))
            raise
        self._trials.end(group, well=True)

    async def leave(self, group: GroupId) -> None:
        """Forget the group and its secret. NotFound when it has been left meanwhile."""
        await self._turns.take(self._leave(group))

    def find(self, reference: str) -> GroupId:
        """By name, ID, or the beginning of an ID. NotFound, Conflict."""
        named = [group for group, each in self._memberships.items() if each.spec.name == reference]
        if not named and len(reference) >= _MIN_REFERENCE:
            named = [group for group in self._memberships if str(group).startswith(reference.lower())]
        if not named:
            raise NotFound(f"this node is in no group {reference!r}: `swarm group list` shows those it is in")
        if len(named) > 1:
            ids = ", ".join(group.short for group in named)
            raise Conflict(f"several groups are named {reference!r}: say which by its ID ({ids})")
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
        announced = [
            each.spec for each in self._memberships.values() if Capability.NO_LAN not in each.spec.capabilities
        ]
        return {spec.group_id: spec.discovery_key for spec in announced}

    def invitation(self, group: GroupId, authorised: Mapping[PeerId, Right], valid_period: float | None) -> GroupTicket:
        """The ticket that lets somebody in. NotAllowed when a peer is to be authorised and the key is not here."""
        membership = self._memberships[group]
        authorisation = None
        for peer, rights in authorised.items():
            if membership.authority is None:
                raise NotAllowed("this node cannot authorise anybody in this group: only the node that made it can")
            expires_at = NEVER if valid_period is None else int((self._clock.wall() + valid_period) * 1000)
            authorisation = membership.authority.authorise(group, peer, rights, expires_at)
        return GroupTicket(membership.spec, self.own_contacts(), authorisation)

    # Shares -----------------------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        """This node's."""
        return self._identity.peer_id

    @property
    def n_own_shares(self) -> int:
        return sum(map(self.n_own_shares_in, self._memberships))

    def n_own_shares_in(self, group: GroupId) -> int:
        return self._memberships[group].group.catalogue.n_shares_of(self.peer_id)

    def own_share(self, group: GroupId, name: str) -> Record | None:
        """What this node shares under that name."""
        record = self._memberships[group].group.catalogue.find(self.peer_id, name)
        return None if record is None or record.is_tombstone else record

    def find_shares(
        self, group: GroupId | None, *, name: str | None = None, content_id: ContentId | None = None
    ) -> list[Record]:
        groups = self._memberships.values() if group is None else [self._memberships[group]]
        return [record for each in groups for record in each.group.find_shares(name=name, content_id=content_id)]

    async def publish(self, group: GroupId, share: Share) -> Record:
        return await self._turns.take(self._publish(group, lambda machine, wall: machine.sign_share(share, wall)))

    async def unpublish(self, group: GroupId, name: str) -> Record:
        return await self._turns.take(self._publish(group, lambda machine, wall: machine.sign_tombstone(name, wall)))

    # Links and messages -----------------------------------------------------------------------------------------

    def link_opened(self, group: GroupId, peer: PeerId, connection: Connection) -> None:
        membership = self._memberships.get(group)
        if membership is not None:
            now = self._clock.monotonic()
            membership.group.open_link(peer, connection.dialled or connection.link.remote, now)
            self._chronicle.remember_soon(now)
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

    def act(self, group: GroupId, do: Callable[[Group], T]) -> T:
        """Have one of its services do something, and carry out what the group wants then."""
        membership = self._memberships[group]
        try:
            return do(membership.group)
        finally:
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

    def withdraw_hint(self, group: GroupId, address: Address, source: Source = Source.MDNS) -> None:
        """Nobody on the local network, or in the DHT, says any more that a member is there."""
        if group in self._memberships:
            self._memberships[group].group.withdraw_hint(address, source)

    def candidates(self, now: float) -> list[Candidate]:
        opened = [membership.group for membership in self._memberships.values() if membership.is_open]
        return [each for group in opened for each in group.candidates(now)]

    def ended(self, groups: Iterable[GroupId]) -> list[Ended]:
        """Addresses of members of these groups that led to none when they were tried last, and why."""
        now = self._clock.monotonic()
        return [each for group in groups if group in self for each in self._memberships[group].group.ended(now)]

    # Time -------------------------------------------------------------------------------------------------------

    def handle_timer(self, now: float) -> None:
        """Often enough for `next_deadline`: about ten times a second while something is due."""
        wall = self._clock.wall()
        for membership in list(self._memberships.values()):
            if membership.group.next_deadline() <= now:
                membership.group.handle_timer(now, wall)
                self._drain(membership)
        self._chronicle.handle_timer(now, self._members)
        for group in self._trials.handle_timer(now):
            self._turns.start(self._tidy(group))

    def next_deadline(self) -> float:
        deadlines = [membership.group.next_deadline() for membership in self._memberships.values()]
        self._next_look_at = min([self._chronicle.next_deadline(), self._trials.next_deadline(), *deadlines])
        return self._next_look_at

    async def stop(self) -> None:
        """End what is being changed, and write down what is not written yet."""
        self.restoring.stop()
        self._verifying.stop()
        await self._turns.stop()
        await self._chronicle.stop(self._members())

    # Inside -----------------------------------------------------------------------------------------------------

    async def _found(self, name: str, capabilities: Capability, restricted: Right) -> GroupId:
        if name and any(membership.spec.name == name for membership in self._memberships.values()):
            raise Conflict(f"this node is in a group named {name!r} already: choose another name")
        made: NewGroup = GroupSpec.create(
            name, self._rng, capabilities=capabilities, restricted=restricted, unique=bool(name)
        )
        given = None
        if made.authority is not None:
            given = made.authority.authorise(made.spec.group_id, self._identity.peer_id, restricted)
        authorisations = Authorisations().with_another(given)
        await self._begin(self._make(made.spec, self._clock.wall(), authorisations, made.authority))
        return made.spec.group_id

    async def _join(
        self, spec: GroupSpec, contacts: tuple[Contact, ...], authorisation: Authorisation | None
    ) -> tuple[GroupId, str | None]:
        warnings = [advice.near_miss(spec, [each.spec for each in self._memberships.values()])]
        known = self._memberships.get(spec.group_id)
        if authorisation is not None and authorisation.peer_id != self._identity.peer_id:
            warnings.append("the ticket's authorisation is for another node")
            authorisation = None
        membership = known or self._make(spec, self._clock.wall(), Authorisations().with_another(authorisation), None)
        if known is not None and authorisation is not None:
            await self._authorise(known, authorisation)
        for contact in contacts:
            membership.group.add_contact(contact, Source.TICKET, self._clock.monotonic())
        if known is None:
            await self._begin(membership)
        else:
            await self._chronicle.remember(self._members())
        return spec.group_id, ". ".join(filter(None, warnings)) or None

    async def _authorise(self, known: Membership, given: Authorisation) -> None:
        """NotAllowed when it does not hold here; what other tickets have given stays."""
        known.group.check_authorisation(given, self._clock.wall())
        authorisations = known.authorisations.with_another(given)
        await self._chronicle.put_group(known.row(authorisations))
        known.authorisations = authorisations
        if authorisations.giving(Right.PUBLISH) is given:
            known.group.set_authorisation(given, self._clock.wall())

    async def _leave(self, group: GroupId) -> None:
        if group not in self._memberships:
            raise NotFound(f"this node is not in group {group.short} any more")
        await self._chronicle.delete_group(group)
        del self._memberships[group]
        self._trials.settle(group)
        self._peers.remove_group(group)
        self._sink.group_changed(group, False)

    async def _tidy(self, group: GroupId) -> None:
        """Leave a group that a visit has joined for nothing; where that fails, it is tried again."""
        is_used = self._trials.due(group)
        if is_used is None:
            return
        if group not in self._memberships or is_used(group) or self.n_own_shares_in(group):
            self._trials.settle(group)
            return
        try:
            await self._leave(group)
        except LocalError as error:
            log.warning("group %s is not used, and cannot be left yet: %s", group.short, error)
            self._trials.failed(self._clock.monotonic())

    async def _publish(self, group: GroupId, sign: Callable[[Group, float], Record]) -> Record:
        """Signed, written down, and then told to all."""
        membership = self._memberships.get(group)
        if membership is None:
            raise NotFound(f"this node is not in group {group.short} any more")
        if not membership.is_open:
            raise Unreachable("swarmd is stopping")
        return await self._publishing.publish(membership, sign)

    def _make(
        self, spec: GroupSpec, joined_at: float, authorisations: Authorisations, authority: Authority | None
    ) -> Membership:
        """Nobody knows of it before `_enter`."""
        group = Group(spec, self._identity, self._rng, self._clock.monotonic())
        group.verify_in_slices()
        membership = Membership(group, joined_at, authorisations, authority)
        group.set_addresses(self._port, self._addresses, self._clock.monotonic())
        if (authorisation := authorisations.giving(Right.PUBLISH)) is not None:
            try:
                group.set_authorisation(authorisation, self._clock.wall())
            except NotAllowed as error:
                log.warning("group %s: %s", spec.group_id.short, error)
        return membership

    async def _begin(self, membership: Membership) -> None:
        """Write a new group down, with those whom its ticket names, and be in it."""
        group = membership.spec.group_id
        self._peers.check_group(group)
        rows = membership.member_rows(self._clock.monotonic(), self._clock.wall())
        await self._chronicle.found(membership.row(), rows)
        self._enter(membership)
        self._sink.group_changed(group, True)

    def _enter(self, membership: Membership) -> None:
        spec = membership.spec
        membership.group.set_addresses(self._port, self._addresses, self._clock.monotonic())
        self._memberships[spec.group_id] = membership
        membership.is_open = True
        self._peers.add_group(spec.group_id, spec.join_key)  # peers may have proved it already: links open now

    def _enter_restored(self, membership: Membership) -> None:
        self._enter(membership)
        self._drain(membership, is_news=False)

    def _drain(self, membership: Membership, *, is_news: bool = True) -> None:
        """Carry out what the machine wants."""
        group = membership.group
        returned: list[events.OwnRecordReturned] = []
        for peer, data in group.messages_to_send():
            self._peers.send(group.group_id, peer, FlowKind.GROUP, (data,))
        while (event := group.next_event()) is not None:
            if isinstance(event, events.PeerFaulted):
                self._peers.penalise(event.peer_id, event.points, event.reason)
            elif isinstance(event, events.LinkReleased):
                self._peers.release(group.group_id, event.peer_id)
            elif not is_news:
                continue
            elif isinstance(event, events.RecordStored | events.RecordDropped):
                self._chronicle.note(event.record)
            elif isinstance(event, events.OthersForgotten):
                self._chronicle.forget_others(group.group_id, self._identity.peer_id)
            elif isinstance(event, events.ShareAdded):
                self._sink.share_changed(event.record, True)
            elif isinstance(event, events.ShareRemoved):
                self._sink.share_changed(event.record, False)
            elif isinstance(event, events.OwnRecordReturned):
                returned.append(event)
            else:
                self._sink.service_event(group.group_id, event)
        if group.next_deadline() < self._next_look_at:
            self._next_look_at = -math.inf
            self._sink.work_due()
        for event in returned:
            self._publishing.correct(membership, event)
        if group.has_work:
            self._verifying.add(group.group_id)

    def _verify(self, group: GroupId) -> None:
        """Go on with records that wait to be verified, after what else has come meanwhile."""
        membership = self._memberships.get(group)
        if membership is not None:
            membership.group.work(self._clock.monotonic(), self._clock.wall())
            self._drain(membership)

    def _is_ours(self, membership: Membership) -> bool:
        return self._memberships.get(membership.spec.group_id) is membership

    def _kept(self, group: GroupId, key: tuple[PeerId, str]) -> Kept:
        """What the catalogue has under this key now."""
        if (membership := self._memberships.get(group)) is None:
            return Kept(None)
        catalogue = membership.group.catalogue
        return Kept(catalogue.encoded_under(*key), catalogue.number_left(*key))

    def _members(self) -> Members:
        """Who is to be remembered."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        return {group: membership.member_rows(now, wall) for group, membership in self._memberships.items()}
