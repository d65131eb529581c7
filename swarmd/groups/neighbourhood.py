"""The links of one group: why each is there, how quick it is, and when it is let go.

In: links that open and close, plans (`groups.topology`), what neighbours need, time. Out: what to tell neighbours of
our need, links to let go.

Each end of a link needs it or not; it begins as needed by both. An end whose plan has not named the neighbour for
`RELEASE_PERIOD` says so, and that it does again when the plan has changed. Whichever end sees that neither needs the
link lets it go: a polite disconnect, after which the peer is a member like any other, not a lost one.

A visit (`groups.visits`), unless it is of use, is over for who made it after `VISIT_PERIOD`. Whoever does not need a
link, and hears that the other end does not, does not wait for longer.

Crowded is a node whom many know and few need: the one that tickets name. With more than twice its target of links it
lets go those that it does not need after `VISIT_PERIOD`, the oldest first, whatever the other end needs: by then a
newcomer has been told of members enough.

Invariant: a link that the plan names, or that is held for a transfer, is never let go.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from swarmd.core.ids import PeerId
from swarmd.groups.topology import Reason

RELEASE_PERIOD = 30.0
"""Seconds: plans change while a group grows."""
VISIT_PERIOD = 3.0
CROWD_EXTRA = 16
"""A crowd is more links than twice the target and this."""
_SMOOTHING = 0.25


@dataclass(slots=True)
class _Link:
    opened_at: float
    is_visit: bool = False
    latency: float = math.inf
    reason: Reason | None = None
    unwanted_since: float | None = None
    is_unneeded_told: bool = False
    is_needed_there: bool = True
    is_released: bool = False


@dataclass(frozen=True, slots=True)
class NeighbourInfo:
    """reason: None for a link that only the other end needs. latency: round trip in seconds, None if unknown."""

    peer_id: PeerId
    reason: Reason | None
    latency: float | None
    linked_period: float


class Neighbourhood:
    def __init__(self) -> None:
        self._links: dict[PeerId, _Link] = {}
        self._limit = math.inf
        self._needs: list[tuple[PeerId, bool]] = []
        self._released: deque[PeerId] = deque()
        self._check_at = math.inf

    def open_link(self, peer: PeerId, now: float, *, is_visit: bool = False) -> None:
        self._links[peer] = _Link(now, is_visit, unwanted_since=now)
        if len(self._links) > self._limit:
            self._check_at = min(self._check_at, now + VISIT_PERIOD)

    def close_link(self, peer: PeerId) -> bool:
        """Whether it was let go, by either end."""
        link = self._links.pop(peer)
        return link.is_released or not link.is_needed_there

    def measure(self, peer: PeerId, latency: float) -> None:
        """A round trip took so many seconds."""
        link = self._links[peer]
        known = link.latency
        link.latency = latency if known == math.inf else known + _SMOOTHING * (latency - known)

    def hear(self, peer: PeerId, is_needed: bool, now: float) -> None:
        """The other end needs this link, or does not."""
        link = self._links[peer]
        link.is_needed_there = is_needed
        if not is_needed:
            self._check_at = min(self._check_at, now)

    def follow(self, wanted: Mapping[PeerId, Reason], target: int, now: float) -> None:
        """A new plan."""
        self._limit = 2 * target + CROWD_EXTRA
        is_crowd = len(self._links) > self._limit
        for peer, link in self._links.items():
            link.reason = wanted.get(peer)
            if link.reason is None:
                if link.unwanted_since is None:
                    link.unwanted_since = now
                if not link.is_unneeded_told:
                    due_at = link.opened_at + VISIT_PERIOD if is_crowd else link.unwanted_since + _patience(link)
                    self._check_at = min(self._check_at, max(now, due_at))
                continue
            link.unwanted_since, link.is_released = None, False
            if link.is_unneeded_told:
                link.is_unneeded_told = False
                self._needs.append((peer, True))

    def make_room(self) -> bool:
        """Let the oldest link go that is not needed here; False if there is none."""
        for peer, link in self._links.items():
            if link.reason is None and not link.is_released:
                self._release(peer, link)
                return True
        return False

    def needs_to_tell(self) -> list[tuple[PeerId, bool]]:
        """What to say to whom; each is given once."""
        told, self._needs = self._needs, []
        return [(peer, is_needed) for peer, is_needed in told if peer in self._links]

    def next_release(self) -> PeerId | None:
        """A neighbour whose link is to be closed once what was said to it is sent; each is given once."""
        while self._released:
            peer = self._released.popleft()
            if peer in self._links and self._links[peer].is_released:
                return peer
        return None

    @property
    def latencies(self) -> dict[PeerId, float]:
        return {peer: link.latency for peer, link in self._links.items()}

    def info(self, now: float) -> list[NeighbourInfo]:
        return [
            NeighbourInfo(peer, link.reason, None if link.latency == math.inf else link.latency, now - link.opened_at)
            for peer, link in self._links.items()
        ]

    def next_deadline(self) -> float:
        return self._check_at

    def handle_timer(self, now: float) -> None:
        if now < self._check_at:
            return
        self._check_at = math.inf
        excess = len(self._links) - self._limit
        for peer, link in self._links.items():
            if link.reason is not None or link.is_released:
                continue
            if excess > 0 and now >= link.opened_at + VISIT_PERIOD:
                excess -= 1
                self._release(peer, link)
                continue
            since = now if link.unwanted_since is None else link.unwanted_since
            if now >= since + _patience(link):
                if not link.is_unneeded_told:
                    link.is_unneeded_told = True
                    self._needs.append((peer, False))
                if not link.is_needed_there:
                    self._release(peer, link)
            else:
                self._check_at = min(self._check_at, since + _patience(link))
        if excess > 0:
            self._check_at = min(self._check_at, now + VISIT_PERIOD)

    def _release(self, peer: PeerId, link: _Link) -> None:
        link.is_released = True
        if not link.is_unneeded_told:
            link.is_unneeded_told = True
            self._needs.append((peer, False))
        self._released.append(peer)


def _patience(link: _Link) -> float:
    """Seconds for which a link stays that is not wanted."""
    return VISIT_PERIOD if link.is_visit or not link.is_needed_there else RELEASE_PERIOD
