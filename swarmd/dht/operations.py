"""What a node's commands do: a lookup, and then, for put and announce, the storing on the closest nodes found.

In: replies and failures. Out: queries, through `ask`; one last event for each operation, through `tell`. States:
looking, storing, done. An operation of a node with both families looks in each for itself (BEP 32).

What is put goes to the closest COPIES, and to more, up to MAX_COPIES, where more nodes are within `radius`, the
distance in which K are to be expected. There are where somebody has gathered nodes around the key: then all that are
in that distance are told, the honest ones among them.

Nothing that comes back is believed: items are verified against the target, and of several the highest seq counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.dht.contact import Contact
from swarmd.dht.events import Event, GetDone, NodesDone, PeersDone, PeersFound, PutDone
from swarmd.dht.items import Item, verified
from swarmd.dht.krpc import Failure, Method, Query, Reply
from swarmd.dht.lookup import Lookup
from swarmd.dht.questions import Asker
from swarmd.dht.table import K

MAX_FOUND_PEERS = 1_000
"""Of one search: more than anybody connects to."""

COPIES = 12
"""Kademlia's K is for nodes that leave. A fifth of the addresses, each with eight places, can have two nodes for every
honest one near a key: none of 8 is honest for 4 keys in 100 then, of 12 for less than one."""
MAX_COPIES = 3 * K
"""As many as three paths find."""

Ask: TypeAlias = Callable[[Query, Contact, Asker, float], bool]
Tell: TypeAlias = Callable[[Event], None]


class Kind(Enum):
    GET = "get"
    PUT = "put"
    PEERS = "peers"
    ANNOUNCE = "announce"
    NODES = "nodes"


_METHODS = {Kind.GET: Method.GET, Kind.PUT: Method.GET, Kind.PEERS: Method.GET_PEERS, Kind.ANNOUNCE: Method.GET_PEERS}


@dataclass(frozen=True, slots=True)
class Order:
    """What to do. `port` 0 announces the one that others see."""

    kind: Kind
    target: bytes
    salt: bytes = b""
    item: Item | None = None
    cas: int | None = None
    port: int = 0
    age: int = 0
    seq: int | None = None
    """Of get: only what is newer."""


@dataclass(slots=True)
class Outcome:
    best: Item | None = None
    peers: dict[Address, None] = field(default_factory=dict)
    tokens: dict[Contact, bytes] = field(default_factory=dict)
    holders: set[Contact] = field(default_factory=set)
    """Those that had the item, or a newer one."""
    n_copies: int = 0
    n_storing: int = 0


class Operation:
    """One command under way; it is its own lookups' `Asker`."""

    def __init__(self, number: int, order: Order, radius: int, lookups: list[Lookup], ask: Ask, tell: Tell) -> None:
        self.number = number
        self.order = order
        self.is_done = False
        self._radius = radius
        self._lookups = lookups
        self._ask = ask
        self._tell = tell
        self._outcome = Outcome()
        self._storing = _Storing(self)
        self._is_looking = True

    def seed(self, item: Item | None, peers: tuple[Address, ...]) -> None:
        """What we hold ourselves, before it begins."""
        self._outcome.best = item
        self._take_peers(peers)

    @property
    def rounds(self) -> int:
        return max((lookup.rounds for lookup in self._lookups), default=0)

    def go_on(self, now: float) -> None:
        """Ask whom there is to ask; to be called once, to begin."""
        if self._has_all:
            self._finish()
            return
        for lookup in self._lookups:
            while (picked := lookup.pick_next()) and not self._any_asked(lookup, picked, now):
                pass  # none could be sent, so each has failed and there are fewer
        if self._is_looking and all(lookup.is_done for lookup in self._lookups):
            self._finish_looking(now)

    def replied(self, contact: Contact, reply: Reply, now: float) -> None:
        lookup = self._lookup_of(contact)
        lookup.replied(contact, [named for named in reply.contacts if named.is_ipv6 == contact.is_ipv6])
        if self.is_done:
            return
        if reply.token:
            self._outcome.tokens[contact] = reply.token
        self._take_peers(reply.peers)
        if reply.item is not None or reply.seq is not None:
            self._outcome.holders.add(contact)
        if reply.item is not None:
            self._take_item(reply.item)
        self.go_on(now)

    def slow(self, contact: Contact, now: float) -> None:
        self._lookup_of(contact).slow(contact)
        if not self.is_done:
            self.go_on(now)

    def failed(self, contact: Contact, failure: Failure | None, now: float) -> None:
        self._lookup_of(contact).failed(contact)
        if not self.is_done:
            self.go_on(now)

    def stored(self, is_kept: bool) -> None:
        """One of the nodes that were to keep it has answered, or not."""
        self._outcome.n_storing -= 1
        self._outcome.n_copies += is_kept
        if not self._outcome.n_storing:
            self._finish()

    @property
    def _has_all(self) -> bool:
        best = self._outcome.best
        return self.order.kind is Kind.GET and best is not None and not best.is_mutable

    def _any_asked(self, lookup: Lookup, picked: list[Contact], now: float) -> bool:
        refused = [contact for contact in picked if not self._ask(self._question(), contact, self, now)]
        for contact in refused:
            lookup.failed(contact)
        return len(refused) < len(picked)

    def _question(self) -> Query:
        method = _METHODS.get(self.order.kind, Method.FIND_NODE)
        return Query(method, b"", self.order.target, seq=self.order.seq)

    def _lookup_of(self, contact: Contact) -> Lookup:
        return next(lookup for lookup in self._lookups if lookup.has_asked(contact))

    def _take_peers(self, peers: tuple[Address, ...]) -> None:
        room = MAX_FOUND_PEERS - len(self._outcome.peers)
        fresh = tuple(dict.fromkeys(peer for peer in peers if peer not in self._outcome.peers))[:room]
        self._outcome.peers |= dict.fromkeys(fresh)
        if fresh and self.order.kind in (Kind.PEERS, Kind.ANNOUNCE):
            self._tell(PeersFound(self.number, self.order.target, fresh))

    def _take_item(self, found: Item) -> None:
        item = Item(found.encoded, found.key, self.order.salt if found.key else b"", found.seq, found.signature)
        try:
            verified(item, self.order.target)
        except RemoteError:
            return
        if self._outcome.best is None or item.seq > self._outcome.best.seq:
            self._outcome.best = item

    def _finish_looking(self, now: float) -> None:
        self._is_looking = False
        order, outcome = self.order, self._outcome
        if order.kind not in (Kind.PUT, Kind.ANNOUNCE) or (order.kind is Kind.PUT and self._is_outdone()):
            self._finish()
            return
        method = Method.PUT if order.kind is Kind.PUT else Method.ANNOUNCE
        for lookup in self._lookups:
            willing = [near for near in lookup.closest(2 * MAX_COPIES) if near in outcome.tokens]
            for contact in willing[: self._n_near(lookup)]:
                if self._ask(self._storing_query(method, contact), contact, self._storing, now):
                    outcome.n_storing += 1
        if not outcome.n_storing:
            self._finish()

    def _storing_query(self, method: Method, contact: Contact) -> Query:
        """`cas` is for those that have something to compare with (BEP 44)."""
        order, outcome = self.order, self._outcome
        token, cas = outcome.tokens[contact], order.cas if contact in outcome.holders else None
        return Query(method, b"", order.target, None, token, order.port, order.item, cas, age=order.age)

    def _n_near(self, lookup: Lookup) -> int:
        return min(MAX_COPIES, max(COPIES, lookup.n_within(self._radius)))

    def _is_outdone(self) -> bool:
        best, item = self._outcome.best, self.order.item
        if best is None or item is None or not item.is_mutable:
            return False
        return best.seq > item.seq or (self.order.cas is not None and best.seq not in (self.order.cas, item.seq))

    def _finish(self) -> None:
        self.is_done = True
        order, outcome = self.order, self._outcome
        if order.kind is Kind.GET:
            self._tell(GetDone(self.number, order.target, outcome.best, self.rounds))
        elif order.kind is Kind.PUT:
            newer = outcome.best if self._is_outdone() else None
            self._tell(PutDone(self.number, order.target, outcome.n_copies, newer))
        elif order.kind is Kind.NODES:
            found = tuple(
                contact.node_id for lookup in self._lookups for contact in lookup.closest(self._n_near(lookup))
            )
            self._tell(NodesDone(self.number, order.target, found, self.rounds))
        else:
            done = PeersDone(self.number, order.target, len(outcome.peers), outcome.n_copies, self.rounds)
            self._tell(done)


class _Storing:
    """The `Asker` of the second half."""

    __slots__ = ("_operation",)

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def replied(self, contact: Contact, reply: Reply, now: float) -> None:
        self._operation.stored(True)

    def slow(self, contact: Contact, now: float) -> None: ...

    def failed(self, contact: Contact, failure: Failure | None, now: float) -> None:
        self._operation.stored(False)
