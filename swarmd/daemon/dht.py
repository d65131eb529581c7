"""The node's place in a DHT: one machine of `swarmd.dht` on the node's UDP sockets, and what programs here ask of it.

In: datagrams (as a guest of the UDP carrier), time, commands as coroutines. Out: datagrams, results. What can go wrong
is a LocalError: NotAllowed where there is no DHT, NoPeers where nobody is known, Conflict where too much is under way
already, TimedOut.

A network is private or public. A private one has a key, made from its name; who has no name has the default one, so
that daemons of one owner meet with nothing but an address, and anybody else's that is told that address too. A name
that is a secret keeps others out.

Not here: who waits for what (`dht_searches`), whether others can reach us (`dht_reachability`), what is taken over a
restart (`dht_saving`), where the first nodes are (`dht_entry`), values and their names (`dht_values`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import NoPeers, NotAllowed
from swarmd.core.rng import Rng
from swarmd.daemon.dht_entry import Entry
from swarmd.daemon.dht_own import Own
from swarmd.daemon.dht_reachability import Reachability, reason_of
from swarmd.daemon.dht_saving import Saving
from swarmd.daemon.dht_searches import Searches
from swarmd.daemon.settings import Config
from swarmd.daemon.settings import Dht as DhtConfig
from swarmd.daemon.workers import Workers
from swarmd.dht.events import Bootstrapped, GetDone, PutDone
from swarmd.dht.items import Item
from swarmd.dht.limits import Rates
from swarmd.dht.node import Node, Settings, Status
from swarmd.dht.shelf import BlobDone, Shelf
from swarmd.net.timer import Timer
from swarmd.net.udpcarrier import UdpCarrier
from swarmd.store.store import Store

log = logging.getLogger(__name__)

DEFAULT_NETWORK = "swarmd"
ENTRY_PERIOD = 10.0
"""Between two looks for somebody to begin with, while nobody is known."""
STEADY_PERIOD = 900.0
"""Names mean other addresses by and by."""
READY_TIMEOUT = 6.0
"""For the first search after the start; what is asked before waits that long."""
MIN_PAUSE = 0.005
"""Between two calls of the machine's timer."""
PRIVATE_RATES = Rates(of_network=500.0, of_network_burst=5_000.0)
"""All nodes of a home are one /24, and a value of 1 MiB is 2,200 questions to each node of a small network."""

_NOBODY_KNOWN = "no other node of the DHT is known: start swarmd with --bootstrap HOST:PORT, or name one below [dht]"
_NOBODY_ANSWERS = "no node of the DHT has answered yet, of those that are named or known"


