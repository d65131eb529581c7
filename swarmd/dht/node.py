"""A DHT node, sans-IO: Mainline's protocol, on a private network (with a key) or the public one.

In: datagrams, time, and commands, each of which returns the number that its events carry. Out: datagrams, events, the
next deadline. `state()` is what a restart should be given again.

What it promises the network: no more than `limits.GROWTH` times the bytes of a question go to an address that has
not proved itself. An answer that would be larger is held back while that address is pinged, and goes when it answers.

Invariant: all that can grow is bounded: tables (`table`), storage (`storage`), questions (`questions`), operations,
held answers and events here. Any bytes: an answer, an error reply, or silence.

Not here: sockets, names, saving (the owner's), what is stored (`items`), how a lookup goes (`lookup`, `operations`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from swarmd.core.addresses import Address
from swarmd.core.errors import Conflict, RemoteError
from swarmd.core.rng import Rng
from swarmd.dht import krpc
from swarmd.dht.contact import ID_BYTES, Contact, bound_id, is_bound
from swarmd.dht.events import Event, NodesDone
from swarmd.dht.items import Item, mutable_target
from swarmd.dht.krpc import Failure, Method, Query, Reply, Unanswerable
from swarmd.dht.limits import GROWTH, Limits, Rates
from swarmd.dht.lookup import PATHS, Lookup
from swarmd.dht.operations import Kind, Operation, Order
from swarmd.dht.questions import Asker, Question, Questions
from swarmd.dht.server import Server, fitted
from swarmd.dht.storage import Bounds, Storage, Stored
from swarmd.dht.table import K, Table
from swarmd.dht.tokens import Tokens
from swarmd.dht.upkeep import Pinger, Upkeep

MAX_OPERATIONS = 256
"""Under way at once, our own and the upkeep's; each has up to six questions open."""
MAX_HELD = 256
"""Answers that wait for their asker's proof: 500 KiB."""
HELD_PERIOD = 5.0
MAX_EVENTS = 10_000
"""An owner that fetches none loses the oldest."""
MAX_CHECKS = 200
"""Questions open beyond which no stranger is pinged to see whether it is worth knowing."""
_UNLIMITED = krpc.MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class Settings:
    """`network_key` makes it a private network; without it `is_public` enforces BEP 42."""

    network_key: bytes | None = None
    is_public: bool = False
    is_read_only: bool = False
    """BEP 43: nobody can reach us, so nobody should try."""
    has_ipv6: bool = False
    bounds: Bounds = field(default_factory=Bounds)
    rates: Rates = field(default_factory=Rates)
    n_paths: int = PATHS


@dataclass(frozen=True, slots=True)
class State:
    """For a restart. The items' times do not survive: monotonic clocks differ."""

    node_id: bytes
    contacts: tuple[Contact, ...] = ()
    items: tuple[Item, ...] = ()


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


