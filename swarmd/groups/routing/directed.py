"""NetGroup's directed routing: a message for one neighbour, or all, one hop at a time.

A program that wants its messages to go further sends them on itself: each `Delivered` with a destination that is not
`from_local` goes to `send_to_nearest` again, until that says `no route` or delivers here (`from_local`). There is no
hop count, and none is needed: see `plan_nearest`. For messages that the members carry themselves: `Routing.route`.

A member in the mode `nearest` waits until its coverage has stood still for `SETTLE_PERIOD` before it takes part and
says so: a newcomer would take what is nearer to members that it has not met.

Invariant: `SENT` exactly when a message was queued or an event given. Messages over a neighbour's rate are dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from swarmd.core.ids import PeerId
from swarmd.groups import ring
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing.events import (
    CoverageChanged,
    Delivered,
    Direction,
    ReceiveMode,
    RoutingEvent,
    SendResult,
)
from swarmd.groups.routing.links import Links
from swarmd.groups.routing.messages import MESSAGE_BYTES, Directed, Mode

SETTLE_PERIOD = 5.0
"""Seconds: a newcomer has its neighbours on the ring after two or three."""
SETTLE_TIMEOUT = 30.0
"""Seconds after which it takes part whatever changes: a large group is never still."""


class Hops:
    """The calls, for one group."""

    def __init__(self, own_id: PeerId, links: Links, events: deque[RoutingEvent]) -> None:
        self._own_id, self._links, self._events = own_id, links, events
        self._mode = self._wanted = ReceiveMode.EXACT
        self._settles_at: float | None = None
        self._settled_by = 0.0

    @property
    def mode(self) -> ReceiveMode:
        """What is wanted; until it has settled, it is `exact` that applies."""
        return self._wanted

    def set_mode(self, mode: ReceiveMode, now: float) -> None:
        if mode is self._wanted:
            return
        self._wanted = mode
        self._settles_at = None
        if mode is ReceiveMode.NEAREST:
            self._settles_at, self._settled_by = now + SETTLE_PERIOD, now + SETTLE_TIMEOUT
        else:
            self._apply(mode)

    # neighbours

    def open_link(self, peer: PeerId) -> None:
        """Exact is what everybody begins with."""
        if self._mode is not ReceiveMode.EXACT:
            self._links.send(peer, Mode(self._mode))

    def change_coverage(self, now: float) -> None:
        """It has changed: tell, and wait on."""
        if self._events and isinstance(self._events[-1], CoverageChanged):
            self._events.pop()
        self._events.append(CoverageChanged(self._links.coverage))
        if self._settles_at is not None:
            self._settles_at = now + SETTLE_PERIOD

    def receive_mode(self, peer: PeerId, message: Mode) -> None:
        self._links[peer].mode = message.mode

    def receive(self, peer: PeerId, directed: Directed, size: int, now: float) -> None:
        """In a message of `size` bytes."""
        neighbour = self._links[peer]
        if not neighbour.volume.take(size, now):
            self._links.n_refused += 1
            return
        self._events.append(Delivered(directed.message, neighbour.address, peer, False, directed.destination))

    # calls

    def send_to_nearest(self, message: bytes, address: GroupAddress) -> SendResult:
        """To the neighbour nearest to `address`, or to this member if that is itself."""
        if len(message) > MESSAGE_BYTES:
            return SendResult.ERROR
        takers = self._links.in_mode(ReceiveMode.NEAREST)
        hop = plan_nearest(self._links.own, self._mode, address, takers, self._links.in_mode(ReceiveMode.EXACT))
        if hop is None:
            return SendResult.NO_ROUTE
        if hop == self._links.own:
            self._events.append(Delivered(message, hop, self._own_id, True, address))
            return SendResult.SENT
        return self._send([self._links.at(hop)], Directed(address, message))

    def send_to_neighbor(self, message: bytes, direction: Direction) -> SendResult:
        """To the next neighbour up or down the ring."""
        return self._send([self._links.next(direction)], Directed(None, message))

    def send_to_all_neighbors(self, message: bytes) -> SendResult:
        return self._send(self._links.peers, Directed(None, message))

    # time

    def next_deadline(self) -> float | None:
        return None if self._settles_at is None else min(self._settles_at, self._settled_by)

    def handle_timer(self, now: float) -> None:
        if (deadline := self.next_deadline()) is not None and now >= deadline:
            self._settles_at = None
            self._apply(self._wanted)

    def _apply(self, mode: ReceiveMode) -> None:
        if mode is not self._mode:
            self._mode = mode
            for peer in self._links.peers:
                self._links.send(peer, Mode(mode))

    def _send(self, peers: Sequence[PeerId | None], directed: Directed) -> SendResult:
        if len(directed.message) > MESSAGE_BYTES:
            return SendResult.ERROR
        receivers = [peer for peer in peers if peer is not None]
        for peer in receivers:
            self._links.send(peer, directed)
        return SendResult.SENT if receivers else SendResult.NO_ROUTE


def plan_nearest(
    own: GroupAddress,
    mode: ReceiveMode,
    target: GroupAddress,
    takers: Sequence[GroupAddress],
    others: Sequence[GroupAddress],
) -> GroupAddress | None:
    """Where a message to `target` goes from `own`, which receives in `mode`; itself, if it is to be taken here.

    takers: neighbours in the mode `nearest`; others: those in the mode `exact`. None: nobody is toward the target.

    It comes to an end: between members that are `exact` each hop is nearer to the target, and so it is between those
    that are `nearest`; and these pass it to one that is `exact` only if that is where it is to go.
    """
    if target == own or target in takers or target in others:
        return target
    if mode is ReceiveMode.NEAREST:
        return ring.nearest(target, [own, *takers])
    nearest = ring.nearest(target, [*takers, *others])
    if nearest is not None and ring.is_nearer(target, nearest, own):
        return nearest
    return ring.nearest(target, takers)
