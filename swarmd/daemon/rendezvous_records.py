"""Peer records in the DHT: this node says in each listed group where it is, and looks up members whom it has lost.

In: this node's addresses, whom the groups have lost, time. Out: items put, and for a record that was found the member's
addresses, for the group to try.

A record is put when the addresses change (a little later: they change together) and every PUT_PERIOD. A group has lost
a member when every address that it knows of it has failed. Unlisted groups, of one share each, have none: a node may be
in thousands, and those who want the share meet at the group's place.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError, RemoteError
from swarmd.core.ids import GroupId, PeerId
from swarmd.daemon.rendezvous_work import Around, Job
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.rendezvous.lookups import MAX_LOST, Lookups
from swarmd.groups.rendezvous.peerrecords import PeerRecord, open_record, seal_record, slot_of
from swarmd.groups.rendezvous.places import Calendar
from swarmd.identity.identity import Identity

log = logging.getLogger(__name__)

PUT_PERIOD = 3600.0
"""Seconds, give or take a quarter: nodes forget after two hours."""
CHANGE_DELAY = 3.0
RETRY_PERIOD = 60.0
CHECK_PERIOD = 5.0
"""Seconds between two looks at whom a group has lost."""


@dataclass(slots=True)
class _Records:
    """One group's. `told`: the addresses in the record that was put last."""

    calendar: Calendar
    lookups: Lookups
    put_at: float
    told: tuple[Address, ...] = ()
    check_at: float = -math.inf
    newest: dict[PeerId, int] = field(default_factory=dict)
    """The times of the records that were found, of MAX_LOST members: none that is older counts."""


class Whereabouts:
    """A `Part`. `wake`: somebody may be called now."""

    def __init__(self, around: Around, identity: Identity, wake: Callable[[], None]) -> None:
        self._around, self._identity, self._wake = around, identity, wake
        self._records: dict[GroupId, _Records] = {}
        self.kind, self.n_found = "record", 0

    def next_job(self, now: float) -> Job | None:
        self._follow(now)
        addresses = self._around.own_addresses()
        for group, records in self._records.items():
            if addresses != records.told:
                records.told, records.put_at = addresses, min(records.put_at, now + CHANGE_DELAY)
            if now >= records.put_at and addresses:
                records.put_at = now + PUT_PERIOD * (0.75 + self._around.chance.random() / 2)
                return partial(self._put, group, records, addresses)
            if now >= records.check_at:
                records.check_at = now + CHECK_PERIOD
                peer = records.lookups.take(self._around.memberships.get(group).group.lost(now), now)
                if peer is not None:
                    return partial(self._look_up, group, records, peer)
        return None

    def _follow(self, now: float) -> None:
        memberships = self._around.memberships
        for group in [group for group in self._records if group not in memberships]:
            del self._records[group]
        for group, membership in memberships.all().items():
            spec = membership.spec
            if group not in self._records and spec.is_listed and Capability.NO_PEERS not in spec.capabilities:
                self._records[group] = _Records(Calendar.of(spec), Lookups(self._around.chance), now + CHANGE_DELAY)

    async def _put(self, group: GroupId, records: _Records, addresses: tuple[Address, ...]) -> None:
        around = self._around
        if group not in around.memberships:
            return
        spec = around.memberships.spec(group)
        try:
            for day in records.calendar.days(around.wall):
                item = seal_record(spec, self._identity, addresses, day, around.wall, around.secrets)
                await around.dht.put(item)
        except LocalError as error:
            log.debug("group %s: this node's record was not put: %s", group.short, error)
            records.put_at = min(records.put_at, around.clock.monotonic() + RETRY_PERIOD)

    async def _look_up(self, group: GroupId, records: _Records, peer: PeerId) -> None:
        if group not in self._around.memberships:
            return
        spec = self._around.memberships.spec(group)
        try:
            found = [await self._found(spec, peer, day) for day in records.calendar.days(self._around.wall)]
        except LocalError as error:
            log.debug("group %s: the record of %s was not looked up: %s", group.short, peer.short, error)
            return
        newest = max((each for each in found if each is not None), key=lambda each: each.time, default=None)
        if self._records.get(group) is not records or group not in self._around.memberships:
            return  # it was left meanwhile
        if newest is None or newest.time < records.newest.get(peer, 0):
            return
        records.newest.pop(peer, None)
        records.newest[peer] = newest.time
        if len(records.newest) > MAX_LOST:
            del records.newest[next(iter(records.newest))]
        self.n_found += 1
        self._tell(group, newest)

    async def _found(self, spec: GroupSpec, peer: PeerId, day: int) -> PeerRecord | None:
        item = await self._around.dht.get_mutable(slot_of(spec, peer, day).public)
        if item is None:
            return None
        try:
            return open_record(spec, peer, day, item, self._around.wall)
        except RemoteError as error:
            log.debug("group %s: what is in the place of the record of %s: %s", spec.group_id.short, peer.short, error)
            return None

    def _tell(self, group: GroupId, record: PeerRecord) -> None:
        usable = self._around.usable(record.addresses)
        if not usable:
            return
        contact, age = Contact(record.peer_id, tuple(usable)), record.age(self._around.wall)

        def add(machine: Group) -> None:
            machine.add_contact(contact, Source.TICKET, self._around.clock.monotonic(), age=age)

        self._around.memberships.act(group, add)
        log.debug("group %s: %s is found again in the DHT", group.short, record.peer_id.short)
        self._wake()
