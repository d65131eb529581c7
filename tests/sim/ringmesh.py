"""A light mesh for the simulations of routing: members with the links that Flash's rule gives them, in virtual time.

Each member is linked with the 3 next on each side of the ring, the 6 of lowest latency, one taken at random, and
members at 1/2, 1/4, 1/8 ... of the ring; it plans anew every 10 s. Who is there it hears from an oracle, `HEARD_AFTER`
late, which stands for gossip (the group's own is simulated elsewhere). A link is a reliable session: a lost packet
shows as delay, order is kept. Who stops in an orderly way is missed at once, who crashes only after some seconds.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.ring import RING, GroupAddress
from swarmd.groups.routing.events import RoutingEvent
from swarmd.groups.routing.service import Routing
from swarmd.identity.identity import Identity
from tests.sim.clockwork import Clockwork

HEARD_AFTER = 3.0
"""Seconds until others know of a newcomer that has not dialed them itself."""
JOINING_PERIOD = 5.0
"""Seconds: it has dialed, and those next to it on the ring know of it."""
DIAL_PERIOD = (0.3, 1.5)
PLAN_PERIOD = 10.0
MISSED_AFTER = (5.0, 20.0)
"""Seconds until the neighbours of one that has crashed find out."""
RETRANSMIT_TIMEOUT = 0.25
PACKET_BYTES = 1200
LAST_MILE = (0.002, 0.040)
"""Seconds, one way; two of them and the distance between two members are a link's latency."""
SPAN = 0.080
"""Seconds from one end of the plane on which members lie to the other."""


@dataclass(eq=False)
class Member:
    identity: Identity
    routing: Routing
    place: tuple[float, float]
    last_mile: float
    joined_at: float
    is_hostile: bool
    is_up: bool = True
    links: dict[PeerId, float] = field(default_factory=dict)
    """Neighbours, and when the last message to each arrives."""
    wanted: set[PeerId] = field(default_factory=set)
    timer_at: float = -1.0

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id


