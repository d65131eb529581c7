"""Ways to reach a peer: by which transport, at which address; and which of two is the better one.

On the local network, and on the machine itself, TCP is the fast path: large records, and the kernel does the rest.
Everywhere else UDP is: it passes NATs and outlives a change of address (design §5). A path on the local network is
better than any other. Only between paths that are alike in this does the measured round trip decide, and only a clearly
shorter one: moving a session costs more than some milliseconds are worth.

Nothing here is about time or tries: see `transport.racing`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum

from swarmd.core.addresses import Address

BEST_GRADE = 3  # near, and by what is preferred there
RTT_MARGIN = 0.005  # seconds: less is noise
RTT_SHARE = 0.2  # of the longer one; the smoothed round trip of a busy line moves by as much
_NETWORK_BITS = 64  # of IPv6: one link (RFC 4291 §2.5.4)


class Kind(Enum):
    """What carries a session; the value is what users read."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Path:
    """`rtt`: seconds there and back as last measured, None when it was not; it is no part of what path this is."""

    kind: Kind
    address: Address
    rtt: float | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.address} ({self.kind.value})"


def is_near(address: Address, own: Collection[Address] = ()) -> bool:
    """Whether it is on this machine or its network, as far as an address tells. `own`: this node's addresses; without
    any, each private address may be near.

    Public IPv4 addresses never are: hosts that are neighbours in number may be anywhere. Nor is a private address for
    a node that has none itself, like a rented server: those that its peers tell of are of their networks.
    """
    if address.is_loopback:
        return True
    if address.is_private:
        return not own or any(each.is_private and each.is_ipv6 is address.is_ipv6 for each in own)
    return any(_is_same_link(address, each) for each in own)


def preferred_kind(address: Address, own: Collection[Address] = ()) -> Kind:
    return Kind.TCP if is_near(address, own) else Kind.UDP


def is_better(new: Path, old: Path, own: Collection[Address] = ()) -> bool:
    """Whether a session is worth moving from `old` to `new`. Never both ways round; neither when they are alike."""
    grades = grade(new, own), grade(old, own)
    if grades[0] != grades[1]:
        return grades[0] > grades[1]
    if new.rtt is None or old.rtt is None:
        return False
    return new.rtt < old.rtt - max(RTT_MARGIN, RTT_SHARE * old.rtt)


def grade(path: Path, own: Collection[Address] = ()) -> int:
    """How good it is before anything is measured: the greater the better."""
    return 2 * is_near(path.address, own) + (path.kind is preferred_kind(path.address, own))


def _is_same_link(one: Address, other: Address) -> bool:
    if not (one.is_ipv6 and other.is_ipv6):
        return False
    return ipaddress.ip_address(other.host) in ipaddress.ip_network((one.host, _NETWORK_BITS), strict=False)
