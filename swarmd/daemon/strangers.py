"""How many may call who have not proved a group: strangers must not take the places of members.

Who they are is no help, for identities are free; so they are counted by where they call from, and all of them together,
whatever carries their sessions. A connection counts until a group is proved on it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from swarmd.core.addresses import Address

MAX_UNPROVED = 128  # incoming connections without a group at a time: four X25519 each, and a place among the sessions
MAX_UNPROVED_PER_HOST = 32
_NETWORK_BITS = 64  # of IPv6 addresses: whoever has one has all of its network


def has_room_for(remote: Address, unproved: Iterable[Address]) -> bool:
    """Whether one more may call from `remote`; `unproved`: where those are that have proved nothing."""
    sources = [source_of(address) for address in unproved]
    return len(sources) < MAX_UNPROVED and sources.count(source_of(remote)) < MAX_UNPROVED_PER_HOST


def source_of(address: Address) -> str:
    """Who is counted as one: an IPv4 address, or an IPv6 network."""
    if not address.is_ipv6:
        return address.host
    return str(ipaddress.ip_network((address.host, _NETWORK_BITS), strict=False))
