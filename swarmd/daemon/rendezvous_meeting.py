"""Members meet in the DHT: each group is announced at its place of the day and looked for there.

In: how the groups stand (`groups.rendezvous.schedule` says when), what the DHT brings. Out: addresses for the groups to
try, as hints of the lowest trust (`groups.rendezvous.hints` says how many): whoever answers there has to prove that it
is a member, and learns nothing otherwise but that this node called it.

Groups whose members link with those only whom a ticket or the user names (`Capability.NO_PEERS`) stay away from it. The
unlisted group of a single share does not: its ticket is all that its reader has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError
from swarmd.core.ids import GroupId
from swarmd.daemon.rendezvous_work import Around, Job
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability
from swarmd.groups.rendezvous.hints import Hints
from swarmd.groups.rendezvous.places import Calendar
from swarmd.groups.rendezvous.schedule import Schedule, Standing, Task

log = logging.getLogger(__name__)

EXPIRY_PERIOD = 60.0
"""Seconds between looks for hints that nobody has named again."""


class _Meeting:
    """One group's."""

    def __init__(self, group: Group, around: Around, now: float) -> None:
        self.calendar = Calendar.of(group.spec)
        self.schedule = Schedule(around.chance, now)
        self.hints = Hints(around.chance)


class Meetings:
    """A `Part`. `wake`: somebody may be called now."""

    def __init__(self, around: Around, wake: Callable[[], None]) -> None:
        self._around, self._wake = around, wake
        self._meetings: dict[GroupId, _Meeting] = {}
        self._expire_at = 0.0
        self.kind, self.n_found = "member", 0  # addresses to be tried

    def __len__(self) -> int:
        """Groups that are announced."""
        return len(self._meetings)

    def next_job(self, now: float) -> Job | None:
        self._follow(now)
        if now >= self._expire_at:
            self._expire_at = now + EXPIRY_PERIOD
            self._take_back(now)
        for group, meeting in self._meetings.items():
            task = meeting.schedule.take(_standing(self._around.memberships.get(group).group), now)
            if task is not None:
                self._meetings[group] = self._meetings.pop(group)  # the others come first the next time
                return partial(self._meet, group, meeting, task)
        return None

    def _follow(self, now: float) -> None:
        """The groups that this node is in."""
        memberships = self._around.memberships
        for group in [group for group in self._meetings if group not in memberships]:
            del self._meetings[group]
        for group, membership in memberships.all().items():
            if group not in self._meetings and Capability.NO_PEERS not in membership.spec.capabilities:
                self._meetings[group] = _Meeting(membership.group, self._around, now)

    async def _meet(self, group: GroupId, meeting: _Meeting, task: Task) -> None:
        dht, port = self._around.dht, self._port()
        try:
            for place in meeting.calendar.meeting_places(self._around.wall):
                found = await (dht.announce(place, port) if task is Task.ANNOUNCE else dht.get_peers(place))
                self._take(group, meeting, found)
        except LocalError as error:
            log.debug("group %s: %s in the DHT: %s", group.short, task.value, error)
            meeting.schedule.ended(task, self._around.clock.monotonic(), is_vain=True)
        else:
            meeting.schedule.ended(task, self._around.clock.monotonic())

    def _port(self) -> int:
        """The one we listen at where others see it as it is; 0, for whichever they see, behind a NAT."""
        seen = self._around.dht.seen_as
        listening = [each for contact in self._around.memberships.own_contacts() for each in contact.addresses]
        return next((each.port for each in listening if seen is not None and each.host == seen.host), 0)

    def _take(self, group: GroupId, meeting: _Meeting, found: Iterable[Address]) -> None:
        if self._meetings.get(group) is not meeting or group not in self._around.memberships:
            return  # it was left meanwhile
        fresh = meeting.hints.take(self._around.usable(found), self._around.clock.monotonic())
        for address in fresh:
            self._around.memberships.add_contact(group, Contact(None, (address,)), Source.DHT)
        if fresh:
            self.n_found += len(fresh)
            log.debug("group %s: %d addresses found in the DHT", group.short, len(fresh))
            self._wake()

    def _take_back(self, now: float) -> None:
        for group, meeting in self._meetings.items():
            for address in meeting.hints.expired(now):
                self._around.memberships.withdraw_hint(group, address, Source.DHT)


def _standing(group: Group) -> Standing:
    n_members = group.estimated_member_count
    return Standing(len(group.neighbours), min(group.target, max(1, n_members - 1)), n_members)
