"""One node, put together: the only place that constructs its parts, starts them in order and stops them in the other.

    store, identity -> workers -> peers (listening) -> groups -> exchange, serving, transfers, shares -> control socket

The control socket is opened when commands can be taken; objects of earlier runs are opened behind it, so a node with
many shares is ready at once. `stop` takes what was written so far to the disk and is over within 5 s.

It decides nothing about transfers, groups or peers: see the modules named.
"""

from __future__ import annotations

import asyncio
import grp
import logging
import socket
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from swarmd.control import listener
from swarmd.control.events import EventHub
from swarmd.control.records import Notice
from swarmd.control.server import Server
from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import LocalError
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import Rng, SeededRng
from swarmd.daemon.candidates import Candidates
from swarmd.daemon.config import Loaded
from swarmd.daemon.dht import DhtService
from swarmd.daemon.dialer import Dialer
from swarmd.daemon.exchange import Exchange
from swarmd.daemon.groupinfo import GroupInfo
from swarmd.daemon.handlers import Handlers
from swarmd.daemon.health import Heartbeat
from swarmd.daemon.lan import Lan
from swarmd.daemon.latencies import Latencies
from swarmd.daemon.listening import open_listeners
from swarmd.daemon.memberships import Memberships
from swarmd.daemon.memory import collect_garbage, give_memory_back
from swarmd.daemon.messaging import Messaging
from swarmd.daemon.peers import Peers
from swarmd.daemon.programs import Programs
from swarmd.daemon.providers import Providing
from swarmd.daemon.redaction import Redactor
from swarmd.daemon.rendezvous import Rendezvous
from swarmd.daemon.rendezvous_meeting import Meetings
from swarmd.daemon.rendezvous_objects import ObjectPlaces
from swarmd.daemon.rendezvous_records import Whereabouts
from swarmd.daemon.rendezvous_values import GroupValues
from swarmd.daemon.rendezvous_work import Around, Part, member_addresses
from swarmd.daemon.reports import Reports
from swarmd.daemon.router import Router
from swarmd.daemon.serving import Serving
from swarmd.daemon.settings import Config, Limits
from swarmd.daemon.shares import Shares
from swarmd.daemon.supervisor import Policy, Supervisor
from swarmd.daemon.systemd import Notifier, socket_group
from swarmd.daemon.traffic import MEASURE_PERIOD
from swarmd.daemon.transfers import Transfers
from swarmd.daemon.workers import PATIENCE, Workers
from swarmd.discovery.interfaces import plan, read_interfaces
from swarmd.identity.identity import Identity
from swarmd.net.tcpcarrier import TcpCarrier
from swarmd.net.udpcarrier import UdpCarrier
from swarmd.replication.limits import Rates
from swarmd.replication.replicator import Replicator
from swarmd.store.store import Store

log = logging.getLogger(__name__)

_DISK_THREADS = 4  # reads and writes of chunks; more gain nothing on a disk, and little with two cores
_SLOW_THREADS = 3  # hashing for `share` (which has its own pool), commits, finishing
_TICK_PERIOD = 1.0
_SETTLE_PERIOD = 0.1  # between two looks at groups and dials while there is news
_INTERFACE_PERIOD = 30.0
_STATUS_PERIOD = 10.0
_TASKS_TIMEOUT = 2.0


