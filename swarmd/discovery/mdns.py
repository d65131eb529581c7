"""Finding nodes on the local network by multicast DNS (RFC 6762, 6763): the driver of its two halves.

In: the addresses the node listens on, a function that makes tags, `groups_changed`. Out: `next_event`.
States: off (no interface, or none that takes multicast; tried again at each look at the interfaces) and on.

Run it as one task; it follows interfaces that come and go, announces (`announcer`) and resolves what it hears
(`sightings`). That a network has no multicast (a container, a guest Wi-Fi) is no error: `note` says so, once
in the log, and everything else of swarmd works.

Invariant: what it announces is never older than its tags' rotation, and `run` leaves nothing behind.
It knows no groups and decides no dial. A crash loses nothing: others forget us after 20 minutes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import RemoteError
from swarmd.core.rng import Rng
from swarmd.core.terminal import escape
from swarmd.discovery.announcer import Announcer, TagsOf
from swarmd.discovery.interfaces import Interface, Plan, plan, read_interfaces, takes_multicast
from swarmd.discovery.responder import Responder
from swarmd.discovery.sightings import Lost, Sighted, Sightings

INSTANCE_BYTES = 16
INTERFACE_PERIOD = 10.0
"""Between two looks at the interfaces (0.1 ms each): how long a cable that was plugged in goes unnoticed."""
MAX_RESOLVING = 64
"""Names being resolved at once. Who floods the network with names makes us miss some, which speak again."""
_HINT = "peers on this network are not found by themselves; tickets and `swarm peer add HOST:PORT` work"
_log = logging.getLogger(__name__)


class Mdns:
    """Discovery on the local network for one node. Lives on one event loop."""

    def __init__(
        self,
        listen: Sequence[Address],
        tags_of: TagsOf,
        clock: Clock,
        rng: Rng,
        interfaces: Callable[[], Sequence[Interface]] = read_interfaces,
    ) -> None:
        self.instance = rng.bytes(INSTANCE_BYTES).hex()
        self.note: str | None = None
        self._listen, self._clock, self._interfaces = tuple(listen), clock, interfaces
        self._announcer = Announcer(tags_of, rng, clock.monotonic())
        self._sightings = Sightings(self.instance)
        self._responder = Responder(self.instance, self._heard)
        self._plan = Plan()
        self._wake, self._news = asyncio.Event(), asyncio.Event()
        self._resolving: dict[str, bool] = {}  # name -> whether it spoke again meanwhile
        self._resolvers: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled; then a goodbye is sent. May be run again."""
        async with asyncio.TaskGroup() as self._resolvers:
            try:
                while True:
                    await self._follow_interfaces()
                    await self._announce()
                    await self._pause()
            finally:
                self._resolvers = None
                self._resolving.clear()
                await self._close()

    def groups_changed(self) -> None:
        """A group was joined or left: announce soon, and tell again of who was heard."""
        self._announcer.groups_changed(self._clock.monotonic())
        self._sightings.groups_changed()
        self._wake.set()
        self._news.set()

    async def next_event(self) -> Sighted | Lost:
        """Waits for it."""
        while (event := self._sightings.next_event()) is None:
            self._news.clear()
            await self._news.wait()
        return event

    # --- speaking ---

    async def _follow_interfaces(self) -> None:
        wanted = plan(self._listen, self._interfaces())
        usable = Plan(tuple(filter(takes_multicast, wanted.join)), wanted.announce)
        if usable == self._plan and self._responder.is_open:
            return
        if not wanted.join or not wanted.announce:
            await self._turn_off("no network interface has an address that swarmd listens on")
        elif not usable.join:
            await self._turn_off("no network interface takes multicast")
        else:
            await self._turn_on(usable)

    async def _turn_on(self, wanted: Plan) -> None:
        await self._close()  # with a goodbye, so that nobody dials the old addresses
        try:
            await self._responder.open(wanted.join)
        except OSError as error:
            await self._turn_off(error.strerror or str(error))
            return
        _log.info("mDNS is on and tells of %s", ", ".join(map(str, wanted.announce)))
        self.note = None
        self._plan = wanted
        self._announcer.groups_changed(self._clock.monotonic())

    async def _turn_off(self, reason: str) -> None:
        await self._close()
        note = f"mDNS is off: {reason}; {_HINT}"
        if note != self.note:
            _log.warning("%s", note)
        self.note = note

    async def _announce(self) -> None:
        if not self._responder.is_open:
            return
        announcement = self._announcer.announcement_to_send(self._clock.monotonic())
        if announcement is not None:
            await self._responder.publish(self._plan.announce, announcement)

    async def _pause(self) -> None:
        period = INTERFACE_PERIOD
        if self._responder.is_open:
            period = min(period, self._announcer.next_deadline() - self._clock.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, period)):
                await self._wake.wait()
        self._wake.clear()

    async def _close(self) -> None:
        self._plan = Plan()
        await self._responder.close()
        self._sightings.network_changed()
        self._news.set()

    # --- listening ---

    def _heard(self, instance: str, is_there: bool) -> None:
        if instance == self.instance or self._resolvers is None:
            return
        if not is_there:
            self._sightings.service_gone(instance)
            self._news.set()
        elif instance in self._resolving:
            self._resolving[instance] = True
        elif len(self._resolving) < MAX_RESOLVING:
            self._resolving[instance] = False
            self._resolvers.create_task(self._resolve(instance), name=f"mdns resolve {instance}")

    async def _resolve(self, instance: str) -> None:
        while True:
            self._resolving[instance] = False
            found = await self._responder.resolve(instance)
            if not self._resolving.get(instance):
                break
        self._resolving.pop(instance, None)
        if found is None:
            return
        try:
            self._sightings.service_seen(instance, found.hosts, found.port, found.strings)
        except RemoteError as error:
            _log.debug("mDNS: %s says what no swarmd would: %s", escape(instance), error)
        self._news.set()
