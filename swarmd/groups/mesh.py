"""A member's place in its group: its links, what is said on them of members, and which of them it needs.

It puts together who is there (`groups.membership`), how many there are (`groups.census`), whom to be linked with
(`groups.topology`) and which links to let go (`groups.neighbourhood`).

In: links, messages (Hello, Members, Need, Density, questions), time. Out: messages, events, candidates to dial.

On a link each side first sends its Hello and the members that the other should want. Then:
- a new neighbour is told of within `LATE_PUSH_DELAY`: in a small group to all others, in a larger one to those next
  to it on the ring;
- every `GOSSIP_PERIOD` one neighbour is asked for members and for its Status (asking spreads the last bit of news
  faster than telling, at the same cost), in turn one of those next to this node on the ring and any. While the ring
  around this node changes it asks every `SETTLING_PERIOD`.

Invariant: messages are of about 1 KiB, and of a bounded number whatever comes in. Not here: the
catalogue, services (`groups.group`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.groups.census import SPAN_BITS, Census
from swarmd.groups.contacts import MAX_ADDRESSES
from swarmd.groups.dialer import Candidate
from swarmd.groups.events import AddressObserved, LinkReleased, MemberJoined, MemberLeft
from swarmd.groups.membership import Membership
from swarmd.groups.messages import ENTRIES_PER_MESSAGE, Ask, Density, Hello, MemberEntry, Members, Need
from swarmd.groups.neighbourhood import Neighbourhood, NeighbourInfo
from swarmd.groups.ring import RING
from swarmd.groups.topology import RING_SIDE

GOSSIP_PERIOD = 10.0
"""Seconds, give or take a tenth (Flash: 10)."""
SETTLING_PERIOD = 2.0
SETTLED_AFTER = 20.0
"""Seconds since somebody new came next to this node."""
GOSSIP_SPREAD = 0.1
PUSH_DELAY = 0.05
"""Seconds: many who join at once are told of together."""
LATE_PUSH_DELAY = 0.3
"""The same for a group that is not fully meshed any more: each is told of by many."""
ASK_PERIOD = 1.0
"""Seconds between two answers to the same neighbour. Questions leave at twice that or more, but may come together after
a hold-up on the way: no fault, and one answer will do."""
MAX_ANSWERS = 32
"""In one `GOSSIP_PERIOD`: on average one comes, many more where most of the group is linked with one member. Who
gets no answer asks somebody else the next time."""
MAX_LINKS = 256
"""Neighbours at once. For one more another one that is not needed is let go; if there is none, it is not taken."""
MAX_HELD = 64
"""Neighbours that transfers want, besides those of the rule."""
RECKON_PERIOD = 2.0
"""Seconds between two reckonings of how many members there are."""
TOLD_CHANGE = 0.05

MeshEvent = AddressObserved | LinkReleased | MemberJoined | MemberLeft
MeshMessage = Hello | Members | Need | Density
"""What it is told; it says Ask, too."""


@dataclass(slots=True)
class _Link:
    """A neighbour."""

    address: Address | None
    """Where we see it."""
    is_visit: bool = False
    """It seems so: it was known already, and there were links enough. Then no news is made of it in a small group."""
    is_greeted: bool = False
    """Its Hello has come."""
    answered_at: float = -math.inf
    asked_at: float | None = None
    """When we asked it and have had no answer yet."""


class Mesh:
    """One group's links. Peers are linked neighbours in every call."""

    def __init__(self, own_id: PeerId, rng: Rng, now: float, *, is_named_only: bool = False) -> None:
        self._rng = rng
        self.membership = Membership(own_id, rng, now, is_named_only=is_named_only)
        self._neighbourhood = Neighbourhood()
        self._census = Census()
        self._links: dict[PeerId, _Link] = {}
        self._held: frozenset[PeerId] = frozenset()
        self._port = 0
        self._addresses: tuple[Address, ...] = ()
        self._fresh: dict[PeerId, None] = {}
        self._messages: deque[tuple[PeerId, bytes]] = deque()
        self._events: deque[AddressObserved] = deque()
        self._n_answers = 0
        self._density = Density(0, 0)
        self._reckon_at = now
        self._beside: list[PeerId] = []
        self._settled_at = -math.inf
        self._is_rings_turn = True
        self._push_at = math.inf
        self._gossip_at = now + self._gossip_period(now)
        self._period_ends_at = now + GOSSIP_PERIOD

    # links

    @property
    def links(self) -> Iterable[PeerId]:
        return self._links.keys()

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._links

    def is_greeted(self, peer: PeerId) -> bool:
        return self._links[peer].is_greeted

    def open_link(self, peer: PeerId, address: Address | None, now: float) -> bool:
        """False when there is no room for one more."""
        is_full = len(self._links) >= MAX_LINKS
        if is_full and (len(self._links) >= 2 * MAX_LINKS or not self._neighbourhood.make_room()):
            return False
        self._links[peer] = _Link(address if address is not None and address.is_dialable else None)
        is_known, is_visit = peer in self.membership, self.membership.is_visited(peer)
        self._links[peer].is_visit = is_known and (is_visit or len(self._links) > self.membership.target)
        self.membership.open_link(peer, address, now)
        self._neighbourhood.open_link(peer, now, is_visit=is_visit)
        self._say(peer, self._hello(peer))
        self._say(peer, self._density)
        is_brief = self._links[peer].is_visit if self.membership.is_small else is_known
        self._tell(peer, self.membership.report(peer, now, is_brief=is_brief))
        self._ring_changed(now)
        return True

    def close_link(self, peer: PeerId, now: float, *, has_left: bool) -> None:
        del self._links[peer]
        self._fresh.pop(peer, None)
        has_parted = self._neighbourhood.close_link(peer)
        self._census.forget(peer)
        self.membership.close_link(peer, now, has_left=has_left, has_parted=has_parted and not has_left)
        self._messages = deque(item for item in self._messages if item[0] != peer)
        self._ring_changed(now)

    def receive(self, peer: PeerId, message: MeshMessage, now: float) -> None:
        """What a neighbour says of itself and of others. An Ask is for `answer`."""
        match message:
            case Hello():
                self._receive_hello(peer, self._links[peer], message, now)
            case Members():
                self.membership.receive_gossip(peer, message.entries, now)
            case Need():
                self._neighbourhood.hear(peer, message.is_needed, now)
            case Density():
                self._census.hear(peer, message.span, message.first)

    def answer(self, peer: PeerId, now: float) -> bool:
        """Members for a neighbour that asks, unless there was an answer just now; whether it is given one."""
        link = self._links[peer]
        if now < link.answered_at + ASK_PERIOD or self._n_answers >= MAX_ANSWERS:
            return False
        link.answered_at = now
        self._n_answers += 1
        self._tell(peer, self.membership.report(peer, now))
        return True

    def answered(self, peer: PeerId, now: float) -> None:
        """Its Status has come: the end of an answer, if it was asked."""
        link = self._links[peer]
        if link.asked_at is not None:
            self.measure(peer, now - link.asked_at)
            link.asked_at = None

    def measure(self, peer: PeerId, latency: float) -> None:
        """A round trip to a neighbour took so many seconds."""
        if peer in self._links:
            self._neighbourhood.measure(peer, latency)

    def hold(self, peers: Iterable[PeerId], now: float) -> None:
        """Those that transfers need: they are dialed if they are not linked, and never let go. In the place of those of
        the last call; at most `MAX_HELD`."""
        held = frozenset(list(peers)[:MAX_HELD])
        if held != self._held:
            self._held = held
            self.membership.plan_soon(now)

    def set_addresses(self, port: int, addresses: Iterable[Address]) -> None:
        """Where this node listens; neighbours are told of a change."""
        dialable = tuple(address for address in addresses if address.is_dialable)
        self.membership.set_own_addresses(dialable)
        if (port, dialable[:MAX_ADDRESSES]) == (self._port, self._addresses):
            return
        self._port, self._addresses = port, dialable[:MAX_ADDRESSES]
        for peer in self._links:
            self._say(peer, self._hello(peer))

    def candidates(self, now: float) -> list[Candidate]:
        """Whom to dial now."""
        self._plan(now)
        return self.membership.candidates(now)

    # what is known

    @property
    def estimate(self) -> int:
        """How many members the group has, this node included: counted while it is small, then reckoned."""
        return self.membership.estimate

    def neighbours(self, now: float) -> list[NeighbourInfo]:
        return self._neighbourhood.info(now)

    def next_on_ring(self, *, is_up: bool) -> PeerId | None:
        """The neighbour next to this node on the ring."""
        places = self.membership.linked.places
        if not places:
            return None
        above = self.membership.linked.around(self.membership.place, 1)
        return above[0] if is_up else above[-1]

    # the machine

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        for peer, is_needed in self._neighbourhood.needs_to_tell():
            self._say(peer, Need(is_needed))
        sending = list(self._messages)
        self._messages.clear()
        return sending

    def next_event(self) -> MeshEvent | None:
        if self._events:
            return self._events.popleft()
        if (event := self.membership.next_event()) is not None:
            return event
        released = self._neighbourhood.next_release()
        return None if released is None else LinkReleased(released)

    def next_deadline(self) -> float:
        return min(
            self._push_at,
            self._gossip_at,
            self._period_ends_at,
            math.inf if self.membership.is_named_only else self._reckon_at,
            self.membership.next_deadline(),
            self._neighbourhood.next_deadline(),
        )

    def handle_timer(self, now: float) -> None:
        self.membership.handle_timer(now)
        self._reckon(now)
        self._plan(now)
        self._neighbourhood.handle_timer(now)
        if now >= self._push_at:
            self._push(now)
        if now >= self._period_ends_at:
            self._period_ends_at, self._n_answers = now + GOSSIP_PERIOD, 0
        if now >= self._gossip_at:
            self._gossip(now)

    def _plan(self, now: float) -> None:
        if now >= self.membership.plan_at:
            self.membership.plan(self._neighbourhood.latencies, self._held, now)
            self._neighbourhood.follow(self.membership.wanted, self.membership.target, now)

    def _reckon(self, now: float) -> None:
        """How many members there are; neighbours are told when that has changed by more than `TOLD_CHANGE`."""
        if now < self._reckon_at or self.membership.is_named_only:
            return
        self._reckon_at = now + RECKON_PERIOD
        span = self._span()
        first, estimate = self._census.reckon(span)
        self.membership.reckon(estimate)
        if _has_changed(span, self._density.span) or _has_changed(first, self._density.first):
            self._density = Density(span, first)
            for peer in self._links:
                self._say(peer, self._density)

    def _receive_hello(self, peer: PeerId, link: _Link, hello: Hello, now: float) -> None:
        self.membership.receive_hello(peer, hello.port, hello.addresses, now)
        if not link.is_greeted:
            link.is_greeted = True
            if not (link.is_visit and self.membership.is_small):
                self._fresh[peer] = None
            is_meshed = self.membership.n_members <= self.membership.target
            self._push_at = min(self._push_at, now + (PUSH_DELAY if is_meshed else LATE_PUSH_DELAY))
        if hello.seen is not None:
            self._events.append(AddressObserved(peer, hello.seen))

    def _hello(self, peer: PeerId) -> Hello:
        return Hello(self._port, self._addresses, self._links[peer].address)

    def _tell(self, peer: PeerId, entries: list[MemberEntry]) -> None:
        for start in range(0, len(entries), ENTRIES_PER_MESSAGE):
            self._say(peer, Members(tuple(entries[start : start + ENTRIES_PER_MESSAGE])))

    def _push(self, now: float) -> None:
        """Tell neighbours of those that are new and concern them."""
        self._push_at = math.inf
        news: dict[PeerId, list[MemberEntry]] = {}
        for peer in self._fresh:
            entry = self.membership.entry(peer, now)
            for receiver in self.membership.concerned(peer):
                if receiver != peer:
                    news.setdefault(receiver, []).append(entry)
        self._fresh.clear()
        for receiver, entries in news.items():
            self._tell(receiver, entries)

    def _gossip(self, now: float) -> None:
        """Ask one neighbour for members."""
        self._gossip_at = now + self._gossip_period(now)
        self._is_rings_turn = not self._is_rings_turn
        asked = self._beside if self._is_rings_turn else list(self._links)
        if greeted := [peer for peer in asked if self._links[peer].is_greeted]:
            peer = self._rng.choice(greeted)
            self._links[peer].asked_at = now
            self._say(peer, Ask())

    def _gossip_period(self, now: float) -> float:
        period = GOSSIP_PERIOD if now >= self._settled_at else SETTLING_PERIOD
        return period * (1 + GOSSIP_SPREAD * (2 * self._rng.random() - 1))

    def _ring_changed(self, now: float) -> None:
        """Perhaps: somebody came or went."""
        beside = self.membership.linked.around(self.membership.place)
        if beside != self._beside:
            self._beside = beside
            if not self.membership.is_small:
                self._settled_at = now + SETTLED_AFTER
                self._gossip_at = min(self._gossip_at, now + self._gossip_period(now))

    def _span(self) -> int:
        """Between the first and the third neighbour on both sides, in units of 2^-64 of the ring; 0 for too few."""
        if len(self._links) < 2 * RING_SIDE:
            return 0
        outer = self.membership.linked.span(self.membership.place, RING_SIDE)
        inner = self.membership.linked.span(self.membership.place, 1)
        gaps = (outer[1] - outer[0]) % RING - (inner[1] - inner[0]) % RING
        return max(1, gaps >> (RING.bit_length() - 1 - SPAN_BITS))

    def _say(self, peer: PeerId, message: MeshMessage | Ask) -> None:
        self._messages.append((peer, message.encode()))


def _has_changed(number: int, told: int) -> bool:
    return abs(number - told) > TOLD_CHANGE * told
