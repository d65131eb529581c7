"""So many of something in each period: what a stranger, or a peer, can have us do."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from swarmd.core.addresses import Address

_PREFIX_BITS = 64  # of IPv6: whoever has one address has all of them (RFC 4291 §2.5.4)
_REMEMBERED = 1024  # conversions, of 3 us each


class Allowance:
    __slots__ = ("_a_host", "_ends_at", "_hosts", "_left", "_limit", "_period")

    def __init__(self, limit: int, period: float, a_host: int | None = None) -> None:
        """`a_host`: of `limit`, those that one host can use up."""
        self._limit, self._period, self._a_host = limit, period, a_host or limit
        self._left, self._ends_at = 0, float("-inf")
        self._hosts: dict[str, int] = {}  # this period's, so `limit` of them at the most

    def take(self, now: float, host: str = "") -> bool:
        if now >= self._ends_at:
            self._left, self._ends_at = self._limit, now + self._period
            self._hosts.clear()
        taken = self._hosts.get(host, 0)
        if not self._left or taken >= self._a_host:
            return False
        self._left -= 1
        self._hosts[host] = taken + 1
        return True

    def next_at(self) -> float:
        """When `take` gives something again, whoever asks; minus infinity for now."""
        return float("-inf") if self._left else self._ends_at


@lru_cache(_REMEMBERED)
def host_of(address: Address) -> str:
    """Who is one for the counting: an IPv4 address, or a network of IPv6."""
    if not address.is_ipv6:
        return address.host
    return str(ipaddress.ip_network((address.host.partition("%")[0], _PREFIX_BITS), strict=False).network_address)
