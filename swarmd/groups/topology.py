"""Which members to be linked with: pure decisions, the shape of a group of any size.

The neighbour rule, as in Flash. A member wants floor(log2 N) + 13 neighbours:
    ring    the 3 next ones on each side of the ring, so that the ring is whole and routing ends where it should
    near    6 of lowest latency among those linked
    random  1, which keeps parts of a group together that would otherwise prefer themselves, and finds near ones
    finger  the rest at 1/2, 1/4, 1/8 ... of the ring upwards, then downwards, so that routing takes O(log N) hops
A group of no more members than that is fully meshed.

A claim to a place takes nothing from those who are there: the 3 next ones are counted among the linked, and who is
said to stand nearer is wanted beside them until a dial shows whether that is true. A finger is anywhere from 3/4 to
3/2 of its distance, and who is linked there is preferred: so that a new member moves few links of others.

The same rule, applied for the receiver, is what gossip tells (`plan_report`).

Invariant: the same view and the same draws give the same plan. Not here: what is known (`groups.membership`), and when
a link that is not wanted is let go (`groups.neighbourhood`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.groups.ring import RING

EXTRA_LINKS = 13
"""As in Flash: target = floor(log2 members) + 13."""
RING_SIDE = 3
NEAR_LINKS = 6
MAX_CLAIMS = 4
"""Unlinked members on one side that are wanted for standing nearer than the linked ones."""
REPORTED_SIDE = 4
REPORTED_RANDOM = 4
_RING_BITS = RING.bit_length() - 1

Place = tuple[int, PeerId]
"""A member and where it stands (`ring.group_address`)."""


class Reason(Enum):
    """Why a link is wanted."""

    RING = "ring"
    NEAR = "near"
    RANDOM = "random"
    FINGER = "finger"
    TRANSFER = "transfer"
    NAMED = "named"
    """By a ticket or the user, in a group whose members speak of nobody."""


@dataclass(frozen=True, slots=True)
class View:
    """What a plan follows from. circle: all members worth considering, without oneself, in order of their numbers;
    linked: those of them who are neighbours.

    latencies: of those linked, in seconds, infinity where it is not measured. held: those that something else wants,
    linked or not. favourite: the random one of the plan before.
    """

    place: int
    circle: Sequence[Place]
    linked: Sequence[Place]
    latencies: Mapping[PeerId, float]
    held: Collection[PeerId]
    favourite: PeerId | None
    target: int


def target_links(n_members: int) -> int:
    """How many neighbours a member wants in a group of `n_members`, itself included (at least 1)."""
    return n_members.bit_length() - 1 + EXTRA_LINKS


def plan_neighbours(view: View, rng: Rng) -> dict[PeerId, Reason]:
    """Whom to be linked with and why, the most important first."""
    wanted: dict[PeerId, Reason] = dict.fromkeys(view.held, Reason.TRANSFER)
    for side in (1, -1):
        for peer in _ring_side(view, side, rng):
            wanted.setdefault(peer, Reason.RING)
    n_near = NEAR_LINKS
    for peer in sorted(view.latencies, key=view.latencies.__getitem__):
        if not n_near or view.latencies[peer] == math.inf:
            break
        if peer not in wanted:
            wanted[peer] = Reason.NEAR
            n_near -= 1
    if (favourite := _favourite(view, wanted, rng)) is not None:
        wanted[favourite] = Reason.RANDOM
    for peer in _fingers(view, wanted):
        wanted[peer] = Reason.FINGER
    for peer in _rest(view, wanted, rng):
        wanted[peer] = Reason.RANDOM
    return wanted


def plan_report(place: int, circle: Sequence[Place], n_fingers: int, rng: Rng) -> list[PeerId]:
    """Of the members of `circle`, whom one who stands at `place` should want: the most important first. With no fingers
    only those next to it."""
    n = len(circle)
    if not n:
        return []
    start = bisect_left(circle, (place,))
    chosen: dict[PeerId, None] = {}
    for step in range(min(REPORTED_SIDE, n)):
        chosen[circle[(start + step) % n][1]] = None
        chosen[circle[start - 1 - step][1]] = None
    if not n_fingers:
        return list(chosen)
    for power in range(1, n_fingers + 1):
        chosen[circle[bisect_left(circle, ((place + (RING >> power)) % RING,)) % n][1]] = None
    for _ in range(REPORTED_RANDOM):
        chosen[circle[rng.randrange(n)][1]] = None
    return list(chosen)


def around(place: int, circle: Sequence[Place], n_side: int) -> list[PeerId]:
    """The next `n_side` members of `circle` above and below a place; whoever stands right there comes first above."""
    n, start = len(circle), bisect_left(circle, (place,))
    steps = range(min(n_side, n))
    above, below = [circle[(start + step) % n][1] for step in steps], [circle[start - 1 - step][1] for step in steps]
    return list(dict.fromkeys([*above, *below]))


def _ring_side(view: View, side: int, rng: Rng) -> list[PeerId]:
    """The next ones on one side until 3 of them are linked, and up to `MAX_CLAIMS` of the unlinked ones in between: any
    of them, or somebody who invents members that stand nearest would hide the real ones."""
    circle, n = view.circle, len(view.circle)
    at = bisect_left(circle, (view.place,)) if side > 0 else bisect_left(circle, (view.place,)) - 1
    linked: list[PeerId] = []
    claims: list[PeerId] = []
    for step in range(n):
        peer = circle[(at + side * step) % n][1]
        (linked if peer in view.latencies else claims).append(peer)
        if len(linked) == RING_SIDE:
            return linked + (claims if len(claims) <= MAX_CLAIMS else rng.sample(claims, MAX_CLAIMS))
    return linked + claims[:MAX_CLAIMS]


def _favourite(view: View, wanted: Mapping[PeerId, Reason], rng: Rng) -> PeerId | None:
    """The random one: the one there was, while it is of no other use, or anybody."""
    n = len(view.circle)
    if view.favourite is not None and view.favourite not in wanted:
        return view.favourite
    for _ in range(4):
        if n and (peer := view.circle[rng.randrange(n)][1]) not in wanted:
            return peer
    return None


def _fingers(view: View, wanted: Mapping[PeerId, Reason]) -> Iterator[PeerId]:
    """For each distance that nobody wanted covers yet, the linked one of lowest latency there, or the one nearest."""
    room = view.target - len(wanted)
    if room <= 0 or not view.circle:
        return
    linked, covered = _sectors(view, wanted)
    n_powers = max(1, view.target - EXTRA_LINKS)
    for side, first in ((1, 1), (-1, 2)):
        for power in range(first, n_powers + 1):
            sector = side * power
            if sector in covered:
                continue
            peer = linked.get(sector) or _nearest_in(view, sector, wanted)
            if peer is not None:
                yield peer
                room -= 1
                if not room:
                    return


def _rest(view: View, wanted: Mapping[PeerId, Reason], rng: Rng) -> list[PeerId]:
    """Up to the target, where there are too few for all distances: those linked first, then any."""
    room = view.target - len(wanted)
    if room <= 0:
        return []
    rest = [peer for peer in view.latencies if peer not in wanted]
    if len(rest) < room and len(view.circle) <= 2 * view.target:
        others = [peer for _, peer in view.circle if peer not in wanted and peer not in view.latencies]
        rest += rng.sample(others, len(others))
    elif len(rest) < room:
        drawn = dict.fromkeys(view.circle[rng.randrange(len(view.circle))][1] for _ in range(2 * room))
        rest += [peer for peer in drawn if peer not in wanted and peer not in view.latencies]
    return rest[:room]


def _sectors(view: View, wanted: Mapping[PeerId, Reason]) -> tuple[dict[int, PeerId], set[int]]:
    """The linked one of lowest latency at each distance up (+) and down (-), and the distances that are covered by
    somebody who is linked and wanted anyway."""
    best: dict[int, PeerId] = {}
    covered: set[int] = set()
    for number, peer in view.linked:
        gap = (number - view.place) % RING
        sectors = _power(gap), -_power(RING - gap)
        if peer in wanted:
            covered.update(sectors)
            continue
        latency = view.latencies[peer]
        for sector in sectors:
            if sector not in best or latency < view.latencies[best[sector]]:
                best[sector] = peer
    return best, covered


def _power(gap: int) -> int:
    """k for a gap of 3/4 to 3/2 of the ring / 2^k."""
    return _RING_BITS + 1 - (gap * 4 // 3).bit_length()


def _nearest_in(view: View, sector: int, wanted: Mapping[PeerId, Reason]) -> PeerId | None:
    """The unwanted one of all members nearest to that distance, if one of the two on its sides is within the bounds."""
    step = RING >> abs(sector)
    point = (view.place + (step if sector > 0 else -step)) % RING
    circle, at = view.circle, bisect_left(view.circle, (point,))
    found = []
    for number, peer in (circle[at % len(circle)], circle[at - 1]):
        gap = (number - view.place) % RING if sector > 0 else (view.place - number) % RING
        if _power(gap) == abs(sector) and peer not in wanted:
            found.append((abs(gap - step), peer))
    return min(found)[1] if found else None
