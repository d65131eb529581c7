"""What this member holds, and tells the members nearest to it: all of it within minutes, anew before it expires.

In: what is held, where this node is, time. Out: Announce for neighbours.

What is new, or is held no longer, is announced three times in the first half minute, over several ways each time,
since one that is lost is not missed otherwise; then what is held every `REFRESH_PERIOD`. Where the group is so small
that everybody is linked with everybody, nothing is (`is_needed`).

Invariant: at most `STEP_OBJECTS` objects a second are announced; at most `MAX_OBJECTS` ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.groups.contacts import MAX_ADDRESSES
from swarmd.groups.providers.links import Links
from swarmd.groups.providers.messages import HOP_LIMIT, TURN_LIMIT, Announce
from swarmd.groups.providers.record import LIFETIME, ProviderRecord, key_of, sign_record
from swarmd.groups.ring import GroupAddress
from swarmd.identity.identity import Identity

MAX_OBJECTS = 1024
"""Of one member in one group: with more, those that came later are found at neighbours only, or with others."""
STEP_PERIOD = 1.0
STEP_OBJECTS = 4
"""So all of `MAX_OBJECTS` are announced within `REFRESH_PERIOD`: 3 KiB a second while there are as many."""
FIRST_PERIODS = (5.0, 25.0)
"""Seconds until what is new is announced again, and once more."""
REFRESH_PERIOD = 480.0
"""Seconds, give or take a tenth: a tenth of the members are replaced meanwhile in a restless group."""
NEED_DELAY = 3.0
"""Seconds from when the group was seen to be large: by then a newcomer has most of its neighbours."""
FIRST_WAYS = 5
REFRESH_WAYS = 2
CHOICES = 6
"""The neighbours nearest to a key, over which it is announced."""


@dataclass(slots=True)
class _Own:
    """An object that is held, or (`is_held` false) one whose keepers are to be told that it is not any more."""

    content_id: ContentId
    is_held: bool = True
    due_at: float = -math.inf
    n_announced: int = 0
    record: ProviderRecord | None = None


class Announcing:
    def __init__(self, identity: Identity, group_id: GroupId, links: Links, rng: Rng) -> None:
        self._identity, self._group_id, self._links, self._rng = identity, group_id, links, rng
        self._own: dict[GroupAddress, _Own] = {}
        self._addresses: tuple[Address, ...] = ()
        self._stamp = 0
        self._step_at = math.inf
        self._stepped_at = -math.inf
        self.is_needed = False

    @property
    def n_held(self) -> int:
        return sum(own.is_held for own in self._own.values())

    def set_addresses(self, addresses: Iterable[Address], now: float) -> None:
        """Where this node is reached; keepers are told of a change."""
        listed = tuple(each for each in addresses if each.is_dialable)[:MAX_ADDRESSES]
        if listed != self._addresses:
            self._addresses = listed
            for own in self._own.values():
                own.record, own.due_at = None, now
            self._step_soon(now)

    def set_needed(self, is_needed: bool, now: float) -> None:
        if is_needed and not self.is_needed:
            self._step_at = now + NEED_DELAY
        self.is_needed = is_needed

    def provide(self, objects: Iterable[ContentId], now: float) -> None:
        for content_id in objects:
            key = key_of(self._group_id, content_id)
            own = self._own.get(key)
            if own is None and len(self._own) < MAX_OBJECTS:
                self._own[key] = _Own(content_id)
            elif own is not None and not own.is_held:
                own.is_held, own.record, own.due_at, own.n_announced = True, None, now, 0
        self._step_soon(now)

    def withdraw(self, objects: Iterable[ContentId], now: float) -> None:
        for content_id in objects:
            key = key_of(self._group_id, content_id)
            own = self._own.get(key)
            if own is None or not own.is_held:
                continue
            if own.n_announced:  # some may keep a record of it
                own.is_held, own.record, own.due_at, own.n_announced = False, None, now, 0
            else:
                del self._own[key]
        self._step_soon(now)

    def record(self, key: GroupAddress, wall: float) -> ProviderRecord | None:
        """What this node says of itself, to whoever asks it."""
        own = self._own.get(key)
        if own is None or not own.is_held:
            return None
        if own.record is not None and own.record.left(wall) < LIFETIME / 2:
            own.record = None
        return self._signed(key, own, wall)

    def next_deadline(self) -> float:
        return self._step_at if self.is_needed and self._own else math.inf

    def handle_timer(self, now: float, wall: float) -> None:
        if now < self.next_deadline():
            return
        self._stepped_at = now
        due = sorted((own.n_announced, own.due_at, key) for key, own in self._own.items() if own.due_at <= now)
        for _, _, key in due[:STEP_OBJECTS] if len(self._links) else ():
            self._announce(key, self._own[key], now, wall)
        next_at = min((own.due_at for own in self._own.values()), default=math.inf)
        self._step_at = max(now + STEP_PERIOD, next_at)

    def _step_soon(self, now: float) -> None:
        self._step_at = min(self._step_at, max(now, self._stepped_at + STEP_PERIOD))

    def _announce(self, key: GroupAddress, own: _Own, now: float, wall: float) -> None:
        own.record = None  # dated anew
        record = self._signed(key, own, wall)
        if (keepers := self._links.keepers(key)) is not None:
            for peer in keepers:
                self._links.send(peer, Announce(0, 0, True, record.encoded))
        else:
            is_fresh = own.n_announced <= len(FIRST_PERIODS)
            for turn, peer in self._ways(key, FIRST_WAYS if is_fresh else REFRESH_WAYS):
                self._links.send(peer, Announce(HOP_LIMIT, turn, False, record.encoded))
        if not own.is_held and own.n_announced >= len(FIRST_PERIODS):
            del self._own[key]
            return
        first = dict(enumerate(FIRST_PERIODS))
        own.due_at = now + first.get(own.n_announced, REFRESH_PERIOD * (0.9 + 0.2 * self._rng.random()))
        own.n_announced += 1

    def _ways(self, key: GroupAddress, n: int) -> list[tuple[int, PeerId]]:
        """The nearest neighbour by the shortest way, and others by others."""
        best, *others = self._links.nearer(key)[:CHOICES]
        drawn = self._rng.sample(others, min(n - 1, len(others)))
        return [(0, best), *((1 + self._rng.randrange(TURN_LIMIT), peer) for peer in drawn)]

    def _signed(self, key: GroupAddress, own: _Own, wall: float) -> ProviderRecord:
        if own.record is None:
            self._stamp = max(self._stamp + 1, int(wall * 1000))
            own.record = sign_record(
                self._identity,
                self._group_id,
                key,
                self._stamp,
                is_held=own.is_held,
                addresses=self._addresses,
            )
        return own.record
