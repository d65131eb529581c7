"""Members on the local network: tags of our groups for the announcements, and contacts out of what others announce.

Between `discovery.mdns`, which sees opaque tags, and the groups, whose keys make them (`groups.beacon`). A
sighting is a hint: the peer there still has to prove itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import RemoteError
from swarmd.core.rng import Rng
from swarmd.daemon.memberships import Memberships
from swarmd.daemon.supervisor import Policy, Supervisor
from swarmd.discovery.mdns import Mdns
from swarmd.discovery.sightings import Sighted
from swarmd.groups import beacon
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source

log = logging.getLogger(__name__)


class Lan:
    def __init__(self, memberships: Memberships, clock: Clock, rng: Rng) -> None:
        self._memberships, self._clock, self._rng = memberships, clock, rng
        self._mdns: Mdns | None = None
        self._wake: Callable[[], None] = lambda: None

    @property
    def is_on(self) -> bool:
        return self._mdns is not None and self._mdns.note is None

    @property
    def note(self) -> str | None:
        """Why it does not work, if it does not."""
        return self._mdns.note if self._mdns is not None else None

    def start(self, listening: Sequence[Address], supervisor: Supervisor, wake: Callable[[], None]) -> None:
        """Announce and listen from now on; `wake` when somebody was found."""
        self._mdns, self._wake = Mdns(listening, self._tags, self._clock, self._rng), wake
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
            event = await self._mdns.next_event()
            if isinstance(event, Sighted):
                self._sighted(event)

    def _sighted(self, event: Sighted) -> None:
        keys = self._memberships.discovery_keys()
        try:
            groups = beacon.match(event.tags, event.nonce, keys, self._clock.wall())
        except RemoteError as error:
            log.debug("mDNS: %s", error)
            return
        for group in groups:
            for address in event.addresses:
                self._memberships.add_contact(group, Contact(None, (address,)), Source.MDNS)
        if groups:
            self._wake()
