"""A DHT node, sans-IO: Mainline's protocol, on a private network (with a key) or the public one.

In: datagrams, time, and commands, each of which returns the number that its events carry. Out: datagrams, events, the
next deadline. `state(now)` is what a restart should be given again; `take_new_items` what must not wait for that.

Invariant: all that can grow is bounded: tables (`table`), what is kept for others (`storage`, `announcements`),
questions (`questions`), answers that wait (`responder`), operations and events here. Any bytes: an answer, an error
reply, or silence.

Not here: sockets, names, saving (the owner's), what is stored (`items`), how a lookup goes (`lookup`, `operations`),
what may be sent to whom (`responder`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from swarmd.core.addresses import Address
from swarmd.core.errors import Conflict, RemoteError
from swarmd.core.rng import Rng
from swarmd.dht import krpc
from swarmd.dht.announcements import Announcements, PeerBounds
from swarmd.dht.clocks import Clocks
from swarmd.dht.contact import ID_BYTES, Contact, is_bound
from swarmd.dht.events import Event, NodesDone
from swarmd.dht.identities import Identities
from swarmd.dht.items import Item, mutable_target
from swarmd.dht.krpc import Failure, Method, Query, Reply, Unanswerable
from swarmd.dht.limits import Limits, Rates
from swarmd.dht.lookup import PATHS, Lookup
from swarmd.dht.operations import Kind, Operation, Order
from swarmd.dht.questions import Asker, Question, Questions
from swarmd.dht.responder import Responder
from swarmd.dht.server import Server
from swarmd.dht.sightings import Sightings
from swarmd.dht.state import SavedItem, State
from swarmd.dht.storage import Bounds, Storage, Stored
from swarmd.dht.table import K, Table
from swarmd.dht.tokens import Tokens
from swarmd.dht.upkeep import Pinger, Upkeep

MAX_OPERATIONS = 256
"""Under way at once, our own and the upkeep's; each has up to six questions open."""
MAX_EVENTS = 10_000
"""An owner that fetches none loses the oldest."""
MAX_ASKERS = 256
"""Hosts that have asked, remembered until the owner fetches them."""
MAX_CHECKS = 200
"""Questions open beyond which no stranger is pinged to see whether it is worth knowing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`network_key` makes it a private network. `is_public` is Mainline's: a host has one place in a table there."""

    network_key: bytes | None = None
    is_public: bool = False
    is_read_only: bool = False
    """BEP 43: nobody can reach us, so nobody should try. `Node.set_read_only` changes it."""
    has_ipv6: bool = False
    bounds: Bounds = field(default_factory=Bounds)
    peer_bounds: PeerBounds = field(default_factory=PeerBounds)
    rates: Rates = field(default_factory=Rates)
    n_paths: int = PATHS

    @property
    def is_bound(self) -> bool:
        """Whether IDs have to fit their addresses (BEP 42): on every network but one that is open for tests."""
        return self.is_public or self.network_key is not None


@dataclass(frozen=True, slots=True)
class Status:
    node_id: bytes
    n_nodes: int
    n_items: int
    n_item_bytes: int
    n_info_hashes: int
    n_questions: int
    n_operations: int
    seen_as: Address | None
    counts: dict[str, int]
    is_read_only: bool


