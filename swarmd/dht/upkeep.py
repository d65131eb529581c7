"""What a node does of its own accord: getting to know the network, refreshing tables, putting items again.

Every TICK_PERIOD it pings one questionable node of each bucket, refreshes one stale bucket, puts again what it
publishes (hourly) and, on a private network, what it holds for others and nobody has put for 20 minutes: one of the
eight holders does it and the others see it. An item's owner need not be there for a day (MAX_AGE).

Bootstrap: ask the known addresses and contacts who is near us, look up our own ID, then one ID of each bucket.
"""

from __future__ import annotations

from typing import Protocol

from swarmd.core.addresses import Address
from swarmd.core.errors import Conflict
from swarmd.core.rng import Rng
from swarmd.dht.contact import ID_BYTES, Contact
from swarmd.dht.events import Bootstrapped, Event
from swarmd.dht.items import Item
from swarmd.dht.krpc import Failure, Method, Query, Reply
from swarmd.dht.operations import Kind, Order
from swarmd.dht.questions import Asker
from swarmd.dht.storage import Stored
from swarmd.dht.table import Table

TICK_PERIOD = 30.0
RETRY_PERIOD = 5.0
"""While there is nobody in the tables."""
ASK_AGAIN_PERIOD = 60.0
PUBLISH_PERIOD = 3600.0
MAX_PUBLISHED = 2_000
"""A value of 1 MiB is some 1,100 items."""
HOLDER_PERIOD = 1200.0
HOLDER_CHANCE = 0.05
"""Of each holder in each tick: the first of eight comes after 75 seconds, and seldom two at once."""
MAX_AGE = 86_400.0
MAX_RUNNING = 32
"""Operations under way beyond which nothing is put again in this tick."""
MAX_KNOWN = 64
MAX_ADDRESSES = 64
MAX_INTRODUCED = 4
MAX_REFRESHES = 12
"""At the start: one for each of the buckets next to our own place."""


class Machine(Protocol):
    """What it needs of the node."""

    def id_at(self, address: Address) -> bytes: ...

    @property
    def tables(self) -> dict[bool, Table]: ...

    @property
    def n_running(self) -> int: ...

    def stored(self) -> list[Stored]: ...

    def is_private(self) -> bool: ...

    def ask(self, query: Query, contact: Contact, asker: Asker, now: float) -> bool: ...

    def run(self, order: Order, now: float, *, n_paths: int | None = None, is_silent: bool = False) -> int: ...

    def tell(self, event: Event) -> None: ...

    def take_new_id(self, now: float) -> None: ...


class Pinger:
    """Asks without wanting to know: the table learns from the answer."""

    def replied(self, contact: Contact, reply: Reply, now: float) -> None: ...

    def slow(self, contact: Contact, now: float) -> None: ...

    def failed(self, contact: Contact, failure: Failure | None, now: float) -> None: ...