class Circle:
    """Members in the order of the ring."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._members: dict[int, Member] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def members(self) -> list[Member]:
        return list(self._members.values())

    def add(self, member: Member) -> None:
        number = member.routing.address.number
        insort(self._numbers, number)
        self._members[number] = member

    def discard(self, member: Member) -> None:
        number = member.routing.address.number
        if self._members.pop(number, None) is not None:
            del self._numbers[bisect_left(self._numbers, number)]

    def at_rank(self, member: Member, steps: int) -> Member:
        """So many members up from `member`, which need not be among them."""
        rank = bisect_left(self._numbers, member.routing.address.number)
        return self._members[self._numbers[(rank + steps) % len(self._numbers)]]

    def nearest(self, target: GroupAddress) -> Member:
        rank = bisect_left(self._numbers, target.number)
        around = [self._numbers[(rank + step) % len(self._numbers)] for step in (-1, 0)]
        return self._members[min(around, key=lambda number: _distance(number, target.number))]


def _distance(one: int, other: int) -> int:
    return min((one - other) % RING, (other - one) % RING)


RoutingKind = Callable[[GroupSpec, Identity, SeededRng, float], Routing]


class Mesh:
    """All members. `hear` is told of every event; `loss` is the share of packets that are lost."""

    def __init__(self, seed: int, loss: float, hear: Callable[[Member, RoutingEvent], None]) -> None:
        self.clock = Clockwork()
        self.rng = SeededRng(seed)
        self.spec = GroupSpec.create("ring", SeededRng(seed), capabilities=Capability.ROUTING).spec
        self.up: dict[PeerId, Member] = {}
        self.circle = Circle()
        self.joined = Circle()
        """Those that are up, and have been for `JOINING_PERIOD`."""
        self.penalties: Counter[str] = Counter()
        self._known = Circle()
        self._loss, self._hear = loss, hear
        self._blocked: set[frozenset[PeerId]] = set()

    @property
    def now(self) -> float:
        return self.clock.now

    # members come and go

    def add(self, kind: RoutingKind, *, is_hostile: bool = False) -> Member:
        """A newcomer; it dials its neighbours at once."""
        identity = Identity.generate(self.rng)
        routing = kind(self.spec, identity, SeededRng(self.rng.randrange(1 << 62)), self.now)
        place = (self.rng.random() * SPAN, self.rng.random() * SPAN)
        member = Member(identity, routing, place, self._between(LAST_MILE), self.now, is_hostile)
        self.up[member.peer_id] = member
        self.circle.add(member)
        return member

    def found(self, members: list[Member]) -> None:
        """They are there from the beginning: known and linked."""
        for member in members:
            self._known.add(member)
            self.joined.add(member)
        for member in members:
            for peer in self._plan(member):
                self.link(member, self.up[peer])
            self.clock.after(self.rng.random() * PLAN_PERIOD, self._replan, member)

    def join(self, member: Member) -> None:
        """It has just come."""
        self._replan(member)
        self.clock.after(HEARD_AFTER, self._add_to, self._known, member)
        self.clock.after(JOINING_PERIOD, self._add_to, self.joined, member)

    def stop(self, member: Member, *, has_crashed: bool) -> None:
        member.is_up = False
        del self.up[member.peer_id]
        self.circle.discard(member)
        self.joined.discard(member)
        for peer in member.links:
            delay = self._between(MISSED_AFTER) if has_crashed else self._latency(member, self.up.get(peer, member))
            self.clock.after(delay, self._miss, peer, member)

    def _add_to(self, circle: Circle, member: Member) -> None:
        if member.is_up:
            circle.add(member)

    def _miss(self, peer: PeerId, gone: Member) -> None:
        self._known.discard(gone)
        if (member := self.up.get(peer)) is not None and member.links.pop(gone.peer_id, None) is not None:
            member.routing.close_link(gone.peer_id, self.now)
            self.pump(member)
            self.clock.after(self._between(DIAL_PERIOD), self._replan_once, member)

    # links

    def link(self, one: Member, other: Member) -> None:
        pair = frozenset((one.peer_id, other.peer_id))
        if other.peer_id in one.links or one is other or pair in self._blocked or not (one.is_up and other.is_up):
            return
        for member, peer in ((one, other), (other, one)):
            member.links[peer.peer_id] = self.now
            member.routing.open_link(peer.peer_id, self.now)
        self.pump(one)
        self.pump(other)

    def cut(self, one: Member, other: Member) -> None:
        for member, peer in ((one, other), (other, one)):
            if member.links.pop(peer.peer_id, None) is not None:
                member.routing.close_link(peer.peer_id, self.now)
                self.pump(member)

    def _replan(self, member: Member) -> None:
        if member.is_up:
            self._replan_once(member)
            self.clock.after(PLAN_PERIOD * (0.9 + 0.2 * self.rng.random()), self._replan, member)

    def _replan_once(self, member: Member) -> None:
        if not member.is_up:
            return
        member.wanted = self._plan(member)
        for peer in member.wanted - member.links.keys():
            self.clock.after(self._between(DIAL_PERIOD), self._dial, member, peer)
        for peer in member.links.keys() - member.wanted:
            other = self.up.get(peer)
            if other is not None and member.peer_id not in other.wanted:
                self.cut(member, other)

    def _dial(self, member: Member, peer: PeerId) -> None:
        if (other := self.up.get(peer)) is not None and member.is_up:
            self.link(member, other)
            other.wanted.add(member.peer_id)  # until it plans anew

    def _plan(self, member: Member) -> set[PeerId]:
        """Whom it wants: floor(log2 N) + 13."""
        n = len(self._known)
        steps = {step % n for step in (-3, -2, -1, 0, 1, 2, 3)}
        steps |= {n >> shift for shift in range(1, n.bit_length() - 1)}
        wanted = {self._known.at_rank(member, step).peer_id for step in steps}
        others = {self._known.at_rank(member, self.rng.randrange(n)).peer_id for _ in range(12)} - wanted
        others |= member.wanted.union(member.links)
        others &= self.up.keys()
        wanted |= set(sorted(others, key=lambda peer: self._latency(member, self.up[peer]))[:6])
        if others:  # in a small group all of them may be wanted already
            wanted.add(min(others, key=lambda peer: hashlib.sha256(member.peer_id + peer).digest()))
        return wanted - {member.peer_id}

    # messages

    def pump(self, member: Member) -> None:
        """Carry what it says, note what happens, arm its timer; after every call of its routing."""
        if not member.is_up:
            return
        for peer, data in member.routing.messages_to_send():
            self._carry(member, peer, data)
        while (event := member.routing.next_event()) is not None:
            self._hear(member, event)
        deadline = member.routing.next_deadline()
        if deadline is not None and deadline != member.timer_at:
            member.timer_at = deadline
            self.clock.at(deadline, self._fire, member, deadline)

    def _fire(self, member: Member, deadline: float) -> None:
        if member.is_up and member.timer_at == deadline:
            member.timer_at = -1.0
            member.routing.handle_timer(self.now, self.now)
            self.pump(member)

    def _carry(self, sender: Member, peer: PeerId, data: bytes) -> None:
        receiver = self.up.get(peer)
        if receiver is None or peer not in sender.links:
            return
        latency = self._latency(sender, receiver)
        delay = latency
        for _ in range(1 + len(data) // PACKET_BYTES):
            while self.rng.random() < self._loss:
                delay += max(RETRANSMIT_TIMEOUT, 2 * latency)
        at = sender.links[peer] = max(self.now + delay, sender.links[peer])
        self.clock.at(at, self._deliver, sender, receiver, data)

    def _deliver(self, sender: Member, receiver: Member, data: bytes) -> None:
        if not receiver.is_up or sender.peer_id not in receiver.links:
            return
        try:
            receiver.routing.receive(sender.peer_id, data, self.now, self.now)
        except RemoteError as error:
            self.penalties["hostile" if sender.is_hostile else f"honest: {error}"] += error.penalty
            if error.penalty >= 10:
                self._blocked.add(frozenset((sender.peer_id, receiver.peer_id)))
                self.cut(receiver, sender)
        self.pump(receiver)

    def _latency(self, one: Member, other: Member) -> float:
        apart = abs(one.place[0] - other.place[0]) + abs(one.place[1] - other.place[1])
        return one.last_mile + other.last_mile + apart / 2

    def _between(self, bounds: tuple[float, float]) -> float:
        return bounds[0] + self.rng.random() * (bounds[1] - bounds[0])
