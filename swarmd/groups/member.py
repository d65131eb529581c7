"""What is known of one member: where it stands, how it has been heard of, and whether an address of it is of use here.

Invariant: `linked_at` is set while it is a neighbour, and only then. Not here: its addresses (`groups.dialer`), what
follows from all this (`groups.membership`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId

_LINK_LOCAL = ("fe80:", "169.254.")
"""Not even another interface of the same machine is reached by these."""


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A present member. `age`: seconds since it was heard of, 0 for a neighbour. Best address first."""

    peer_id: PeerId
    is_linked: bool
    age: float
    addresses: tuple[Address, ...]


@dataclass(slots=True)
class Member:
    """Kept by `groups.membership`; times are monotonic seconds."""

    peer_id: PeerId
    place: int
    is_heard: bool = False
    """Linked, or heard of within `MAX_AGE`."""
    is_present: bool = False
    """And that is believed."""
    is_named: bool = False
    """By a ticket, the user or the store."""
    is_proved: bool = False
    """We have been linked with it, and have not lost it."""
    heard_at: float = -math.inf
    linked_at: float | None = None
    link_address: Address | None = None
    lost_at: float | None = None
    kept_until: float = -math.inf
    shunned_until: float = -math.inf
    rumoured: tuple[Address, ...] = ()
    """Where gossip says that it is; the dialer is told when it is to be dialed."""

    def age(self, now: float) -> float:
        """Seconds since it was heard of; 0 for a neighbour."""
        return 0.0 if self.linked_at is not None else now - self.heard_at


def is_usable(address: Address, via: Address | None) -> bool:
    """Whether an address that came over a link to `via` can mean the same here as there.

    Private ones may: members behind one router find each other's LAN addresses through a member outside. What a
    hostile member gains by naming one is a connection attempt from here that carries a handshake and tells it nothing.
    """
    if address.is_loopback:
        return via is not None and via.is_loopback
    return not address.host.startswith(_LINK_LOCAL)
