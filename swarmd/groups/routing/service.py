"""Directed routing as a service of a group: the one face of this package towards `Group` and the driver.

NetGroup's calls go one hop (`directed`). `route` has the members carry a message to whoever stands at an address, or
nearest to it, without being able to read it: the sender asks for the receiver's certificate (`sending`, `journey`),
seals the message to it (`sealing`), and members pass question, message and answers on (`relaying`, `paths`). The
receiver acknowledges by itself, and its program may reply (`receiving`).

In: links, messages, calls, time. Out: messages, events (`routing.events`).

Invariant: as of `groups.service.Service`. Not here: the daemon's clients, and which of them gets an event. Nothing is
kept across a restart: messages under way are lost with the sender, and are reported as timed out or never.
"""

from __future__ import annotations

from collections import deque

from swarmd.core.errors import Conflict, InvalidArgument
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng, SystemRng
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.ring import Coverage, GroupAddress
from swarmd.groups.routing.directed import Hops
from swarmd.groups.routing.events import Direction, ReceiveMode, Routed, RouteResult, RoutingEvent, SendResult
from swarmd.groups.routing.journey import ROUTE_TIMEOUT, Request
from swarmd.groups.routing.links import Links, RoutingInfo
from swarmd.groups.routing.messages import (
    MESSAGE_BYTES,
    Answer,
    Directed,
    Envelope,
    Failed,
    Locate,
    Located,
    Mode,
    decode,
)
from swarmd.groups.routing.own import Own
from swarmd.groups.routing.paths import Paths
from swarmd.groups.routing.receiving import Receiving
from swarmd.groups.routing.relaying import Relaying
from swarmd.groups.routing.sending import MAX_JOURNEYS, Sending
from swarmd.groups.service import ROUTING_TYPES
from swarmd.identity.identity import Identity

SWEEP_PERIOD = 5.0
"""Seconds between looks for ways that have had their time."""


class Routing:
    """One group's. `rng` chooses ways; `secrets` makes keys and IDs, and is the system's generator but in tests."""

    def __init__(
        self, spec: GroupSpec, identity: Identity, rng: Rng, now: float, *, secrets: Rng | None = None
    ) -> None:
        own = Own(spec.group_id, identity, rng, SystemRng() if secrets is None else secrets)
        self._own_id = identity.peer_id
        self._events: deque[RoutingEvent] = deque()
        self._links = Links(own.address)
        self._paths = Paths()
        self._hops = Hops(identity.peer_id, self._links, self._events)
        self._receiving = Receiving(own, self._events)
        self._sending = Sending(own, self._links, self._paths, self._receiving, self._events)
        self._relaying = Relaying(own, self._links, self._paths, self._receiving, self._sending)
        self._n_routes = 0
        self._sweep_at = now + SWEEP_PERIOD

    # what is known

    @property
    def address(self) -> GroupAddress:
        """Where this member stands."""
        return self._links.own

    @property
    def coverage(self) -> Coverage:
        """The addresses that it is nearest to, among itself and its neighbours."""
        return self._links.coverage

    @property
    def info(self) -> RoutingInfo:
        return self._links.info

    @property
    def receive_mode(self) -> ReceiveMode:
        """What `send_to_nearest` may deliver here; `exact` until somebody wants otherwise."""
        return self._hops.mode

    def set_receive_mode(self, mode: ReceiveMode, now: float) -> None:
        self._hops.set_mode(mode, now)

    # one hop

    def send_to_nearest(self, message: bytes, address: GroupAddress) -> SendResult:
        """To the neighbour nearest to `address`, or (`Delivered.from_local`) to this member itself."""
        return self._hops.send_to_nearest(message, address)

    def send_to_neighbor(self, message: bytes, direction: Direction) -> SendResult:
        """To the next neighbour up or down the ring."""
        return self._hops.send_to_neighbor(message, direction)

    def send_to_all_neighbors(self, message: bytes) -> SendResult:
        """To every neighbour; `SENT` if there is one."""
        return self._hops.send_to_all_neighbors(message)

    # all the way

    def route(
        self,
        address: GroupAddress,
        message: bytes,
        now: float,
        *,
        reply_wanted: bool = False,
        is_exact: bool = False,
        timeout: float = ROUTE_TIMEOUT,
    ) -> int:
        """Have `message` carried to the member nearest to `address` (is_exact: only to one who stands there).

        The number of the Routed that follows within `timeout` seconds, the reply included where one is wanted.
        Replies come within a minute of the message or never.
        InvalidArgument when the message is too long, Conflict when too many are under way.
        """
        if len(message) > MESSAGE_BYTES:
            raise InvalidArgument(f"a message has at most {MESSAGE_BYTES} bytes, not {len(message)}")
        if self._sending.is_full:
            raise Conflict(f"{MAX_JOURNEYS} messages are under way already: try again when some have arrived")
        self._n_routes += 1
        self._sending.begin(self._n_routes, Request(address, message, is_exact, reply_wanted, timeout), now)
        return self._n_routes

    def reply(self, reply_id: int, message: bytes) -> None:
        """Answer an Arrived. NotFound when nobody waits any more, InvalidArgument when it is too long."""
        own_route, messages = self._receiving.reply(reply_id, message)
        if own_route is not None:
            self._events.append(Routed(own_route, RouteResult.DELIVERED, message, self._own_id, 0))
        for peer, answer in messages:
            self._links.send(peer, answer)

    # the service

    @property
    def types(self) -> range:
        return ROUTING_TYPES

    def open_link(self, peer: PeerId, now: float) -> None:
        has_changed = self._links.open(peer, now)
        self._hops.open_link(peer)
        if has_changed:
            self._hops.change_coverage(now)

    def close_link(self, peer: PeerId, now: float) -> None:
        if self._links.close(peer):
            self._hops.change_coverage(now)
        self._relaying.close_link(peer, now)

    def receive(self, peer: PeerId, data: bytes | memoryview, now: float, wall: float) -> None:
        """One message from a neighbour; RemoteError when it breaks the rules."""
        self._links.hear(peer, len(data))
        message = decode(data)
        match message:
            case Mode():
                self._hops.receive_mode(peer, message)
            case Directed():
                self._hops.receive(peer, message, len(data), now)
            case Locate() | Envelope():
                self._relaying.receive_question(peer, message, len(data), now)
            case Located():
                self._relaying.receive_located(peer, message, now)
            case Answer():
                self._relaying.receive_answer(peer, message, now)
            case Failed():
                self._relaying.receive_failed(peer, message, now)

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        return self._links.messages_to_send()

    def next_event(self) -> RoutingEvent | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        deadlines = (
            self._hops.next_deadline(),
            self._receiving.next_deadline(),
            self._sending.next_deadline(),
            self._relaying.next_deadline(),
            self._sweep_at if len(self._paths) else None,
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_timer(self, now: float, wall: float) -> None:
        self._hops.handle_timer(now)
        self._receiving.handle_timer(now)
        self._relaying.handle_timer(now)
        self._sending.handle_timer(now)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_PERIOD
            self._paths.expire(now)
