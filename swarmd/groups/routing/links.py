"""The neighbours as routing sees them: where each stands, what it takes, and how much of it is passed on.

Invariant: what is passed on for one neighbour stays within its rates, whatever it sends; what is over them is not
carried, and its sender told so. `messages_to_send` gives each message once, and none for a neighbour that has gone.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from swarmd.core.ids import ID_BYTES, PeerId
from swarmd.core.tokenbucket import TokenBucket
from swarmd.groups import ring
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing.events import Direction, ReceiveMode
from swarmd.groups.routing.messages import Message, Question
from swarmd.groups.routing.silence import Changes, Silence

QUESTIONS_RATE = 60.0
"""A second, from one neighbour. Each costs at most 0.6 ms here (0.1 when it is passed on)."""
QUESTIONS_BURST = 240.0
TRANSIT_RATE = 10.0
"""A second, of those from one neighbour that are passed on: what one sends takes a sixth of what the next member takes
from this one. In a group of a thousand, each of whom sends a message a second, it is about one."""
TRANSIT_BURST = 60.0
VOLUME_RATE = 512 * 1024.0
"""Bytes a second, from one neighbour."""
VOLUME_BURST = 2.0 * 1024 * 1024
CHOICES = 4
BESIDE = 3
"""Neighbours on each side of the ring, as a group of any size gives them (`groups.topology`)."""
SETTLED_AFTER = 3.0
"""Seconds from the first link until those next to this member on the ring are linked, too."""


@dataclass(slots=True)
class Neighbour:
    """`mode`: what it says that it takes."""

    address: GroupAddress
    questions: TokenBucket
    transit: TokenBucket
    volume: TokenBucket
    mode: ReceiveMode = ReceiveMode.EXACT


@dataclass(frozen=True, slots=True)
class RoutingInfo:
    """Counted since the group was joined; bytes are those of whole messages."""

    received_bytes: int
    sent_bytes: int
    n_relayed: int
    """Questions passed on for others."""
    n_refused: int
    """Questions that could not be: over a rate, in a loop, too far, or with no way on."""


class Links:
    """All neighbours of one group, and what is to be sent to them."""

    def __init__(self, own: GroupAddress) -> None:
        self.own = own
        self.coverage = ring.coverage(own, [])
        self.n_relayed = self.n_refused = 0
        self._sent_bytes = self._received_bytes = 0
        self._neighbours: dict[PeerId, Neighbour] = {}
        self._peers: dict[GroupAddress, PeerId] = {}
        self._awake: set[GroupAddress] = set()
        """Those that are not silent."""
        self.silence = Silence()
        self._settled_at = math.inf
        self._gaps: list[int] = []
        """How far up from here each neighbour is, in order: the first and the last are the next on the ring."""
        self._queue: deque[tuple[PeerId, bytes]] = deque()

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._neighbours

    def __len__(self) -> int:
        return len(self._neighbours)

    def __getitem__(self, peer: PeerId) -> Neighbour:
        return self._neighbours[peer]

    @property
    def peers(self) -> Sequence[PeerId]:
        return list(self._neighbours)

    @property
    def info(self) -> RoutingInfo:
        return RoutingInfo(self._received_bytes, self._sent_bytes, self.n_relayed, self.n_refused)

    def open(self, peer: PeerId, now: float) -> bool:
        """Whether this changes `coverage`."""
        address = ring.group_address(peer)
        self._settled_at = min(self._settled_at, now + SETTLED_AFTER)
        self._neighbours[peer] = Neighbour(
            address,
            questions=TokenBucket(QUESTIONS_RATE, QUESTIONS_BURST, now),
            transit=TokenBucket(TRANSIT_RATE, TRANSIT_BURST, now),
            volume=TokenBucket(VOLUME_RATE, VOLUME_BURST, now),
        )
        self._peers[address] = peer
        self._awake.add(address)
        insort(self._gaps, ring.gap(self.own, address))
        return self._recover()

    def close(self, peer: PeerId) -> bool:
        """Whether this changes `coverage`."""
        address = self._neighbours.pop(peer).address
        del self._peers[address]
        self._awake.discard(address)
        self.silence.hear(peer)
        del self._gaps[bisect_left(self._gaps, ring.gap(self.own, address))]
        self._queue = deque(item for item in self._queue if item[0] != peer)
        return self._recover()

    @property
    def spacing(self) -> int:
        """How far apart members are around here: the mean of the three gaps up and three down; without as many, all of
        the ring."""
        if len(self._gaps) < 2 * BESIDE:
            return ring.RING
        return (self._gaps[BESIDE - 1] + ring.RING - self._gaps[-BESIDE]) // (2 * BESIDE)

    def is_settled(self, now: float) -> bool:
        """Whether this member is no newcomer any more, who does not know yet who is nearer to anything."""
        return now >= self._settled_at

    # whom there is for a target

    def at(self, address: GroupAddress) -> PeerId | None:
        """The neighbour who stands there."""
        return self._peers.get(address)

    def next(self, direction: Direction) -> PeerId | None:
        """The next neighbour on the ring, or None without any."""
        beside = self._beside()
        return self._peers[beside[direction is Direction.INCREASING]] if beside else None

    def in_mode(self, mode: ReceiveMode) -> list[GroupAddress]:
        return [each.address for each in self._neighbours.values() if each.mode is mode]

    def by_distance(self, target: GroupAddress) -> list[PeerId]:
        """All who are not silent, the nearest to `target` first."""
        return [self._peers[address] for address in ring.by_distance(target, self._open_for(target))]

    def nearest(self, target: GroupAddress) -> GroupAddress:
        """Who is nearest to `target` of those who are not silent, this member included."""
        nearest = ring.nearest(target, self._open_for(target))
        return self.own if nearest is None or ring.is_nearer(target, self.own, nearest) else nearest

    def nearer(self, target: GroupAddress) -> list[PeerId]:
        """Those who are nearer to `target` than this member and not silent, the nearest first."""
        own = self.own
        found = [each for each in self._open_for(target) if ring.is_nearer(target, each, own)]
        return [self._peers[address] for address in ring.by_distance(target, found)]

    def _open_for(self, target: GroupAddress) -> Collection[GroupAddress]:
        """Who may be asked: not the silent ones, but whoever stands at the target itself, which nobody else can be.
        Where most are silent it is this member's own line that is."""
        if len(self._awake) == len(self._peers) or 2 * len(self._awake) < len(self._peers):
            return self._peers
        return {*self._awake, target} if target in self._peers else self._awake

    # carrying

    def ask(self, peer: PeerId, question: Question, now: float) -> None:
        """Something is to come back, from whomever."""
        if peer in self._neighbours:
            self.send(peer, question)
            self.silence.ask(peer, now)

    def hear(self, peer: PeerId, size: int) -> None:
        """A message of that size has come."""
        self._received_bytes += size
        self.silence.hear(peer)
        self._awake.add(self._neighbours[peer].address)

    def note(self, changes: Changes) -> None:
        """The silent ones are asked nothing, but for themselves."""
        self._awake -= {self._neighbours[peer].address for peer in changes.fallen}
        self._awake |= {self._neighbours[peer].address for peer in changes.excused}

    def send(self, peer: PeerId, message: Message) -> None:
        """Nothing happens without a link."""
        if peer in self._neighbours:
            self._queue.append((peer, message.encode()))

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        sending = list(self._queue)
        self._queue.clear()
        self._sent_bytes += sum(len(data) for _, data in sending)
        return sending

    def admit(self, peer: PeerId, size: int, now: float) -> bool:
        """Whether a question of that size from `peer` is within its rates."""
        neighbour = self._neighbours[peer]
        if neighbour.questions.available(now) < 1 or not neighbour.volume.take(size, now):
            return False
        return neighbour.questions.take(1, now)

    def _beside(self) -> Sequence[GroupAddress]:
        """The next one down and the next one up, who may be the same."""
        return [GroupAddress.at(self.own.number + self._gaps[end]) for end in (-1, 0)] if self._gaps else []

    def _recover(self) -> bool:
        before, self.coverage = self.coverage, ring.coverage(self.own, self._beside())
        return self.coverage != before


def pick_hop(own: GroupAddress, nearer: Sequence[PeerId], previous: PeerId | None, turn: int) -> PeerId | None:
    """Whom to pass a question to, among those who are `nearer` to its target, the nearest first: never back to
    `previous`; or nobody.

    The best with turn 0; else one of the best `CHOICES`, the same for the same `turn`, and at each member another:
    so an asker gets round members who do not answer, and can send again on the way that led to an answer.
    Each hop is nearer than the last one, so there is no loop among those who keep to it.
    """
    choices = [peer for peer in nearer if peer != previous][:CHOICES]
    if not choices:
        return None
    return choices[own[turn % ID_BYTES] % len(choices) if turn else 0]