class DhtService:
    """A `daemon.rendezvous_work.Dht`, and a `net.guest.Guest`."""

    def __init__(
        self,
        config: Config,
        udp: UdpCarrier | None,
        store: Store,
        ledger: Workers,
        clock: Clock,
        rng: Rng,
        neighbours: Callable[[], list[Address]],
    ) -> None:
        """`neighbours`: where other swarmd are known to be: they are asked while nobody of the DHT is known."""
        self.mode = config.dht.mode
        self.why_off = _why_off(config)
        self.own = Own(store.dht, ledger, clock)
        self._udp, self._clock, self._rng = udp, clock, rng
        self._key = network_key(config.dht)
        self._saving = Saving(store.dht, ledger, clock, self.network)
        self._secret = config.dht.network
        is_private = self.mode == "private"
        places = [*config.dht.bootstrap, *config.discovery.bootstrap]
        self._neighbours = neighbours
        self._entry = Entry(places, neighbours if is_private else list)
        self._loop = asyncio.get_running_loop()
        self._machine: Node | None = None
        self._timer: Timer | None = None
        self._is_marked = False
        self._bootstrapped = asyncio.Event()
        self._started_at = clock.monotonic()
        self.is_read_only = False
        self.reachability = Reachability(self._started_at, self._spoken_with)

    # What it is -------------------------------------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        return not self.why_off

    @property
    def is_ready(self) -> bool:
        return self.n_nodes > 0

    @property
    def n_nodes(self) -> int:
        return 0 if self._machine is None else sum(map(len, self._machine.tables.values()))

    @property
    def seen_as(self) -> Address | None:
        return None if self._machine is None else self._machine.status().seen_as

    @property
    def clock_ahead(self) -> float | None:
        """Seconds, of this machine's clock to the other nodes'; None where nobody says."""
        if self._machine is None:
            return None
        self._tell_clock(self._machine)
        return self._machine.clock_ahead(self._clock.monotonic())

    @property
    def status(self) -> Status | None:
        return None if self._machine is None else self._machine.status()

    @property
    def network(self) -> bytes:
        """What tells networks apart; no secret can be found from it but by trying."""
        return b"public" if self._key is None else hashlib.sha256(self._key).digest()[:16]

    @property
    def network_name(self) -> str:
        """For people."""
        return "public" if self._key is None else hashlib.sha256(self._key).hexdigest()[:16]

    @property
    def reached(self) -> str:
        """Whether others can reach it, for people."""
        return reason_of(self.reachability, self._clock.monotonic())

    @property
    def lack(self) -> str:
        """What keeps it from being of use, if anything does."""
        if self.is_ready:
            return ""
        return _NOBODY_ANSWERS if self._entry.has_hope else _NOBODY_KNOWN

    @property
    def places(self) -> list[str]:
        return [str(place) for place in self._entry.places]

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What must never be logged."""
        if self._secret is None or self._key is None:
            return ()
        return self._key, self._secret.text.encode("utf-8", "surrogatepass")

    # Start and end ----------------------------------------------------------------------------------------------

    async def start(self, listening: list[Address]) -> None:
        """From now on this node takes part; `run_entry` and `run_saving` are to run besides."""
        if self._udp is None or not self.is_on:
            return
        state = await self._saving.load()
        settings = Settings(
            network_key=self._key,
            is_public=self.mode == "public",
            has_ipv6=any(address.is_ipv6 for address in listening),
            rates=Rates() if self.mode == "public" else PRIVATE_RATES,
        )
        now = self._clock.monotonic()
        self._machine = Node(settings, self._rng, now, state)
        self._tell_clock(self._machine)
        self._shelf = Shelf(self._machine)
        self._searches = Searches(self._shelf, self._clock, self._mark)
        if state is None:
            await self._saving.save(self._machine)
        await self.own.load(self._machine, now)
        self._entry.knows_some = bool(state is not None and state.contacts)
        self._timer = self._udp.timer(self._due)
        self._udp.host(self)
        self._mark()

    async def stop(self) -> None:
        """What is known is saved."""
        if self._machine is None or self._udp is None or self._timer is None:
            return
        machine, self._machine = self._machine, None
        self._timer.cancel()
        self._udp.host(None)
        await self._saving.save(machine)

    async def run_entry(self) -> None:
        """Look for nodes to begin with, and again: names change, and neighbours come."""
        while self._machine is not None:
            addresses = await self._entry.addresses(is_needed=not self.is_ready)
            if addresses:
                self._machine.bootstrap(addresses, self._clock.monotonic())
                self._mark()
            await asyncio.sleep(STEADY_PERIOD if self.is_ready else ENTRY_PERIOD)

    async def run_saving(self) -> None:
        """Write down what a restart, or a crash, should not lose."""
        if self._machine is not None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._saving.run_saving(self._machine, self._bootstrapped))
                tasks.create_task(self._saving.run_writing(self._machine))

    # Commands ---------------------------------------------------------------------------------------------------

    async def get_immutable(self, target: bytes) -> Item | None:
        item = await self.get(target)
        return None if item is None or item.is_mutable else item

    async def get_mutable(self, key: bytes, salt: bytes = b"") -> Item | None:
        """The newest."""
        machine = await self._settled()
        return (await self._searches.search(GetDone, lambda now: machine.get_mutable(key, now, salt=salt))).item

    async def get(self, target: bytes, salt: bytes = b"") -> Item | None:
        machine = await self._settled()
        return (await self._searches.search(GetDone, lambda now: machine.get(target, now, salt=salt))).item

    async def put(self, item: Item, *, keep: bool = False, cas: int | None = None, label: str = "") -> PutDone:
        """`keep`: it is put again, also after a restart, until another of its target takes its place."""
        if keep:
            self.own.check_room(item.target, [item])
        machine = await self._settled()
        done = await self._searches.search(PutDone, lambda now: machine.put(item, now, cas=cas))
        if keep and done.n_copies:
            await self.keep(item.target, [item], len(item.encoded), label)
        return done

    async def keep(self, root: bytes, items: list[Item], size: int, label: str) -> None:
        """Items that were put just now."""
        if self._machine is not None:
            await self.own.keep(self._machine, root, items, size, label)

    async def forget(self, root: bytes) -> bool:
        """Put it no more; whether it was. It is gone from the others two hours later."""
        return self._machine is not None and await self.own.forget(self._machine, root)

    async def announce(self, info_hash: bytes, port: int = 0) -> list[Address]:
        """Be found there, at `port` or the one that others see; who else is. It lasts for half an hour."""
        machine = await self._settled()
        return await self._searches.peers(lambda now: machine.announce(info_hash, now, port=port))

    async def get_peers(self, info_hash: bytes) -> list[Address]:
        machine = await self._settled()
        return await self._searches.peers(lambda now: machine.get_peers(info_hash, now))

    async def put_value(self, data: bytes) -> BlobDone:
        """In as many items as it takes. InvalidArgument when it is too large."""
        await self._settled()
        return await self._searches.value(lambda now: self._shelf.put(data, now)[0])

    async def get_value(self, key: bytes) -> BlobDone:
        await self._settled()
        return await self._searches.value(lambda now: self._shelf.get(key, now))

    async def _settled(self) -> Node:
        """The machine, when its first search has ended or somebody is known at least."""
        if self._machine is None:
            raise NotAllowed(self.why_off or "swarmd stops")
        if not self._bootstrapped.is_set() and self._entry.has_hope:
            since_start = self._clock.monotonic() - self._started_at
            patience = READY_TIMEOUT - since_start if self.is_ready else READY_TIMEOUT
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._bootstrapped.wait()
        if not self.is_ready:
            raise NoPeers(self.lack)
        return self._machine

    # The machine ------------------------------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, source: Address) -> bool:
        if self._machine is None:
            return False
        now = self._clock.monotonic()
        if not self._machine.receive_datagram(data, source, now):
            return False
        if askers := self._machine.take_askers():
            self.reachability.asked(askers, now)
            self._follow_reach(self._machine)
        self._saving.follow(self._machine)
        self._mark()
        return True

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        if self._machine is None:
            return []
        datagrams, now = self._machine.datagrams_to_send(), self._clock.monotonic()
        for _, address in datagrams:
            self.reachability.sent(address.host, now)
        return datagrams

    def _mark(self) -> None:
        """The machine has something to say, at the end of this turn of the loop."""
        if not self._is_marked:
            self._is_marked = True
            self._loop.call_soon(self._pump)

    def _due(self) -> None:
        if self._machine is None:
            return
        now = self._clock.monotonic()
        self._tell_clock(self._machine)
        self._machine.handle_timer(now)
        if self.reachability.is_look_due(now):
            known = [contact.address for table in self._machine.tables.values() for contact in table.contacts()]
            self.reachability.look(known, self._machine.status().seen_as, now)
            self._follow_reach(self._machine)
        self._pump()

    def _tell_clock(self, machine: Node) -> None:
        machine.set_clock(self._clock.wall(), self._clock.monotonic())

    def _follow_reach(self, machine: Node) -> None:
        if self.is_read_only != self.reachability.is_read_only:
            self.is_read_only = self.reachability.is_read_only
            machine.set_read_only(self.is_read_only)
            log.info("the DHT: %s", reason_of(self.reachability, self._clock.monotonic()))

    def _spoken_with(self) -> set[str]:
        """Hosts for which sessions may have opened a way."""
        return {address.host for address in [*self._neighbours(), *self._entry.found]}

    def _pump(self) -> None:
        self._is_marked = False
        if self._machine is None or self._udp is None or self._timer is None:
            return
        while (event := self._machine.next_event()) is not None:
            if isinstance(event, Bootstrapped):
                self._take_bootstrapped(event)
            else:
                self._searches.receive_event(event)
        self._udp.send_for_guest()
        deadline = self._machine.next_deadline()
        if deadline is not None:
            self._timer.set(max(deadline, self._clock.monotonic() + MIN_PAUSE))

    def _take_bootstrapped(self, event: Bootstrapped) -> None:
        if event.n_nodes and not self._bootstrapped.is_set():
            self._bootstrapped.set()
            log.info("the %s DHT is entered, nodes known: %d", self.mode, event.n_nodes)


def network_key(config: DhtConfig) -> bytes | None:
    """None for the public network."""
    if config.mode == "public":
        return None
    name = DEFAULT_NETWORK if config.network is None else config.network.text
    return hashlib.sha256(b"swarmd dht network\0" + name.encode("utf-8", "surrogatepass")).digest()


def _why_off(config: Config) -> str:
    """Empty when it is on."""
    if config.dht.mode == "off":
        return "this node takes no part in a DHT ([dht] mode, --no-dht)"
    if not config.transport.udp:
        return "this node takes no part in a DHT, which needs UDP ([transport] udp, --no-udp)"
    return ""
