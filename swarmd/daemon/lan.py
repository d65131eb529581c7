"""Members on the local network: tags of our groups for the announcements, and contacts out of what others announce.

Between `discovery.mdns`, which sees opaque tags, and the groups, whose keys make them (`groups.beacon`). A
sighting is a hint: the peer there still has to prove itself. When a node says goodbye, or moves, the hints that it
alone gave are taken back, unless somebody has answered there.

Invariant: of at most MAX_INSTANCES nodes it is kept what they gave.
"""

from __future__ import annotations

import importlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import RemoteError
from swarmd.core.ids import GroupId
from swarmd.core.rng import Rng
from swarmd.daemon.memberships import Memberships
from swarmd.daemon.supervisor import Policy, Supervisor
from swarmd.discovery.sightings import MAX_INSTANCES, Lost, Sighted
from swarmd.groups import beacon
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source

if TYPE_CHECKING:
    from swarmd.discovery.mdns import Mdns

log = logging.getLogger(__name__)


class Lan:
    def __init__(self, memberships: Memberships, clock: Clock, rng: Rng) -> None:
        self._memberships, self._clock, self._rng = memberships, clock, rng
        self._mdns: Mdns | None = None
        self._wake: Callable[[], None] = lambda: None
        self._given: OrderedDict[str, set[tuple[GroupId, Address]]] = OrderedDict()
        """By instance, the hints that come from it."""

    @property
    def is_on(self) -> bool:
        return self._mdns is not None and self._mdns.note is None

    @property
    def note(self) -> str | None:
        """Why it does not work, if it does not."""
        return self._mdns.note if self._mdns is not None else None

    def start(self, listening: Sequence[Address], supervisor: Supervisor, wake: Callable[[], None]) -> None:
        """Announce and listen from now on; `wake` when somebody was found."""
        # Loaded here: zeroconf takes 3 MiB, which a node without mDNS has no use for.
        mdns: type[Mdns] = importlib.import_module("swarmd.discovery.mdns").Mdns
        self._mdns, self._wake = mdns(listening, self._tags, self._clock, self._rng), wake
        supervisor.start("mdns", self._mdns.run, Policy.RESTART)
        supervisor.start("mdns sightings", self._listen, Policy.RESTART)

    def groups_changed(self) -> None:
        if self._mdns is not None:
            self._mdns.groups_changed()

    def _tags(self, nonce: bytes) -> Sequence[bytes]:
        keys = self._memberships.discovery_keys().values()
        return beacon.plan_tags(list(keys), beacon.epoch_at(self._clock.wall()), nonce, self._rng)

    async def _listen(self) -> None:
        assert self._mdns is not None
        while True:
            self.receive(await self._mdns.next_event())

    def receive(self, event: Sighted | Lost) -> None:
        """What mDNS has heard."""
        if isinstance(event, Sighted):
            self._sighted(event)
        else:
            self._take_back(self._given.pop(event.instance, set()))

    def _sighted(self, event: Sighted) -> None:
        keys = self._memberships.discovery_keys()
        try:
            groups = beacon.match(event.tags, event.nonce, keys, self._clock.wall())
        except RemoteError as error:
            log.debug("mDNS: %s", error)
            return
        hints = [(group, address) for group in groups for address in event.addresses]
        for group, address in hints:
            self._memberships.add_contact(group, Contact(None, (address,)), Source.MDNS)
        self._note(event, hints)
        if groups:
            self._wake()

    def _note(self, event: Sighted, hints: Iterable[tuple[GroupId, Address]]) -> None:
        given = self._given.pop(event.instance, set())
        moved = {hint for hint in given if hint[1] not in event.addresses}
        if kept := (given - moved).union(hints):
            self._given[event.instance] = kept
        if len(self._given) > MAX_INSTANCES:
            self._given.popitem(last=False)
        self._take_back(moved)

    def _take_back(self, hints: Iterable[tuple[GroupId, Address]]) -> None:
        for hint in hints:
            if not any(hint in others for others in self._given.values()):
                self._memberships.withdraw_hint(*hint)
