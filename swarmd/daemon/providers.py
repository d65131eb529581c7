"""Who holds what in large groups: tells each group what this node gives, and has those found and connected who hold
what a transfer lacks.

In: what is served and fetched, how transfers stand, what the groups have found (`groups.providers`), time. Out: calls
of the groups: what is provided, searches, contacts, and which links are to be held. What a program wants of an object
(`daemon.programs`) is a transfer here, for as long as it wants anything.

A search begins at once when a transfer has few sources, or lacks what none of them has, and its group has members that
are not neighbours; and again, ever more rarely, while that is so. Who was found is dialed and its link held for as long
as the transfer lasts, as are the links over which chunks come; then the group lets go of those that it does not need
otherwise, politely.

Invariant: for each transfer and group at most `MAX_PROVIDERS` are dialed or held because they were found. Whoever is
not linked `DIAL_PERIOD` later was dialed in vain, and is not tried again by this transfer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from swarmd.core.addresses import Address
from swarmd.core.backoff import Backoff
from swarmd.core.clock import Clock
from swarmd.core.errors import Conflict
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.daemon.exchange import Exchange
from swarmd.daemon.memberships import Memberships
from swarmd.daemon.programs import Programs
from swarmd.daemon.serving import Serving
from swarmd.daemon.transfer import Transfer, TransferState
from swarmd.daemon.transfers import Transfers
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source
from swarmd.groups.group import Group
from swarmd.groups.membership import KEPT_PERIOD
from swarmd.groups.providers.events import Found
from swarmd.replication.progress import Progress, Waiting

log = logging.getLogger(__name__)

LOOK_PERIOD = 5.0
"""Seconds between two looks at what there is to provide: downloads have their first chunk by and by."""
SOON_PERIOD = 1.0
"""And no fewer, when something is known to have changed: 100,000 objects are looked through in 20 ms."""
CHECK_PERIOD = 1.0
"""Seconds between two looks at one transfer."""
FEW_SOURCES = 4
"""Members linked that have some of it: with fewer, more are looked for."""
FIRST_PERIOD, LONGEST_PERIOD = 1.5, 300.0
"""Seconds until they are looked for again: soon at first, for who has shared it just now is telling others."""
MAX_PROVIDERS = 8
MAX_USED = 16
"""Links of one transfer that are held because chunks come over them: those over which most have come."""
DIAL_PERIOD = 30.0
MAX_VAIN = 256
_HINT_PERIOD = 120.0  # seconds for which a group remembers who was found and not reached


@dataclass(slots=True)
class _Hunt:
    """One transfer in one group. found: since when each is dialed or held."""

    content_id: ContentId
    backoff: Backoff
    search_at: float
    search_id: int | None = None
    check_at: float = -math.inf
    found: dict[PeerId, float] = field(default_factory=dict)
    used: tuple[PeerId, ...] = ()
    vain: dict[PeerId, None] = field(default_factory=dict)
    is_searched: bool = False
    """A search over the ring has ended."""


class Providing:
    """Everything on the loop; `handle_timer` once a second, and soon after `hear`."""

    def __init__(
        self,
        memberships: Memberships,
        transfers: Transfers,
        serving: Serving,
        programs: Programs,
        exchange: Exchange,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._memberships, self._transfers, self._serving, self._programs = memberships, transfers, serving, programs
        self._exchange, self._clock, self._rng = exchange, clock, rng
        self._told: dict[GroupId, set[ContentId]] = {}
        self._hunts: dict[tuple[GroupId, str], _Hunt] = {}
        self._held: dict[GroupId, list[PeerId]] = {}
        self._news: list[tuple[GroupId, Found]] = []
        self._look_at = self._soon_at = -math.inf
        self._n_changes = 0
        self.n_found = 0
        """Members who are said to hold what a transfer lacked, and whom it has had dialed."""

    def hear(self, group: GroupId, found: Found) -> None:
        """A group has found somebody."""
        self._news.append((group, found))

    def handle_timer(self, now: float) -> None:
        n_changes = self._serving.n_changes + self._programs.n_changes
        if now >= (self._look_at if n_changes == self._n_changes else self._soon_at):
            self._look_at, self._soon_at, self._n_changes = now + LOOK_PERIOD, now + SOON_PERIOD, n_changes
            self._provide(now)
        self._hunt(now)
        news, self._news = self._news, []
        for group, found in news:
            self._take(group, found, now)
        self._hold(now)

    # for the DHT (`rendezvous_objects`)

    def announced(self) -> Iterator[tuple[GroupId, Collection[ContentId]]]:
        """What this node gives in each group that has members besides its neighbours."""
        for group in self._groups():
            providers = self._memberships.get(group).group.providers
            if providers is not None and providers.is_needed:
                yield group, self._told.get(group, set())

    def lacking(self) -> Iterator[tuple[GroupId, ContentId]]:
        """What a transfer lacks, which nobody linked has anything of, and the ring knows nobody for."""
        for (group, _), hunt in self._hunts.items():
            progress = self._exchange.progress(hunt.content_id)
            if hunt.is_searched and not hunt.found and progress is not None and not progress.peers:
                yield group, hunt.content_id

    # what this node gives

    def _provide(self, now: float) -> None:
        self._told = {group: told for group, told in self._told.items() if group in self._memberships}
        parts = [(transfer.groups, transfer.content_id) for transfer in self._transfers.all() if _has_part(transfer)]
        for group in self._groups():
            given = self._serving.objects(group) | self._programs.given(group)
            given |= {content_id for groups, content_id in parts if group in groups}
            told = self._told.get(group, set())
            if given != told:
                self._told[group] = given
                self._tell(group, given - told, told - given, now)

    def _groups(self) -> list[GroupId]:
        """Those in which providers are looked for."""
        return [group for group, each in self._memberships.all().items() if each.group.providers is not None]

    def _tell(self, group: GroupId, come: set[ContentId], gone: set[ContentId], now: float) -> None:
        def tell(machine: Group) -> None:
            assert machine.providers is not None
            machine.providers.withdraw(gone, now)
            machine.providers.provide(come, now)

        self._memberships.act(group, tell)

    # what transfers lack

    def _hunt(self, now: float) -> None:
        wanted = dict(self._wanted())
        for key in self._hunts.keys() - wanted.keys():
            del self._hunts[key]
        for key, content_id in wanted.items():
            hunt = self._hunts.get(key)
            if hunt is None:
                backoff = Backoff(FIRST_PERIOD, LONGEST_PERIOD, self._rng)
                hunt = self._hunts[key] = _Hunt(content_id, backoff, now)
            if now >= hunt.check_at:
                hunt.check_at = now + CHECK_PERIOD
                self._check(key[0], hunt, now)

    def _wanted(self) -> Iterator[tuple[tuple[GroupId, str], ContentId]]:
        groups = set(self._groups())
        for transfer in self._transfers.all():
            if transfer.is_active and not transfer.is_paused and transfer.standing is None:
                for group in transfer.groups & groups:
                    yield (group, transfer.id), transfer.content_id
        for group, number, content_id in self._programs.wanted():
            if group in groups:
                yield (group, f"program {number}"), content_id

    def _check(self, group: GroupId, hunt: _Hunt, now: float) -> None:
        """Who gives is held; where there are few, more are looked for."""
        progress = self._exchange.progress(hunt.content_id)
        neighbours = self._memberships.get(group).group.neighbours
        hunt.used = _givers(progress, group, neighbours)
        for peer in [peer for peer, since in hunt.found.items() if now > since + DIAL_PERIOD]:
            if peer not in neighbours:
                del hunt.found[peer]
                if len(hunt.vain) < MAX_VAIN:
                    hunt.vain[peer] = None
        if progress is None or progress.is_complete or _has_sources(progress):
            return
        if now >= hunt.search_at and hunt.search_id is None and len(hunt.found) < MAX_PROVIDERS:
            self._search(group, hunt, now)

    def _search(self, group: GroupId, hunt: _Hunt, now: float) -> None:
        def search(machine: Group) -> int | None:
            providers = machine.providers
            return providers.find(hunt.content_id, now) if providers is not None and providers.is_needed else None

        try:
            hunt.search_id = self._memberships.act(group, search)
        except Conflict:
            return  # at the next look
        if hunt.search_id is not None:
            hunt.search_at = now + hunt.backoff.next_period()

    def _take(self, group: GroupId, found: Found, now: float) -> None:
        """Have them dialed."""
        hunts = [each for (of, _), each in self._hunts.items() if of == group and each.search_id == found.search_id]
        for hunt in hunts:
            if found.is_over:
                hunt.search_id, hunt.is_searched = None, True
            room = MAX_PROVIDERS - len(hunt.found)
            progress = self._exchange.progress(hunt.content_id)
            if progress is None or _has_sources(progress):
                continue
            for contact in [each for each in found.contacts if _peer(each) not in hunt.vain][: max(0, room)]:
                hunt.found[_peer(contact)] = now
                self.n_found += 1
                self._add_contact(group, contact, now)
            if found.contacts:
                log.debug("%d providers of %s found", len(found.contacts), hunt.content_id.short)

    def _add_contact(self, group: GroupId, contact: Contact, now: float) -> None:
        usable = Contact(contact.peer_id, tuple(each for each in contact.addresses if self._is_usable(each)))

        def add(machine: Group) -> None:
            machine.add_contact(usable, Source.GOSSIP, now, age=KEPT_PERIOD - _HINT_PERIOD)

        self._memberships.act(group, add)

    def _is_usable(self, address: Address) -> bool:
        """Another machine's loopback is not ours."""
        own = [each for contact in self._memberships.own_contacts() for each in contact.addresses]
        return not address.is_loopback or all(each.is_loopback for each in own)

    # links that transfers use

    def _hold(self, now: float) -> None:
        held: dict[GroupId, dict[PeerId, None]] = {group: {} for group in self._held if group in self._memberships}
        for (group, _), hunt in self._hunts.items():
            held.setdefault(group, {}).update(dict.fromkeys((*hunt.used, *hunt.found)))
        for group, peers in held.items():
            if list(peers) != self._held.get(group, []):
                self._memberships.act(group, partial(Group.hold, peers=tuple(peers), now=now))
        self._held = {group: list(peers) for group, peers in held.items() if peers}


def _has_sources(progress: Progress) -> bool:
    """Whether nobody need be looked for."""
    return progress.peers >= FEW_SOURCES and progress.waiting is not Waiting.MISSING_CHUNKS


def _givers(progress: Progress | None, group: GroupId, neighbours: Iterable[PeerId]) -> tuple[PeerId, ...]:
    """Neighbours over whose links chunks have come, those that gave most first."""
    sources = [] if progress is None else [each for each in progress.sources if each.group == group]
    giving = [each for each in sources if each.received_bytes and each.peer in neighbours]
    return tuple(each.peer for each in sorted(giving, key=lambda each: -each.received_bytes)[:MAX_USED])


def _has_part(transfer: Transfer) -> bool:
    """Whether others can have chunks of it already."""
    return (
        transfer.state is TransferState.DOWNLOADING and transfer.download.is_prepared and bool(transfer.download.have)
    )


def _peer(contact: Contact) -> PeerId:
    assert contact.peer_id is not None
    return contact.peer_id