class Node:
    def __init__(self, settings: Settings, rng: Rng, now: float, state: State | None = None) -> None:
        self.settings = settings
        self.node_id = state.node_id if state is not None else rng.bytes(ID_BYTES)
        self._rng = rng
        families = (False, True) if settings.has_ipv6 else (False,)
        self._tables = {ipv6: Table(self.node_id, is_public=settings.is_public) for ipv6 in families}
        self._storage = Storage(settings.bounds)
        self._limits = Limits(settings.rates, now)
        self._server = Server(self._tables, self._storage, Tokens(rng, now), rng, settings.is_public)
        self._questions = Questions(rng)
        self._operations: dict[int, Operation] = {}
        self._n_operations = 0
        self._out: list[tuple[bytes, Address]] = []
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._held: dict[Address, tuple[bytes, float]] = {}
        self._pinger = Pinger()
        self._counts: Counter[str] = Counter()
        self._seen_as: Counter[Address] = Counter()
        self._upkeep = Upkeep(self, rng, now)
        if state is not None:
            self._upkeep.known += state.contacts
            for item in state.items:
                self._storage.put(item.target, item, "restored", now)

    # What goes in and out.

    def receive_datagram(self, data: bytes, address: Address, now: float) -> None:
        try:
            message = krpc.decode(data, self.settings.network_key)
        except Unanswerable as error:
            self._counts["bad"] += 1
            if self._limits.may_answer(address, now):
                self._answer_with(error.failure, data, address, now)
            return
        except RemoteError:
            self._counts["bad"] += 1
            return
        if isinstance(message, Query):
            self._receive_query(message, data, address, now)
        else:
            self._receive_answer(message, address, now)

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        deadline = self._questions.next_deadline
        return self._upkeep.next_at if deadline is None else min(deadline, self._upkeep.next_at)

    def handle_timer(self, now: float) -> None:
        for question in self._questions.overdue(now):
            self._fail(question, None, now)
        if now >= self._upkeep.next_at:
            self._storage.expire(now)
            self._storage.expire_peers(now)
            self._held = {address: held for address, held in self._held.items() if now - held[1] < HELD_PERIOD}
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

    def state(self) -> State:
        contacts = tuple(contact for table in self._tables.values() for contact in table.contacts())
        return State(self.node_id, contacts, tuple(stored.item for stored in self._storage.items()))

    def status(self) -> Status:
        return Status(
            self.node_id,
            sum(map(len, self._tables.values())),
            len(self._storage),
            self._storage.n_bytes,
            len(self._storage.info_hashes),
            len(self._questions),
            len(self._operations),
            self._seen_as.most_common(1)[0][0] if self._seen_as else None,
            dict(self._counts),
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

    def ask(self, query: Query, contact: Contact, asker: Asker, now: float) -> bool:
        """False when it cannot be, or should not: too many wait, or BEP 42 says that the ID is false."""
        address = contact.address
        if self._questions.is_full or address.is_ipv6 not in self._tables or not address.is_dialable:
            return False
        if self.settings.is_public and contact.node_id and not is_bound(contact.node_id, address):
            return False
        query = self._questions.add(address, contact.node_id, query, asker, now)
        if self.settings.is_read_only:
            query = replace(query, is_read_only=True)
        self._out.append((krpc.encode(query, self.settings.network_key), address))
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
            lookups.append(Lookup(order.target, start, self.node_id, n_paths=n_paths or self.settings.n_paths))

        def tell(event: Event) -> None:
            self._operation_told(number, event, is_silent)

        operation = Operation(number, order, self.node_id, lookups, self.ask, tell)
        self._operations[number] = operation
        operation.seed(self._storage.item(order.target, now), tuple(self._storage.peers(order.target, now)))
        operation.go_on(now)
        return number

    def tell(self, event: Event) -> None:
        self._events.append(event)

    def take_new_id(self, now: float) -> None:
        """BEP 42: an ID that fits the address which most others say we have."""
        seen_as = self.status().seen_as
        if not self.settings.is_public or seen_as is None or is_bound(self.node_id, seen_as):
            return
        self._upkeep.known += [contact for table in self._tables.values() for contact in table.contacts()]
        self.node_id = bound_id(seen_as, self._rng)
        for ipv6 in self._tables:
            self._tables[ipv6] = Table(self.node_id, is_public=True)
        self._upkeep.begin(now)

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

    def _receive_query(self, query: Query, data: bytes, address: Address, now: float) -> None:
        if self.settings.is_read_only or not self._limits.may_answer(address, now):
            self._counts["unanswered"] += 1
            return
        self._counts["answered"] += 1
        self._answer_with(self._server.answer(query, self.node_id, address, now), data, address, now, query)

    def _answer_with(
        self, answer: Reply | Failure, data: bytes, address: Address, now: float, query: Query | None = None
    ) -> None:
        """The answer, or what may be sent of it, or a ping first."""
        key = self.settings.network_key
        if self._limits.is_proved(address, now) or (query is not None and query.token and isinstance(answer, Reply)):
            if isinstance(answer, Reply):
                self._limits.prove(address, now)
            self._send_fitted(answer, _UNLIMITED, address)
            return
        limit = GROWTH * len(data)
        can_ping = query is not None and not query.is_read_only and len(self._questions) < MAX_CHECKS
        ping = krpc.encode(Query(Method.PING, self.node_id, transaction=bytes(4)), key)
        is_loaded = isinstance(answer, Reply) and (answer.item is not None or bool(answer.peers))
        if isinstance(answer, Reply) and is_loaded and query is not None and not self._fits(answer, limit):
            if can_ping and len(ping) <= limit:
                self._hold(answer, address, now)
                self._check(Contact(query.sender, address), now)
            else:
                self._send_fitted(replace(answer, item=None, peers=()), limit, address)
            return
        is_new = query is not None and self._is_worth_knowing(Contact(query.sender, address))
        if query is not None and can_ping and is_new and self._send_fitted(answer, limit - len(ping), address):
            self._check(Contact(query.sender, address), now)
        else:
            self._send_fitted(answer, limit, address)

    def _fits(self, answer: Reply | Failure, limit: int) -> bool:
        return isinstance(answer, Failure) or fitted(answer, limit, self.settings.network_key) is not None

    def _send_fitted(self, answer: Reply | Failure, limit: int, address: Address) -> bool:
        key = self.settings.network_key
        data = krpc.encode(answer, key) if isinstance(answer, Failure) else fitted(answer, limit, key)
        if data is None or len(data) > limit:
            return False
        self._out.append((data, address))
        return True

    def _hold(self, answer: Reply | Failure, address: Address, now: float) -> None:
        if len(self._held) < MAX_HELD and isinstance(answer, Reply):
            data = fitted(answer, _UNLIMITED, self.settings.network_key)
            if data is not None:
                self._held[address] = data, now

    def _is_worth_knowing(self, contact: Contact) -> bool:
        table = self._tables.get(contact.address.is_ipv6)
        return table is not None and table.has_room(contact)

    def _check(self, contact: Contact, now: float) -> None:
        self.ask(Query(Method.PING, self.node_id), contact, self._pinger, now)

    def _receive_answer(self, answer: Reply | Failure, address: Address, now: float) -> None:
        question = self._questions.take(answer.transaction, address)
        if question is None:
            self._counts["unasked"] += 1
            return
        self._limits.prove(address, now)
        held = self._held.pop(address, None)
        if held is not None and now - held[1] < HELD_PERIOD:
            self._out.append((held[0], address))
        if isinstance(answer, Failure):
            self._fail(question, answer, now)
        elif question.node_id not in (b"", answer.sender):
            self._fail(question, None, now)
        else:
            self._accept(question, answer, now)

    def _accept(self, question: Question, reply: Reply, now: float) -> None:
        contact = Contact(reply.sender, question.address)
        self._tables[contact.address.is_ipv6].answered(contact, now)
        if reply.seen_as is not None and len(self._seen_as) < K:
            self._seen_as[Address(reply.seen_as.host, reply.seen_as.port)] += 1
        question.asker.replied(contact, reply, now)

    def _fail(self, question: Question, failure: Failure | None, now: float) -> None:
        contact = Contact(question.node_id or bytes(ID_BYTES), question.address)
        if failure is None:
            self._tables[contact.address.is_ipv6].failed(contact)
        question.asker.failed(contact, failure, now)