class Node:
    def __init__(
        self,
        loaded: Loaded,
        clock: Clock,
        rng: Rng,
        supervisor: Supervisor,
        notifier: Notifier,
        redactor: Redactor,
        moved: Callable[[int], None],
    ) -> None:
        """`moved` is told of every count of bytes that goes through a socket."""
        self._moved = moved
        self.hurry: Callable[[], None] = _calmly  # whoever runs the loop may put something better here, before `start`
        self.config: Config = loaded.config
        self._is_listen_named = loaded.is_listen_named
        self._clock, self._rng, self._supervisor, self._notifier = clock, rng, supervisor, notifier
        self._redactor = redactor
        self.started_at = clock.monotonic()
        self.notes: list[str] = []
        self._closing = AsyncExitStack()
        self._wake = asyncio.Event()
        self._limits = self.config.limits
        self.background_groups: frozenset[GroupId] = frozenset()
        self._looked_at = self._status_at = self._measured_at = clock.monotonic()
        self.hub = EventHub()

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    @property
    def where(self) -> str:
        """For the log: addresses and socket."""
        listening = ", ".join(map(str, self.peers.listening))
        return f"listening on {listening}, control socket {self.config.control.socket}"

    @property
    def now(self) -> float:
        return self._clock.monotonic()

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def wall(self) -> float:
        return self._clock.wall()

    @property
    def limits(self) -> Limits:
        """Those in force."""
        return self._limits

    def in_background(self, name: str, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """One piece of work that nobody waits for; its failure is logged."""

        async def run() -> None:
            await work()

        self._supervisor.start(name, run, Policy.LEAVE)

    def summary(self) -> str:
        """One line for `systemctl status`."""
        active = sum(transfer.is_active for transfer in self.transfers.all())
        return (
            f"{len(self.memberships)} groups, {len(self.peers.connections())} peers, "
            f"{active} transfers, {self.reports.rates_text()}"
        )

    # Start ------------------------------------------------------------------------------------------------------

    async def start(self, inherited: socket.socket | None, watchdog: float | None) -> None:
        """Ready when it returns. LocalError says why it cannot be; what was started is undone by `stop`."""
        self.loop = loop = asyncio.get_running_loop()
        state_dir = self.config.node.state_dir
        self.store = await asyncio.to_thread(Store.open, state_dir, self._clock, self._rng)
        self._closing.push_async_callback(asyncio.to_thread, self.store.close)
        self.identity = await asyncio.to_thread(Identity.load_or_create, state_dir / "identity")
        self.disk = self._workers(loop, "disk", _DISK_THREADS)
        self.slow = self._workers(loop, "slow", _SLOW_THREADS, patience=0.0)
        self.ledger = self._workers(loop, "ledger", 1)
        self._compose()
        self._listen()
        await self.dht.start(self.peers.listening)
        await self.memberships.load()
        await self.group_values.load()
        self._hide_secrets()
        self._closing.push_async_callback(self.memberships.stop)
        self._name_bootstrap_peers()
        await self._load_addresses()
        self._start_tasks(watchdog)
        await self.transfers.load()
        await self._open_control(inherited)
        self._supervisor.start("catalogues", self.memberships.restore, Policy.STOP)
        self._supervisor.start("load", self._load, Policy.LEAVE)

    def _workers(self, loop: asyncio.AbstractEventLoop, name: str, count: int, patience: float = PATIENCE) -> Workers:
        workers = Workers(loop, name, count, patience)
        self._closing.push_async_callback(asyncio.to_thread, workers.close)
        return workers

    def _compose(self) -> None:
        """Make the parts and join them."""
        clock, rng, config = self._clock, self._rng, self.config
        router = Router()
        self.reports = Reports(self)
        self.group_info = GroupInfo(self)
        self.peers = Peers(self.peer_id, rng, clock, router, config.limits.max_sessions)
        if config.transport.tcp:
            self.peers.add_carrier(TcpCarrier(self.identity, rng, clock, self.peers, self._moved))
        udp = UdpCarrier(self.identity, rng, clock, self.peers, self._moved) if config.transport.udp else None
        if udp is not None:
            self.peers.add_carrier(udp)
        self._closing.push_async_callback(self.peers.stop)
        chance = SeededRng(int.from_bytes(rng.bytes(32)))  # cheaper than the kernel's, and need not be secret
        replicator = Replicator(chance, clock.monotonic())
        self.exchange = Exchange(replicator, self.peers, self.disk, clock)
        self._closing.callback(self.exchange.close)
        self.memberships = Memberships(self.identity, self.peers, self.store, self.ledger, clock, rng, self.reports)
        router.exchange, router.memberships, router.reports = self.exchange, self.memberships, self.reports
        self.serving = Serving(self.store, self.exchange, self.slow)
        self._closing.callback(self.serving.close)
        streams = Path(self.store.streams_dir).resolve()
        self.transfers = Transfers(
            self.store,
            self.exchange,
            self.serving,
            self.slow,
            self.reports,
            streams,
        )
        self.exchange.sink = self.transfers
        self._closing.push_async_callback(self.transfers.stop)
        self.shares = Shares(self.store, self.serving, self.memberships, self.slow)
        self.programs = self.exchange.programs = Programs(self.memberships, self.exchange, self.hurry, self.wake)
        self.providing = Providing(
            self.memberships, self.transfers, self.serving, self.programs, self.exchange, clock, chance
        )
        self.latencies = Latencies(self.memberships, self.peers)
        self.messaging = Messaging(self.memberships, self.peer_id, self.hub, clock)
        self.dialer = Dialer(self.peers, Candidates(self.memberships), clock, rng)
        self._closing.push_async_callback(self.dialer.stop)
        self.lan = Lan(self.memberships, clock, rng)
        self.dht = DhtService(config, udp, self.store, self.ledger, clock, rng, self._dht_neighbours)
        self._closing.push_async_callback(self.dht.stop)
        self._compose_rendezvous(chance)
        self.apply_limits(config.limits)

    def _dht_neighbours(self) -> list[Address]:
        return list(dict.fromkeys([*self.peers.over_udp(), *member_addresses(self.memberships)]))

    def _compose_rendezvous(self, chance: Rng) -> None:
        around = Around(self.dht, self.memberships, self._clock, chance, self._rng)
        self.group_values = GroupValues(around, self.identity, self.store, self.ledger)
        parts: list[Part] = [
            Meetings(around, self.wake),
            ObjectPlaces(around, self.providing, self.peers),
            Whereabouts(around, self.identity, self.wake),
            self.group_values,
        ]
        self.rendezvous = Rendezvous(self.dht, parts, self.in_background, self._clock.monotonic())

    def _listen(self) -> None:
        listening = open_listeners(self.config.node.listen, self._is_listen_named, self.peers.open_listener)
        self.peers.listen(listening.listeners)
        if listening.note:
            log.warning("%s", listening.note)
            self.notes.append(listening.note)
        self._follow_interfaces()

    def _name_bootstrap_peers(self) -> None:
        if self.config.discovery.bootstrap:
            self._supervisor.start("bootstrap", self._resolve_bootstrap, Policy.RESTART)

    async def _resolve_bootstrap(self) -> None:
        """Names become addresses; a name that has none now is tried again."""
        loop = asyncio.get_running_loop()
        for place in self.config.discovery.bootstrap:
            try:
                found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
            except OSError as error:
                raise LocalError(f"bootstrap peer {place}: {error.strerror}") from None
            for address in {Address.of_socket(entry[4]) for entry in found}:  # type: ignore[arg-type]
                self.dialer.name(address)
        self.wake()

    async def _load_addresses(self) -> None:
        for row in await self.ledger.run(self.store.addresses.rows):
            self.dialer.name(Address.parse(row.address))

    def _start_tasks(self, watchdog: float | None) -> None:
        start = self._supervisor.start
        start("clockwork", self._tick, Policy.STOP)
        start("heartbeat", Heartbeat(self._notifier, self._clock, watchdog).run, Policy.RESTART)
        if self.dht.is_on:
            start("dht entry", self.dht.run_entry, Policy.RESTART)
            start("dht saving", self.dht.run_saving, Policy.RESTART)
        if self.config.discovery.mdns:
            self.lan.start(self.peers.listening, self._supervisor, self.wake)

    async def _open_control(self, inherited: socket.socket | None) -> None:
        settings = self.config.control
        gid = grp.getgrnam(settings.group).gr_gid if settings.group else None
        if inherited is not None and gid is None:
            gid = socket_group(inherited)
        server = Server(Handlers(self).table(), self.hub, gid=gid)
        assert not server.missing, f"methods without a handler: {sorted(server.missing)}"
        if inherited is not None:
            place = listener.Listener.inherited(inherited)
        else:
            place = await asyncio.to_thread(listener.listen, str(settings.socket), gid)
        await server.start(place)
        self._closing.push_async_callback(server.close)

    async def _load(self) -> None:
        """What earlier runs have left to be served."""
        await self.transfers.serve()
        await self.shares.load()

    # Running ----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There is news for the clockwork: somebody to call, a group joined."""
        self._wake.set()

    async def _tick(self) -> None:
        """What is to be done once a second, or soon when there is news."""
        while True:
            now = self._clock.monotonic()
            self.memberships.handle_timer(now)
            self.providing.handle_timer(now)
            self.rendezvous.handle_timer(now)
            self.latencies.handle_timer(now)
            self.peers.handle_timer(now)
            self.dialer.handle_timer(now)
            if now - self._measured_at >= MEASURE_PERIOD:
                self._measured_at = now
                self.group_info.measure()
            if now - self._looked_at >= _INTERFACE_PERIOD:
                self._looked_at = now
                self._follow_interfaces()
                self.slow.submit(self.store.close_idle, lambda done: done.result())
                self.peers.shrink()
                self.exchange.shrink()
                collect_garbage()
                self.slow.submit(give_memory_back, lambda done: done.result())
            if self._notifier.is_active and now - self._status_at >= _STATUS_PERIOD:
                self._status_at = now
                self._notifier.status(self.summary())
            await self._next_tick()

    async def _next_tick(self) -> None:
        """News wakes it, but not more often than every _SETTLE_PERIOD."""
        ticked_at = self._clock.monotonic()
        due = self.memberships.next_deadline() - ticked_at
        try:
            async with asyncio.timeout(min(_TICK_PERIOD, max(_SETTLE_PERIOD, due))):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
        await asyncio.sleep(max(0.0, ticked_at + _SETTLE_PERIOD - self._clock.monotonic()))

    def _follow_interfaces(self) -> None:
        """Tell the groups where this node is reached, and what is near; addresses come and go."""
        listening = self.peers.listening
        addresses = plan(listening, read_interfaces()).announce
        self.peers.set_own_addresses(addresses)
        self.memberships.set_addresses(addresses, listening[0].port)

    def apply_limits(self, limits: Limits) -> None:
        """In force at once; groups are named as in the configuration. Groups that are joined later get theirs then."""
        self._limits = limits
        groups: dict[GroupId, Rates] = {}
        background: set[GroupId] = set()
        for name, rates in limits.groups.items():
            try:
                group = self.memberships.find(name)
            except LocalError as error:
                log.info("limits.groups: %s", error)
                continue
            groups[group] = Rates(rates.upload.value, rates.download.value)
            if rates.background:
                background.add(group)
        self.background_groups = frozenset(background)
        self.peers.set_background(background)
        node = Rates(limits.upload.value, limits.download.value)
        self.exchange.replicator.set_limits(node, groups, self._clock.monotonic())
        self.exchange.schedule()

    def groups_changed(self) -> None:
        """A group was joined or left."""
        self._hide_secrets()
        self.apply_limits(self._limits)
        self.lan.groups_changed()
        self.wake()

    def _hide_secrets(self) -> None:
        """No log line, traceback or not, shows the keys of this node or of its groups."""
        self._redactor.protect(*self.identity.secrets(), *self.dht.secrets)
        for membership in self.memberships.all().values():
            self._redactor.protect(membership.spec.secret)
            if membership.authority is not None:
                self._redactor.protect(membership.authority.private_key)

    def notice(self, name: str, text: str) -> None:
        self.hub.publish("daemon", name, Notice(text=text))

    # End --------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Everything down, in the opposite order; also after a start that failed half way."""
        await self._supervisor.close(_TASKS_TIMEOUT)
        await self._closing.aclose()


def _calmly() -> None:
    """Nothing can be hurried."""
