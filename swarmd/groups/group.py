"""One group as one of its members runs it: membership and catalogue over the links with its neighbours.

The driver owns sessions and sockets. It tells of each session on which both sides have proved that they are
members (`groups.join`): that is a *link*. It passes messages both ways, and after every call asks for
`messages_to_send`, `next_event`, `candidates` and `next_deadline`.

In: links, messages, results of dialing, what this node publishes, time. Out: messages, events
(`groups.events`), candidates to dial.

- Links, and what is said of members on them, are `groups.mesh`'s.
- The catalogue goes its own ways (`groups.exchange`); its Status is said on every link, and with every answer of the
  mesh.
- Services (`groups.service`) have theirs, and messages of their own.

Invariant: a RemoteError out of `receive_message` is the sender's fault, and nothing that came from others is
disturbed; the driver closes that session, which ends in `close_link`. What the group keeps and queues for each
neighbour is bounded. Queued messages are bounded by the sizes of tables and by what one input may cause.

Not here: sessions, proofs, disks. Nothing is kept across a restart but what the driver stores (RecordStored and
RecordDropped, `remembered`) and gives back (`restore`, `add_contact`).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument, NotAllowed, RemoteError
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.groups import messages
from swarmd.groups.authorisation import Authorisation
from swarmd.groups.catalogue import Catalogue, Outcome
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Candidate, Ended, Source
from swarmd.groups.events import OwnRecordReturned
from swarmd.groups.exchange import Exchange
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.member import MemberInfo
from swarmd.groups.mesh import Mesh
from swarmd.groups.messages import Ask, Density, Hello, Members, Need, Status
from swarmd.groups.neighbourhood import NeighbourInfo
from swarmd.groups.posting.posting import Posting
from swarmd.groups.providers.service import Providers
from swarmd.groups.records import Record, Share
from swarmd.groups.routing.service import Routing
from swarmd.groups.service import Service
from swarmd.identity.identity import Identity

EXPIRY_PERIOD = 600.0
"""Seconds between looks for records that have had their time."""
EXPIRY_PAUSE = 0.1
"""While there is more to drop than is dropped at once."""
MAX_CORRECTIONS = 3
"""Of what comes back under one name. The first one ends it, unless two nodes have this identity and disagree: then each
would correct the other for ever."""
MAX_CORRECTED = 4096
"""Names under which something has come back, in one run: all that a node can share and have removed."""


class Group:
    """One group. `identity` is this node's; `rng` only spreads load and decides nothing that must be secret; `secrets`
    makes what must be, and is the system's generator but in simulations.

    The one face towards the driver: many of its methods only hand on to the part that knows.
    """

    def __init__(
        self, spec: GroupSpec, identity: Identity, rng: Rng, now: float, *, secrets: Rng | None = None
    ) -> None:
        self.spec = spec
        self._identity = identity
        self._catalogue = Catalogue(spec, identity.peer_id)
        self._exchange = Exchange(identity.peer_id, self._catalogue)
        has = spec.capabilities
        self._mesh = Mesh(identity.peer_id, rng, now, is_named_only=Capability.NO_PEERS in has)
        self._membership = self._mesh.membership
        self.posting = Posting(spec, identity, rng, now) if Capability.POSTING in has else None
        self.routing = Routing(spec, identity, rng, now, secrets=secrets) if Capability.ROUTING in has else None
        is_replicating = Capability.REPLICATION in has and Capability.NO_PEERS not in has
        self.providers = Providers(spec, identity, rng, now, secrets=secrets) if is_replicating else None
        services = (self.posting, self.routing, self.providers)
        self._services: list[Service] = [each for each in services if each is not None]
        self._authorisation: Authorisation | None = None
        self._messages: deque[tuple[PeerId, bytes]] = deque()
        self._corrected: Counter[str] = Counter()
        self._expire_at = now + EXPIRY_PERIOD

    @property
    def group_id(self) -> GroupId:
        return self.spec.group_id

    # links

    def open_link(self, peer: PeerId, address: Address | None, now: float) -> bool:
        """`peer` is a neighbour: both sides have proved themselves on a session that leads to `address`.

        False when there is no room for one more: then there is no link.
        """
        if peer in self._mesh:
            return True
        if not self._mesh.open_link(peer, address, now):
            return False
        self._exchange.open_link(peer, now)
        for service in self._services:
            service.open_link(peer, now)
        return True

    def close_link(self, peer: PeerId, now: float, *, has_left: bool = False) -> None:
        """The session is gone, or (`has_left`) the peer left the group. Nothing happens without a link."""
        if peer not in self._mesh:
            return
        self._exchange.close_link(peer, now)
        for service in self._services:
            service.close_link(peer, now)
        self._mesh.close_link(peer, now, has_left=has_left)
        self._messages = deque(item for item in self._messages if item[0] != peer)

    def receive_message(self, peer: PeerId, data: bytes | memoryview, now: float, wall: float) -> None:
        """One message from a neighbour; RemoteError when it breaks the rules. Ignored without a link."""
        if peer not in self._mesh:
            return
        is_greeted = self._mesh.is_greeted(peer)
        service = next((each for each in self._services if data and data[0] in each.types), None)
        if service is not None and is_greeted:
            messages.check_size(data)
            service.receive(peer, data, now, wall)
            return
        message = messages.decode(data)
        if not is_greeted and not isinstance(message, Hello):
            raise RemoteError("a member does not begin with its Hello")
        match message:
            case Hello() | Members() | Need() | Density():
                self._mesh.receive(peer, message, now)
            case Ask():
                if self._mesh.answer(peer, now):
                    self._messages.append((peer, self._exchange.status().encode()))
            case Status():
                self._mesh.answered(peer, now)
                self._exchange.receive(peer, message, now, wall)
            case _:
                self._exchange.receive(peer, message, now, wall)

    def measure(self, peer: PeerId, latency: float) -> None:
        """A round trip to this neighbour took so many seconds."""
        self._mesh.measure(peer, latency)

    def hold(self, peers: Iterable[PeerId], now: float) -> None:
        """Those that transfers need: dialed if they are not linked, and never let go. In the place of those of the
        last call."""
        self._mesh.hold(peers, now)

    # dialing

    def set_addresses(self, port: int, addresses: Iterable[Address], now: float) -> None:
        """Where this node listens: the port, and addresses of its interfaces, at most `MAX_ADDRESSES` of which are
        told. Neighbours are told of a change."""
        listed = tuple(addresses)
        self._mesh.set_addresses(port, listed)
        if self.providers is not None:
            self.providers.set_addresses(listed, now)

    def add_contact(self, contact: Contact, source: Source, now: float, *, age: float = math.inf) -> None:
        """Somebody who may be a member: from a ticket, mDNS, the user, or `remembered`, so many seconds ago."""
        self._membership.add_contact(contact, source, now, age=age)

    def withdraw_hint(self, address: Address, source: Source = Source.MDNS) -> None:
        """An announcement on the local network, or in the DHT, was withdrawn. Where somebody answered before stays
        known."""
        self._membership.dialer.withdraw_hint(address, source)

    def lost(self, now: float) -> list[PeerId]:
        """Members worth dialing of whom no address is known that has not failed."""
        return self._membership.lost(now)

    @property
    def target(self) -> int:
        """How many neighbours are wanted."""
        return self._membership.target

    def forget_address(self, address: Address) -> None:
        """No member is there: it is this node itself."""
        self._membership.dialer.forget_address(address)

    def candidates(self, now: float) -> list[Candidate]:
        """Whom to dial now; the driver tells `dial_succeeded`, `dial_failed` or `dial_called_off` of each address
        within 30 s.

        Where it has a session with that peer already there is nothing to dial: that is a success.
        """
        return self._mesh.candidates(now)

    def dial_succeeded(self, address: Address, peer: PeerId, now: float) -> None:
        """A session with `peer` opened at `address`, or there was one already; `open_link` follows its proof."""
        self._membership.dialer.dial_succeeded(address, peer, now)

    def dial_failed(self, address: Address, now: float, reason: str = "") -> None:
        """Nobody answered at `address`, or another peer than the candidate's, or this node itself."""
        self._membership.dial_failed(address, now, reason)

    def dial_called_off(self, address: Address, now: float) -> None:
        """`address` was not tried, or not to the end: another one led to the same peer first, or there was no room."""
        self._membership.dialer.dial_called_off(address, now)

    def addresses(self, peer: PeerId) -> tuple[Address, ...]:
        """Where a neighbour, or somebody who is dialed, is said to be; best first."""
        return self._membership.addresses(peer)

    def ended(self, now: float) -> list[Ended]:
        """Addresses that led to no member when they were tried last, and why: strangers first."""
        return self._membership.dialer.ended(now)

    # the catalogue

    def check_authorisation(self, authorisation: Authorisation, wall: float) -> None:
        """NotAllowed when it does not let this node publish here."""
        try:
            authorisation.verify(self.spec.authority, self.group_id)
        except RemoteError as error:
            raise NotAllowed(str(error)) from None
        if authorisation.peer_id != self._identity.peer_id:
            raise NotAllowed(
                f"this authorisation is for the node {authorisation.peer_id}, and this is {self._identity.peer_id}"
            )
        if not authorisation.is_valid_at(wall):
            raise NotAllowed("this authorisation has expired: ask for a new one")

    def set_authorisation(self, authorisation: Authorisation, wall: float) -> None:
        """What lets this node publish where that is restricted; NotAllowed when it does not hold here."""
        self.check_authorisation(authorisation, wall)
        self._authorisation = authorisation

    def may_publish(self, wall: float) -> bool:
        """Whether `publish` would be allowed, its bounds aside."""
        return self._catalogue.may_publish(self._identity.peer_id, self._authorisation, wall)

    def sign_share(self, share: Share, wall: float) -> Record:
        """A record that says that this node shares something, in the place of what it shared under that name.

        Nobody knows of it until it is given to `adopt`: the driver writes it down first. NotAllowed when the group or
        its bounds do not allow it.
        """
        return self._catalogue.sign_share(self._identity, share, self._authorisation, wall)

    def sign_tombstone(self, name: str, wall: float) -> Record:
        """The same for what this node no longer shares under that name; NotFound if it did not."""
        return self._catalogue.sign_tombstone(self._identity, name, self._authorisation, wall)

    def adopt(self, record: Record, now: float, wall: float) -> bool:
        """Take in what was signed, and tell everybody. False when a record as new has come meanwhile: sign it anew."""
        change = self._catalogue.adopt(record, wall)
        if change.outcome is not Outcome.ADDED:
            return False
        self._exchange.announce(record, change, now)
        return True

    def sign_correction(self, returned: OwnRecordReturned, wall: float) -> Record | None:
        """What is true where a record of our own came back, for `adopt`: we share what we had under that name until
        now, or nothing.

        What we did not know to be shared is not shared again, though it may still lie here: it may be a share that was
        removed long ago, kept by somebody until the tombstone had had its time.
        None when there is nothing to say, or it has been said `MAX_CORRECTIONS` times. NotAllowed as of `sign_share`.
        """
        previous, name = returned.previous, returned.record.share.name
        is_shared = previous is not None and not previous.is_tombstone
        if self.held(returned.record) != returned.record or (returned.record.is_tombstone and not is_shared):
            return None
        if self._corrected[name] >= MAX_CORRECTIONS or len(self._corrected) > MAX_CORRECTED:
            return None
        self._corrected[name] += 1
        if previous is not None and is_shared:
            return self.sign_share(previous.share, wall)
        return self.sign_tombstone(name, wall)

    def held(self, record: Record) -> Record | None:
        """The newest record of the same publisher and name, which may be this one."""
        return self._catalogue.find(*record.key)

    def shares(self) -> list[Record]:
        """Everything that is shared in the group, oldest first."""
        return self._catalogue.shares()

    def find_shares(self, *, name: str | None = None, content_id: ContentId | None = None) -> list[Record]:
        """The shares with that name, or that content, or both, newest first."""
        if name is None and content_id is None:
            raise InvalidArgument("find by a name or by a content ID")
        return self._catalogue.find_shares(name=name, content_id=content_id)[::-1]

    def own_shares(self) -> list[Record]:
        """What this node shares, oldest first."""
        return self._catalogue.shares_of(self._identity.peer_id)

    @property
    def catalogue(self) -> Catalogue:
        """To be looked at."""
        return self._catalogue

    def restore(self, records: Iterable[bytes], wall: float, heard_at: float | None = None) -> int:
        """Take in the records that RecordStored gave before a restart, and say how many could not be read. Their
        signatures are not verified again: the store is ours. May be called for one part after the other; heard_at: wall
        time when a member was last heard of, if that is known."""
        return self._exchange.restore(records, wall, heard_at)

    def verify_in_slices(self) -> None:
        """From now on the driver calls `work` while `has_work`; so a flood of records does not hold it up for long."""
        self._exchange.in_slices = True

    @property
    def has_work(self) -> bool:
        """Whether records wait to be verified."""
        return self._exchange.has_work

    def work(self, now: float, wall: float) -> None:
        """Take in some of them: 2 ms."""
        self._exchange.work(now, wall)

    # members

    @property
    def n_members(self) -> int:
        """Members known to be there, besides this node."""
        return self._membership.n_members

    @property
    def neighbours(self) -> frozenset[PeerId]:
        """The linked members."""
        return frozenset(self._mesh.links)

    @property
    def estimated_member_count(self) -> int:
        """How many members the group has, this node included: counted while it is small, reckoned when it is not."""
        return self._mesh.estimate

    @property
    def ring(self) -> Sequence[tuple[int, PeerId]]:
        """The neighbours and the numbers of their group addresses, in order."""
        return self._membership.linked.places

    def next_on_ring(self, *, is_up: bool) -> PeerId | None:
        """The neighbour with the next increasing or decreasing group address."""
        return self._mesh.next_on_ring(is_up=is_up)

    def neighbour_info(self, now: float) -> list[NeighbourInfo]:
        """Why each link is there, how quick and how old it is."""
        return self._mesh.neighbours(now)

    def members(self, now: float) -> list[MemberInfo]:
        """All that are there, neighbours first, then the freshest."""
        return self._membership.members(now)

    def remembered(self, now: float) -> list[tuple[Contact, float]]:
        """All members worth storing for the next start, with the seconds since each was heard of; infinity for one
        that a ticket or the user named and who never answered."""
        return self._membership.remembered(now)

    # the machine

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        """Messages for neighbours, in order for each."""
        sending = [*self._mesh.messages_to_send(), *self._messages, *self._exchange.messages_to_send()]
        self._messages.clear()
        for service in self._services:
            sending += service.messages_to_send()
        return sending

    def next_event(self) -> object | None:
        """One of `groups.events`, or of a service's own."""
        services = (service.next_event() for service in self._services)
        return self._mesh.next_event() or self._exchange.next_event() or next(filter(None, services), None)

    def next_deadline(self) -> float:
        """When `handle_timer` or `candidates` has something to do."""
        deadlines = [self._exchange.next_deadline(), *(service.next_deadline() for service in self._services)]
        soonest = min((deadline for deadline in deadlines if deadline is not None), default=math.inf)
        return min(soonest, self._expire_at, self._mesh.next_deadline())

    def handle_timer(self, now: float, wall: float) -> None:
        self._mesh.handle_timer(now)
        self._exchange.handle_timer(now)
        if self.providers is not None:
            self.providers.set_member_count(self._mesh.estimate, now)
        for service in self._services:
            service.handle_timer(now, wall)
        if now >= self._expire_at:
            has_more = self._exchange.expire(now, wall)
            self._expire_at = now + (EXPIRY_PAUSE if has_more else EXPIRY_PERIOD)
