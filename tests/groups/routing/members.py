"""Members of one group joined by calls: whom a test links, and what passes between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache

from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.groupspec import Capability
from swarmd.groups.ring import GroupAddress, group_address
from swarmd.groups.routing.events import Arrived, Routed, RoutingEvent
from swarmd.groups.routing.messages import Message, decode
from swarmd.groups.routing.service import Routing
from swarmd.identity.identity import Identity
from tests.groups.builders import identity, spec

SPEC = spec("ring", Capability.ROUTING)
Tap = Callable[[PeerId, PeerId, bytes], bytes | None]
"""Sees every message with its sender and receiver, and gives what arrives instead; None for nothing."""


@cache
def identities(n: int) -> list[Identity]:
    """In the order of the ring."""
    return sorted(map(identity, range(n)), key=lambda each: group_address(each.peer_id))


class Members:
    """Number k stands k-th on the ring. Nobody is linked yet; `tap` passes everything on."""

    def __init__(self, n: int) -> None:
        self.now = 0.0
        self.identities = identities(n)
        self.routings = [Routing(SPEC, each, SeededRng(number), 0.0) for number, each in enumerate(self.identities)]
        self.events: list[deque[RoutingEvent]] = [deque() for _ in range(n)]
        self.faults: list[tuple[PeerId, RemoteError]] = []
        self.carried: list[tuple[PeerId, PeerId, bytes]] = []
        self.tap: Tap = lambda sender, receiver, data: data
        self._numbers = {each.peer_id: number for number, each in enumerate(self.identities)}

    def __getitem__(self, number: int) -> Routing:
        return self.routings[number]

    def peer(self, number: int) -> PeerId:
        return self.identities[number].peer_id

    def address(self, number: int) -> GroupAddress:
        return self.routings[number].address

    def number(self, peer: PeerId) -> int:
        return self._numbers[peer]

    def link(self, one: int, other: int) -> None:
        self[one].open_link(self.peer(other), self.now)
        self[other].open_link(self.peer(one), self.now)

    def cut(self, one: int, other: int) -> None:
        self[one].close_link(self.peer(other), self.now)
        self[other].close_link(self.peer(one), self.now)

    def line(self) -> Members:
        """Each linked with the next ones on the ring only, and not all the way round."""
        for number in range(len(self.routings) - 1):
            self.link(number, number + 1)
        return self.settled()

    def mesh(self) -> Members:
        """Each linked with each."""
        for number in range(len(self.routings)):
            for other in range(number):
                self.link(number, other)
        return self.settled()

    def settled(self) -> Members:
        """They are no newcomers; the time is 0."""
        self.pump()
        for each in self.routings:
            if len(each._links):
                each._links._settled_at = self.now
        for events in self.events:
            events.clear()
        return self

    def pump(self) -> None:
        """Deliver until all is quiet, a RemoteError being its sender's fault."""
        while batches := [(number, each.messages_to_send()) for number, each in enumerate(self.routings)]:
            self._take_events()
            if not any(batch for _, batch in batches):
                return
            for number, batch in batches:
                for peer, data in batch:
                    self._carry(self.peer(number), peer, data)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        self.pump()
        while (deadline := self._next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            for each in self.routings:
                each.handle_timer(self.now, self.now)
            self.pump()
        self.now = end

    def send(self, number: int, message: Message, receiver: int) -> None:
        """`message` from one to another, whatever the sender's machine thinks of it."""
        self._carry(self.peer(number), self.peer(receiver), message.encode())
        self.pump()

    def arrived(self, number: int) -> list[Arrived]:
        return [event for event in self.events[number] if isinstance(event, Arrived)]

    def routed(self, number: int) -> list[Routed]:
        return [event for event in self.events[number] if isinstance(event, Routed)]

    def messages(self, sender: int, receiver: int) -> list[Message]:
        """What has been carried between these two."""
        ends = (self.peer(sender), self.peer(receiver))
        return [decode(data) for one, other, data in self.carried if (one, other) == ends]

    def _next_deadline(self) -> float | None:
        deadlines = [each.next_deadline() for each in self.routings]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _carry(self, sender: PeerId, receiver: PeerId, data: bytes) -> None:
        self.carried.append((sender, receiver, data))
        changed = self.tap(sender, receiver, data)
        if changed is None:
            return
        try:
            self.routings[self._numbers[receiver]].receive(sender, changed, self.now, self.now)
        except RemoteError as error:
            self.faults.append((sender, error))

    def _take_events(self) -> None:
        for routing, events in zip(self.routings, self.events, strict=True):
            while (event := routing.next_event()) is not None:
                events.append(event)
