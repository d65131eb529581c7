"""One group as one of its members runs it: membership and catalogue over the links with its neighbours.

The driver owns sessions and sockets. It tells of each session on which both sides have proved that they are
members (`groups.join`): that is a *link*. It passes messages both ways, and after every call asks for
`messages_to_send`, `next_event`, `candidates` and `next_deadline`.

In: links, messages, results of dialing, what this node publishes, time. Out: messages, events
(`groups.events`), candidates to dial.

On a link each side first sends its Hello, its Status and all the members it knows. Then:
- a new neighbour is told to all others within `PUSH_DELAY`;
- every `GOSSIP_PERIOD` one neighbour, taken at random, is asked for all the members it knows, with how fresh each
  is, and for its Status (asking spreads the last bit of news faster than telling, at the same cost);
- the catalogue goes its own ways (`groups.exchange`).

Invariant: a RemoteError out of `receive_message` is the sender's fault, and nothing that came from others is
disturbed; the driver closes that session, which ends in `close_link`. What the group keeps and queues for each
neighbour is bounded. Queued messages are bounded by the sizes of tables and by what one input may cause.

Not here: sessions, proofs, disks. Nothing is kept across a restart but what the driver stores (RecordStored and
RecordDropped, `remembered`) and gives back (`restore`, `add_contact`).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument, NotAllowed, RemoteError
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.groups import messages
from swarmd.groups.authorisation import Authorisation
from swarmd.groups.catalogue import Catalogue, Outcome
from swarmd.groups.contacts import MAX_ADDRESSES, Contact
from swarmd.groups.dialer import Candidate, Ended, Source
from swarmd.groups.events import AddressObserved, Event, OwnRecordReturned
from swarmd.groups.exchange import Exchange
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.membership import MemberInfo, Membership
from swarmd.groups.messages import Ask, Hello, Members
from swarmd.groups.records import Record, Share
from swarmd.identity.identity import Identity

GOSSIP_PERIOD = 10.0
"""Seconds, give or take a tenth (Flash: 10)."""
GOSSIP_SPREAD = 0.1
PUSH_DELAY = 0.05
"""Seconds: many who join at once are told of together."""
ASK_PERIOD = GOSSIP_PERIOD / 2
"""Seconds between two answers to the same neighbour. Questions leave nearly twice that, but may come together after a
hold-up on the way: no fault, and one answer will do."""
MAX_ANSWERS = 16
"""In one `GOSSIP_PERIOD`: on average one comes, many more where most of the group is linked with one member. Who
gets no answer asks somebody else the next time."""
EXPIRY_PERIOD = 600.0
"""Seconds between looks for records that have had their time."""
MAX_CORRECTIONS = 3
"""Of what comes back under one name. The first one ends it, unless two nodes have this identity and disagree: then each
would correct the other for ever."""
MAX_CORRECTED = 4096
"""Names under which something has come back, in one run: all that a node can share and have removed."""
MAX_LINKS = 1024
"""Neighbours at once; the driver's sessions are usually fewer. Beyond it a link is not taken."""


@dataclass(slots=True)
class _Link:
    """A neighbour."""

    address: Address | None
    """Where we see it."""
    is_greeted: bool = False
    """Its Hello has come."""
    asked_at: float = -math.inf


