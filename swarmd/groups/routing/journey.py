"""One message under way from this member: over which neighbours it was tried, what has come back, and what that means.

    LOCATING   members are asked who is nearest to the target, over several neighbours at once
    SENDING    the envelope is on its way, over one neighbour and then over more
    AWAITING   it was acknowledged; now and then the receiver is asked for its reply

Decisions only: `sending` carries them out. A way that fails is replaced at once by one over another neighbour; one that
is silent is not given up, but each round (1 s, 1.5 s, ...) begins `WIDENING` more. For a reply one is asked a round.

Members who lie about who is nearest can say no more than their own place. So the nearest of all answers counts, once it
has come over two neighbours, or over four when it is further away than the nearest member mostly is; and for an exact
target an answer from there is beyond doubt (its certificate hashes to it), while that nobody is there is believed once
the same member is nearest over four. When all ways have been tried, the nearest of what has come must do. The envelope
then goes where the answer came from: a *road* is a neighbour and a turn, which lead the same way again.

Invariant: at most `MAX_WAYS` ways in a stage, and `MAX_STAGES` stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from swarmd.core.ids import PeerId
from swarmd.groups import ring
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing.messages import HOP_LIMIT
from swarmd.groups.routing.sealing import Sealed, Statement

ROUTE_TIMEOUT = 30.0
"""Seconds until acknowledgement and reply, if the program does not say otherwise."""
ROUND_PERIOD = 1.0
"""Seconds: five hops across continents and back, and a lost packet."""
AWAITING_PERIOD = 3.0
"""Seconds: the first round of asking after a reply, which mostly comes by itself."""
ROUND_GROWTH = 1.5
MAX_GROWTH = 4.0
"""So that all ways have been tried, and are begun anew, well within `ROUTE_TIMEOUT`."""
FIRST_WIDTH = 2
"""Ways at once while locating."""
WIDENING = 2
MAX_WAYS = 16
MAX_ROUNDS = 2
"""While sending; then its receiver is looked for again: it may have left, or never meant to answer."""
MAX_STAGES = 12
CONFIRMATIONS = 2
MORE_CONFIRMATIONS = 4
"""For what is unlikely. The nearest of evenly spread members is further away than their spacing in 14 of 100 cases."""


@dataclass(frozen=True, slots=True)
class Road:
    """Where a way begins, and how it is chosen from there."""

    neighbour: PeerId
    turn: int


class Stage(Enum):
    LOCATING = auto()
    SENDING = auto()
    AWAITING = auto()


class Verdict(Enum):
    """What the answers say, while locating."""

    OPEN = auto()
    FOUND = auto()
    ABSENT = auto()
    """Others are nearest to the exact address."""
    SILENT = auto()
    """Nobody has said anything."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be carried, and where."""

    address: GroupAddress
    message: bytes = field(repr=False)
    is_exact: bool
    """Only for the member who stands at that address; else for whoever is nearest."""
    reply_wanted: bool
    timeout: float = ROUTE_TIMEOUT


@dataclass(slots=True)
class Journey:
    """`message_id`: 16 random bytes."""

    id: int
    request: Request
    message_id: bytes
    gives_up_at: float
    stage: Stage = Stage.LOCATING
    target: GroupAddress = field(init=False)
    """Where questions go now: the address, then the receiver that was found for it."""
    ways: dict[bytes, Road] = field(default_factory=dict)
    """Those of this stage that have not ended."""
    sealed: Sealed | None = None
    receiver: Statement | None = None
    shunned: set[PeerId] = field(default_factory=set)
    """Who was found nearest and did not acknowledge."""
    answers: dict[PeerId, tuple[Statement, dict[PeerId, Road]]] = field(default_factory=dict)
    """Who was named nearest, and by what road over each neighbour."""
    preferred: Sequence[Road] = ()
    used: set[PeerId] = field(default_factory=set)
    n_ways: int = 0
    n_round: int = 0
    is_spent: bool = False
    """All ways of this stage have been tried, and had a round for it."""
    round_at: float = 0.0
    width: int = FIRST_WIDTH
    n_stages: int = 0
    n_hops: int | None = None

    def __post_init__(self) -> None:
        self.target = self.request.address

    @property
    def is_fresh(self) -> bool:
        return self.n_stages == 1 and self.n_ways == 0

    @property
    def deadline(self) -> float:
        return min(self.round_at, self.gives_up_at)

    def begin_stage(self, stage: Stage, width: int, now: float) -> None:
        self.stage, self.width = stage, width
        self.n_stages += 1
        self.n_round = self.n_ways = 0
        self.is_spent = False
        self.ways.clear()  # what they bring late is heard all the same
        self.used.clear()
        self.round_at = now + self._round_period()

    def begin_round(self, now: float) -> None:
        """Silence: the same neighbours may be tried again, and more of them at once."""
        self.n_round += 1
        self.is_spent = self.n_ways >= MAX_WAYS
        self.used.clear()
        self.width += 1 if self.stage is Stage.AWAITING else WIDENING
        self.round_at = now + self._round_period()

    def pick_road(self, by_distance: Sequence[PeerId], other_turn: int) -> Road | None:
        """What to try next: a preferred one, then over the neighbour nearest to the target that was not tried yet.

        The first way of all is the shortest, and each other one takes `other_turn`: it keeps off the others, and off
        those of earlier messages that found nobody.
        """
        if self.n_ways >= MAX_WAYS or len(self.ways) >= self.width:
            return None
        there, turn = set(by_distance), 0 if self.is_fresh else other_turn
        roads = (*self.preferred, *(Road(peer, turn) for peer in by_distance))
        return next((each for each in roads if each.neighbour in there and each.neighbour not in self.used), None)

    def start_way(self, path_id: bytes, road: Road) -> None:
        self.ways[path_id] = road
        self.used.add(road.neighbour)
        self.n_ways += 1

    def add_answer(self, road: Road, statement: Statement) -> None:
        """Somebody was named, by that road."""
        if statement.peer_id not in self.shunned:
            self.answers.setdefault(statement.peer_id, (statement, {}))[1][road.neighbour] = road

    def shun(self, peer: PeerId) -> None:
        """It does not take what is for the nearest: who else is there?"""
        self.shunned.add(peer)
        self.answers.pop(peer, None)

    def best(self) -> tuple[Statement, dict[PeerId, Road]] | None:
        """Who was named that is nearest to the address."""
        address = self.request.address
        by_address = {statement.address: (statement, named_by) for statement, named_by in self.answers.values()}
        nearest = ring.nearest(address, by_address)
        return None if nearest is None else by_address[nearest]

    def verdict(self, n_neighbours: int, spacing: int) -> Verdict:
        """What the answers say by now, of so many neighbours that there are to ask. spacing: between members."""
        if (best := self.best()) is None:
            return Verdict.OPEN
        statement, named_by = best
        if statement.address == self.request.address:
            return Verdict.FOUND
        is_likely = not self.request.is_exact and ring.distance(self.request.address, statement.address) < spacing
        if len(named_by) < min(CONFIRMATIONS if is_likely else MORE_CONFIRMATIONS, n_neighbours):
            return Verdict.OPEN
        return Verdict.ABSENT if self.request.is_exact else Verdict.FOUND

    def _round_period(self) -> float:
        first = AWAITING_PERIOD if self.stage is Stage.AWAITING else ROUND_PERIOD
        return first * min(MAX_GROWTH, ROUND_GROWTH**self.n_round)

    def acknowledge(self, n_hops_left: int) -> None:
        self.n_hops = HOP_LIMIT - n_hops_left + 1
