"""What routing tells the driver, and what becomes of what it was asked. Frozen, in the order in which it happened."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from swarmd.core.ids import PeerId
from swarmd.groups.ring import Coverage, GroupAddress


class Direction(Enum):
    """Which of the two neighbours on the ring: the next one up, or down."""

    INCREASING = "next increasing"
    DECREASING = "next decreasing"


class SendResult(Enum):
    """What became of one hop. `SENT` says that there was a neighbour for it, not that anybody has received it."""

    SENT = "sent"
    NO_ROUTE = "no route"
    ERROR = "error"
    """The message is too long."""


class ReceiveMode(Enum):
    """What `send_to_nearest` may deliver here."""

    EXACT = "exact"
    """What is for this very address."""
    NEAREST = "nearest"
    """That, and what this member is nearest to among its neighbours that are in this mode."""


class RouteResult(Enum):
    """What became of a message that members carried."""

    DELIVERED = "delivered"
    """Its receiver has acknowledged it, and answered if an answer was asked for."""
    NO_REPLY = "no reply"
    """It was acknowledged, but no answer came in time."""
    NOT_FOUND = "not found"
    """Nobody has that address: other members are nearest to it."""
    NO_ROUTE = "no route"
    """There is no neighbour, or none who could pass it on."""
    TIMED_OUT = "timed out"
    """No acknowledgement came, over any way that was tried. It may have arrived all the same."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message came over one hop. from_local: this member itself has sent it, being the nearest; if not, and it was
    sent with `send_to_nearest`, it is for the program to send it on towards `destination`."""

    message: bytes
    from_address: GroupAddress
    from_peer: PeerId
    from_local: bool
    destination: GroupAddress | None
    """What `send_to_nearest` was called with; None for the other calls."""


@dataclass(frozen=True, slots=True)
class CoverageChanged:
    """This member is nearest to other addresses than before, among its neighbours."""

    coverage: Coverage


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that members carried here, from `sender` beyond doubt; it has been acknowledged.

    reply_id: for `Routing.reply`, where an answer is wanted.
    """

    message: bytes
    sender: PeerId
    address: GroupAddress
    """What it was sent to: this member's own, or one that it is nearest to."""
    reply_id: int | None


@dataclass(frozen=True, slots=True)
class Routed:
    """The end of what `Routing.route` began."""

    id: int
    result: RouteResult
    reply: bytes | None = None
    peer_id: PeerId | None = None
    """Who received it."""
    n_hops: int | None = None
    """By the way on which it arrived first; 0 for this member itself."""


RoutingEvent = Delivered | CoverageChanged | Arrived | Routed