class Node:
    def __init__(self, settings: Settings, rng: Rng, now: float, state: State | None = None) -> None:
        self.settings = settings
        self._rng = rng
        state = state or State(rng.bytes(ID_BYTES))
        ids = {False: state.node_id, True: state.node_id_ipv6 or state.node_id}
        families = (False, True) if settings.has_ipv6 else (False,)
        self._tables = {
            ipv6: Table(ids[ipv6], is_bound=settings.is_bound, is_public=settings.is_public) for ipv6 in families
        }
        self._storage = Storage(settings.bounds)
        self._announcements = Announcements(settings.peer_bounds)
        self._clocks = Clocks()
        server = Server(self._tables, self._storage, self._announcements, Tokens(rng, now), self._clocks, rng)
        limits = Limits(settings.rates, now, is_counting_bytes=settings.is_public)
        self._responder = Responder(self, server, limits, settings.network_key, is_mute=settings.is_read_only)
        self._is_read_only = settings.is_read_only
        self._askers: set[str] = set()
        self._questions = Questions(rng)
        self._operations: dict[int, Operation] = {}
        self._n_operations = 0
        self._out: list[tuple[bytes, Address]] = []
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._pinger = Pinger()
        self._sightings = Sightings()
        self._identities = Identities()
        self._placed: set[bool] = set()
        """Families for which somebody has told us our address since the start."""
        self._upkeep = Upkeep(self, rng, now)
        self._upkeep.known |= dict.fromkeys(state.contacts)
        self._storage.restore(state.items, now)
        self._announcements.restore(state.peers, now)

    @property
    def node_id(self) -> bytes:
        """That of IPv4."""
        return self._tables[False].own_id

    # What goes in and out.

    def receive_datagram(self, data: bytes, address: Address, now: float) -> bool:
        """False: it is no message that this node could read, and may be another protocol's.

        Of a network that has used up its rate nothing is read but what may be an answer to us; the rest is dropped."""
        if not self._responder.may_read(address, now) and not self._questions.is_waiting_for(address):
            self._responder.counts["unanswered"] += 1
            return True
        try:
            message = krpc.decode(data, self.settings.network_key)
        except Unanswerable as error:
            self._responder.counts["bad"] += 1
            self._responder.refuse(error.failure, len(data), address, now)
            return True
        except RemoteError:
            self._responder.wasted("bad", address, now)
            return False
        if isinstance(message, Query):
            if len(self._askers) < MAX_ASKERS:
                self._askers.add(address.host)
            self._responder.receive(message, len(data), address, now)
        else:
            self._receive_answer(message, address, now)
        return True

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        deadline = self._questions.next_deadline
        return self._upkeep.next_at if deadline is None else min(deadline, self._upkeep.next_at)

    def handle_timer(self, now: float) -> None:
        for question in self._questions.late(now):
            self.send(question.data, question.address)
            if question.contact is not None:
                question.asker.slow(question.contact, now)
        for question in self._questions.overdue(now):
            self._fail(question, None, now)
        if now >= self._upkeep.next_at:
            self._storage.expire(now)
            self._announcements.expire(now)
            self._responder.expire(now)
            self._upkeep.work(now)

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    # Commands.

    def bootstrap(self, addresses: Iterable[Address], now: float) -> None:
        """Begin with these, and come back to them whenever nobody else is left."""
        self._upkeep.bootstrap(list(addresses), now)

    def get(self, target: bytes, now: float, *, salt: bytes = b"") -> int:
        """An item: `GetDone`. The salt is needed to check a mutable one."""
        return self._start(Order(Kind.GET, target, salt=salt), now)

    def get_mutable(self, key: bytes, now: float, *, salt: bytes = b"") -> int:
        return self.get(mutable_target(key, salt), now, salt=salt)

    def put(self, item: Item, now: float, *, cas: int | None = None) -> int:
        """`PutDone`. To be done again every hour (`publish` does): nodes forget after two."""
        return self._start(Order(Kind.PUT, item.target, item.salt, item, cas), now)

    def publish(self, item: Item, now: float) -> int:
        """Put it now and once an hour, until a later one of the same target takes its place. Conflict: too many."""
        self._upkeep.publish(item, now)
        return self.put(item, now)

    def keep(self, item: Item, now: float, *, put_at: float) -> None:
        """As `publish`, of an item that was put at `put_at` already, or whose first time may wait."""
        self._upkeep.publish(item, now, put_at=put_at)

    def unpublish(self, target: bytes) -> None:
        self._upkeep.unpublish(target)

    def get_peers(self, info_hash: bytes, now: float) -> int:
        """`PeersFound` as they come, then `PeersDone`."""
        return self._start(Order(Kind.PEERS, info_hash), now)

    def announce(self, info_hash: bytes, now: float, *, port: int = 0) -> int:
        """The same, and this node becomes one of them, at `port` or the one that others see."""
        return self._start(Order(Kind.ANNOUNCE, info_hash, port=port), now)

    def find_nodes(self, target: bytes, now: float) -> int:
        """`NodesDone`."""
        return self._start(Order(Kind.NODES, target), now)

    def set_read_only(self, is_read_only: bool) -> None:
        """BEP 43: from now on, ask as one that nobody can reach, and answer nobody; or take part again."""
        self._is_read_only = self._responder.is_mute = is_read_only

    def set_clock(self, wall: float, now: float) -> None:
        """The time here, as the nodes of a private network tell each other. To be told now and then: it may be set."""
        if self.is_private():
            self._clocks.set(wall, now)

    def clock_ahead(self, now: float) -> float | None:
        """Seconds by which it is ahead of the others'; None where that is not known."""
        return self._clocks.ahead(now)

    def take_askers(self) -> set[str]:
        """The hosts from which questions of this network have come since the last call; the first MAX_ASKERS."""
        askers, self._askers = self._askers, set()
        return askers

    def state(self, now: float) -> State:
        contacts = tuple(contact for table in self._tables.values() for contact in table.contacts())
        items, peers = self._storage.saved(now), self._announcements.saved(now)
        other_id = self._tables[True].own_id if True in self._tables else b""
        return State(self.node_id, contacts, items, peers, other_id)

    @property
    def has_new_items(self) -> bool:
        return self._storage.has_new

    def take_new_items(self, limit: int, now: float) -> tuple[SavedItem, ...]:
        """Items that others have put here since the last call, as `state` has them: for who cannot wait for all."""
        return self._storage.take_new(limit, now)

    def status(self) -> Status:
        return Status(
            self.node_id,
            sum(map(len, self._tables.values())),
            len(self._storage),
            self._storage.n_bytes,
            len(self._announcements.info_hashes),
            len(self._questions),
            len(self._operations),
            self._sightings.address(ipv6=False) or self._sightings.address(ipv6=True),
            dict(self._responder.counts),
            self._is_read_only,
        )

    # For `upkeep`.

    @property
    def tables(self) -> dict[bool, Table]:
        return self._tables

    @property
    def n_running(self) -> int:
        return len(self._operations)

    def is_private(self) -> bool:
        return self.settings.network_key is not None

    def stored(self) -> list[Stored]:
        return self._storage.items()

    def id_at(self, address: Address) -> bytes:
        """Ours, for somebody there: each family has its own, since an ID is bound to an address."""
        table = self._tables.get(address.is_ipv6)
        return self.node_id if table is None else table.own_id

    def ask(self, query: Query, contact: Contact, asker: Asker, now: float, *, is_once: bool = False) -> bool:
        """False when it cannot be, or should not: too many wait, or BEP 42 says that the ID is false."""
        address = contact.address
        if self._questions.is_full or contact.is_ipv6 not in self._tables or not address.is_dialable:
            return False
        if self.settings.is_bound and contact.node_id and not is_bound(contact.node_id, address.host):
            return False
        if contact.node_id and not self._identities.is_credible(contact, now):
            return False
        question = self._questions.add(address, contact if contact.node_id else None, asker, now, is_once=is_once)
        query = query.sent(self._tables[contact.is_ipv6].own_id, question.transaction, self._is_read_only)
        question.data = krpc.encode(query, self.settings.network_key)
        self.send(question.data, address)
        return True

    def run(self, order: Order, now: float, *, n_paths: int | None = None, is_silent: bool = False) -> int:
        """Like a command; a silent one has no events."""
        if len(self._operations) >= MAX_OPERATIONS:
            raise Conflict(f"{MAX_OPERATIONS} searches of the DHT are under way; try again when one has ended")
        self._n_operations += 1
        number = self._n_operations
        lookups = []
        for table in self._tables.values():
            table.used(order.target, now)
            start = table.closest(order.target, 3 * K)
            lookups.append(Lookup(order.target, start, table.own_id, n_paths=n_paths or self.settings.n_paths))

        def tell(event: Event) -> None:
            self._operation_told(number, event, is_silent)

        radius = max(table.radius() for table in self._tables.values())
        operation = Operation(number, order, radius, lookups, self.ask, tell)
        self._operations[number] = operation
        operation.seed(self._storage.item(order.target, now), tuple(self._announcements.peers(order.target, now)))
        operation.go_on(now)
        return number

    def tell(self, event: Event) -> None:
        self._events.append(event)

    def take_new_id(self, now: float) -> None:
        """BEP 42: an ID that fits the address which most others say we have."""
        for ipv6, table in self._tables.items():
            if not self.settings.is_bound or self._sightings.address(ipv6=ipv6) is None:
                continue
            self._placed.add(ipv6)
            own_id = self._sightings.fitting_id(table.own_id, self._rng, ipv6=ipv6)
            if own_id != table.own_id:
                self._tables[ipv6] = table.moved(own_id, now)
                self._upkeep.begin(now)

    # For `responder`.

    @property
    def may_check(self) -> bool:
        return len(self._questions) < MAX_CHECKS

    def send(self, data: bytes, address: Address) -> None:
        self._out.append((data, address))

    def is_worth_knowing(self, contact: Contact) -> bool:
        table = self._tables.get(contact.is_ipv6)
        return table is not None and table.has_room(contact)

    def check(self, contact: Contact, now: float) -> None:
        self.ask(Query(Method.PING, self.node_id), contact, self._pinger, now, is_once=True)

    # What happens inside.

    def _start(self, order: Order, now: float) -> int:
        return self.run(order, now)

    def _operation_told(self, number: int, event: Event, is_silent: bool) -> None:
        operation = self._operations[number]
        if operation.is_done:
            del self._operations[number]
            if is_silent and isinstance(event, NodesDone):
                self._upkeep.refreshed()
        if not is_silent:
            self._events.append(event)

    def _receive_answer(self, answer: Reply | Failure, address: Address, now: float) -> None:
        question = self._questions.take(answer.transaction, address)
        if question is None:
            self._responder.wasted("unasked", address, now)
            return
        self._responder.proved(address, now)
        if isinstance(answer, Failure):
            self._take_sighting(question, answer.seen_as, now)
            self._fail(question, answer, now)
        elif question.contact is not None and question.contact.node_id != answer.sender:
            self._fail(question, None, now)
        else:
            self._accept(question, answer, now)

    def _accept(self, question: Question, reply: Reply, now: float) -> None:
        contact = question.contact or Contact(reply.sender, question.address)
        self._identities.heard(contact, now)
        self._tables[contact.is_ipv6].answered(contact, now)
        self._take_sighting(question, reply.seen_as, now)
        if reply.clock is not None:
            self._clocks.heard(question.address, reply.clock, now)
        question.asker.replied(contact, reply, now)

    def _take_sighting(self, question: Question, seen_as: Address | None, now: float) -> None:
        """BEP 42: who answers, if only with an error, says where we are."""
        if seen_as is not None:
            self._sightings.heard(question.address, seen_as, now)
            if question.address.is_ipv6 not in self._placed:
                self.take_new_id(now)

    def _fail(self, question: Question, failure: Failure | None, now: float) -> None:
        contact = question.contact or Contact(bytes(ID_BYTES), question.address)
        if failure is None:
            self._tables[contact.is_ipv6].failed(contact)
        question.asker.failed(contact, failure, now)