class Upkeep:
    """The `Asker` of the bootstrap's first questions."""

    def __init__(self, machine: Machine, rng: Rng, now: float) -> None:
        self.known: dict[Contact, None] = {}
        """Whom to ask when nobody is left in the tables: those of the last ticks, the latest last."""
        self._machine = machine
        self._rng = rng
        self._pinger = Pinger()
        self._addresses: list[Address] = []
        self._published: dict[bytes, tuple[Item, float]] = {}
        self._targets: list[bytes] = []
        """To be looked up, one after the other, the next one last."""
        self._is_looking = False
        self._is_bootstrapping = False
        self._begun: set[bool] = set()
        """Families in which somebody has answered since, and our own ID is looked up."""
        self._tick_at = now

    @property
    def next_at(self) -> float:
        is_due = self._targets and not self._is_looking and self._may_run()
        return float("-inf") if is_due else self._tick_at

    def bootstrap(self, addresses: list[Address], now: float) -> None:
        self._addresses = list(dict.fromkeys(addresses + self._addresses))[:MAX_ADDRESSES]
        self.begin(now)

    def begin(self, now: float) -> None:
        """Ask all that we know who is near us."""
        contacts = [Contact(bytes(ID_BYTES), address) for address in self._addresses]
        contacts += list(self.known)[:MAX_KNOWN]
        self.known.clear()
        self._begun.clear()
        for contact in contacts:
            node_id = b"" if contact.node_id == bytes(ID_BYTES) else contact.node_id
            self._introduce_to(Contact(node_id, contact.address), now)

    def replied(self, contact: Contact, reply: Reply, now: float) -> None:
        """The first that answers is enough to begin with; those it names answer for themselves. Of a family where we
        know nobody, some that it names are asked as if they had been given to us (BEP 32)."""
        tables = self._machine.tables
        for ipv6, table in tables.items():
            if ipv6 != contact.is_ipv6 and not len(table):
                for other in [other for other in reply.contacts if other.is_ipv6 == ipv6][:MAX_INTRODUCED]:
                    self._introduce_to(other, now)
        if not self._is_bootstrapping:
            self._is_bootstrapping = True
            self._targets = []
            self._begun.clear()
        if contact.is_ipv6 not in self._begun:
            self._begun.add(contact.is_ipv6)
            self._targets.append(tables[contact.is_ipv6].own_id)

    def slow(self, contact: Contact, now: float) -> None: ...

    def failed(self, contact: Contact, failure: Failure | None, now: float) -> None: ...

    def _introduce_to(self, contact: Contact, now: float) -> None:
        want = (False, True) if len(self._machine.tables) > 1 else None
        query = Query(Method.FIND_NODE, b"", self._machine.id_at(contact.address), want)
        self._machine.ask(query, contact, self, now)

    def refreshed(self) -> None:
        """A lookup of ours has ended."""
        self._is_looking = False
        if self._is_bootstrapping and not self._targets:
            self._is_bootstrapping = False
            self._machine.tell(Bootstrapped(self._n_nodes()))
            self._targets = self._first_refreshes()

    def publish(self, item: Item, now: float, *, put_at: float | None = None) -> None:
        if item.target not in self._published and len(self._published) >= MAX_PUBLISHED:
            raise Conflict(f"{MAX_PUBLISHED} items are kept alive already; unpublish one")
        self._published[item.target] = item, now if put_at is None else put_at

    def unpublish(self, target: bytes) -> None:
        self._published.pop(target, None)

    def work(self, now: float) -> None:
        if now >= self._tick_at:
            self._tick(now)
        if self._targets and not self._is_looking and self._may_run():
            self._is_looking = True
            self._machine.run(Order(Kind.NODES, self._targets.pop()), now, n_paths=1, is_silent=True)

    def _tick(self, now: float) -> None:
        if not self._n_nodes():
            self._tick_at = now + RETRY_PERIOD
            self._is_bootstrapping = self._is_looking and self._is_bootstrapping
            self.begin(now)
            return
        self._tick_at = now + TICK_PERIOD * (0.75 + self._rng.random() / 2)
        self._machine.take_new_id(now)
        for table in self._machine.tables.values():
            self.known |= dict.fromkeys(self._rng.sample(table.contacts(), min(len(table), MAX_KNOWN // 4)))
            for contact in table.questionable(now, ASK_AGAIN_PERIOD):
                self._machine.ask(Query(Method.PING, b""), contact, self._pinger, now)
            place = table.stale(now)
            if place is not None and not self._targets:
                self._targets.append(table.target_in(place, self._rng.bytes(ID_BYTES)))
        for contact in list(self.known)[:-MAX_KNOWN]:
            del self.known[contact]
        self._publish_again(now)
        if self._machine.is_private():
            self._hold_on(now)

    def _publish_again(self, now: float) -> None:
        for target, (item, put_at) in list(self._published.items()):
            if now - put_at >= PUBLISH_PERIOD and self._may_run():
                self._published[target] = item, now
                self._machine.run(Order(Kind.PUT, target, item.salt, item), now, is_silent=True)

    def _hold_on(self, now: float) -> None:
        for stored in self._machine.stored():
            if now - stored.put_at < HOLDER_PERIOD or not self._may_run():
                return
            age = now - stored.first_at
            if age < MAX_AGE and self._rng.random() < HOLDER_CHANCE:
                item = stored.item
                order = Order(Kind.PUT, item.target, item.salt, item, age=int(age))
                self._machine.run(order, now, n_paths=1, is_silent=True)

    def _first_refreshes(self) -> list[bytes]:
        targets = []
        for table in self._machine.tables.values():
            for place in range(max(0, table.deepest() - MAX_REFRESHES), table.deepest()):
                targets.append(table.target_in(place, self._rng.bytes(ID_BYTES)))
        return targets

    def _may_run(self) -> bool:
        return self._machine.n_running < MAX_RUNNING

    def _n_nodes(self) -> int:
        return sum(map(len, self._machine.tables.values()))