class Group:
    """One group. `identity` is this node's; `rng` only spreads load and decides nothing that must be secret.

    The one face towards the driver: many of its methods only hand on to the part that knows.
    """

    def __init__(self, spec: GroupSpec, identity: Identity, rng: Rng, now: float) -> None:
        self.spec = spec
        self._identity = identity
        self._rng = rng
        self._catalogue = Catalogue(spec)
        self._exchange = Exchange(identity.peer_id, self._catalogue)
        self._membership = Membership(identity.peer_id, rng, now)
        self._links: dict[PeerId, _Link] = {}
        self._authorisation: Authorisation | None = None
        self._port = 0
        self._addresses: tuple[Address, ...] = ()
        self._fresh: dict[PeerId, None] = {}
        self._messages: deque[tuple[PeerId, bytes]] = deque()
        self._events: deque[Event] = deque()
        self._n_answers = 0
        self._corrected: Counter[str] = Counter()
        self._push_at: float | None = None
        self._gossip_at = now + self._gossip_period()
        self._expire_at = now + EXPIRY_PERIOD

    @property
    def group_id(self) -> GroupId:
        return self.spec.group_id

    # links

    def open_link(self, peer: PeerId, address: Address | None, now: float) -> bool:
        """`peer` is a neighbour: both sides have proved themselves on a session that leads to `address`.

        False when there are `MAX_LINKS` already: then there is no link.
        """
        if peer in self._links or len(self._links) >= MAX_LINKS:
            return peer in self._links
        self._links[peer] = _Link(address if address is not None and address.is_dialable else None)
        self._membership.open_link(peer, address, now)
        self._say(peer, self._hello(peer))
        for report in self._membership.report(peer, now):
            self._say(peer, report)
        self._exchange.open_link(peer, now)
        return True

    def close_link(self, peer: PeerId, now: float, *, has_left: bool = False) -> None:
        """The session is gone, or (`has_left`) the peer left the group. Nothing happens without a link."""
        if self._links.pop(peer, None) is None:
            return
        self._fresh.pop(peer, None)
        self._exchange.close_link(peer, now)
        self._membership.close_link(peer, now, has_left=has_left)
        self._messages = deque(item for item in self._messages if item[0] != peer)

    def receive_message(self, peer: PeerId, data: bytes | memoryview, now: float, wall: float) -> None:
        """One message from a neighbour; RemoteError when it breaks the rules. Ignored without a link."""
        if (link := self._links.get(peer)) is None:
            return
        message = messages.decode(data)
        if not link.is_greeted and not isinstance(message, Hello):
            raise RemoteError("a member does not begin with its Hello")
        match message:
            case Hello():
                self._receive_hello(peer, link, message, now)
            case Members():
                self._membership.receive_gossip(peer, message.entries, now)
            case Ask():
                self._answer(peer, link, now)
            case _:
                self._exchange.receive(peer, message, now, wall)

    # dialing

    def set_addresses(self, port: int, addresses: Iterable[Address], now: float) -> None:
        """Where this node listens: the port, and addresses of its interfaces, at most `MAX_ADDRESSES` of which are
        told. Neighbours are told of a change."""
        dialable = tuple(address for address in addresses if address.is_dialable)
        self._membership.set_own_addresses(dialable)
        if (port, dialable[:MAX_ADDRESSES]) == (self._port, self._addresses):
            return
        self._port, self._addresses = port, dialable[:MAX_ADDRESSES]
        for peer in self._links:
            self._say(peer, self._hello(peer))

    def add_contact(self, contact: Contact, source: Source, now: float, *, age: float = math.inf) -> None:
        """Somebody who may be a member: from a ticket, mDNS, the user, or `remembered`, so many seconds ago."""
        self._membership.add_contact(contact, source, now, age=age)

    def withdraw_hint(self, address: Address) -> None:
        """An announcement on the local network was withdrawn. Where somebody answered before stays known."""
        self._membership.withdraw_hint(address)

    def forget_address(self, address: Address) -> None:
        """No member is there: it is this node itself."""
        self._membership.forget_address(address)

    def candidates(self, now: float) -> list[Candidate]:
        """Whom to dial now; the driver tells `dial_succeeded` or `dial_failed` of each within 30 s.

        Where it has a session with that peer already there is nothing to dial: that is a success.
        """
        return self._membership.candidates(now)

    def dial_succeeded(self, address: Address, peer: PeerId, now: float) -> None:
        """A session with `peer` opened at `address`, or there was one already; `open_link` follows its proof."""
        self._membership.dial_succeeded(address, peer, now)

    def dial_failed(self, address: Address, now: float, reason: str = "") -> None:
        """Nobody answered at `address`, or another peer than the candidate's, or this node itself."""
        self._membership.dial_failed(address, now, reason)

    def ended(self, now: float) -> list[Ended]:
        """Addresses that led to no member when they were tried last, and why: strangers first."""
        return self._membership.ended(now)

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
        return [
            record
            for record in reversed(self._catalogue.shares())
            if name in (None, record.share.name) and content_id in (None, record.share.content_id)
        ]

    def restore(self, records: Iterable[bytes], wall: float) -> int:
        """Take in the records that RecordStored gave before a restart, and say how many could not be read. Their
        signatures are not verified again: the store is ours."""
        decoded, n_damaged = [], 0
        for data in records:
            try:
                decoded.append(self._catalogue.decode(data))
            except RemoteError:
                n_damaged += 1
        self._exchange.restore(decoded, wall)
        return n_damaged

    # members

    @property
    def n_members(self) -> int:
        """Members known to be there, besides this node."""
        return self._membership.n_members

    @property
    def neighbours(self) -> frozenset[PeerId]:
        """The linked members."""
        return frozenset(self._links)

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
        sending = [*self._messages, *self._exchange.messages_to_send()]
        self._messages.clear()
        return sending

    def next_event(self) -> Event | None:
        if self._events:
            return self._events.popleft()
        return self._membership.next_event() or self._exchange.next_event()

    def next_deadline(self) -> float:
        """When `handle_timer` or `candidates` has something to do."""
        deadlines = (self._push_at, self._exchange.next_deadline())
        soonest = min((deadline for deadline in deadlines if deadline is not None), default=self._gossip_at)
        return min(soonest, self._gossip_at, self._expire_at, self._membership.next_deadline())

    def handle_timer(self, now: float, wall: float) -> None:
        self._membership.handle_timer(now)
        self._exchange.handle_timer(now)
        if self._push_at is not None and now >= self._push_at:
            self._push(now)
        if now >= self._gossip_at:
            self._gossip(now)
        if now >= self._expire_at:
            self._expire_at = now + EXPIRY_PERIOD
            self._exchange.expire(now, wall)

    def _receive_hello(self, peer: PeerId, link: _Link, hello: Hello, now: float) -> None:
        self._membership.receive_hello(peer, hello.port, hello.addresses, now)
        if not link.is_greeted:
            link.is_greeted = True
            self._fresh[peer] = None
            self._push_at = now + PUSH_DELAY if self._push_at is None else self._push_at
        if hello.seen is not None:
            self._events.append(AddressObserved(peer, hello.seen))

    def _hello(self, peer: PeerId) -> Hello:
        return Hello(self._port, self._addresses, self._links[peer].address)

    def _push(self, now: float) -> None:
        """Tell each neighbour of the other ones that are new."""
        self._push_at = None
        entries = {peer: self._membership.entry(peer, now) for peer in self._fresh}
        self._fresh.clear()
        for receiver in self._links:
            others = tuple(entry for peer, entry in entries.items() if peer != receiver)
            for start in range(0, len(others), messages.ENTRIES_PER_MESSAGE):
                self._say(receiver, Members(others[start : start + messages.ENTRIES_PER_MESSAGE]))

    def _gossip(self, now: float) -> None:
        """Ask one neighbour for everything."""
        self._gossip_at = now + self._gossip_period()
        self._n_answers = 0
        if greeted := [peer for peer, link in self._links.items() if link.is_greeted]:
            self._say(self._rng.choice(greeted), Ask())

    def _answer(self, peer: PeerId, link: _Link, now: float) -> None:
        if now < link.asked_at + ASK_PERIOD or self._n_answers >= MAX_ANSWERS:
            return
        link.asked_at = now
        self._n_answers += 1
        for report in self._membership.report(peer, now):
            self._say(peer, report)
        self._say(peer, self._exchange.status())

    def _gossip_period(self) -> float:
        return GOSSIP_PERIOD * (1 + GOSSIP_SPREAD * (2 * self._rng.random() - 1))

    def _say(self, peer: PeerId, message: messages.Message) -> None:
        self._messages.append((peer, message.encode()))
