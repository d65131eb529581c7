"""Where a node can be reached: a numeric IP address and a port.

Invariant: the host is an IPv4 or IPv6 address in its canonical text form, so equal addresses compare equal.
IPv4 inside IPv6 (`::ffff:1.2.3.4`, what a dual-stack socket reports) becomes IPv4. No host names (resolving
is the caller's, and blocks) and no zones (`fe80::1%eth0` means nothing on another machine).

On the wire: 4 or 16 bytes of address, 2 of port. Only what can be dialled travels: no port 0, no unspecified,
broadcast or multicast address; a peer that sends one is refused.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from swarmd.core.errors import InvalidArgument, RemoteError

PORT_LIMIT = 65535
_V4_BYTES = 6
_V6_BYTES = 18
_HOW = "write 192.0.2.1:7000 or [2001:db8::1]:7000 (all of this machine's: 0.0.0.0 and [::])"
_IPV4_LETTERS = frozenset("0123456789.")
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_REMEMBERED = 8192
"""Addresses whose parsing is remembered, about 4 MB: gossip names the same ones over and over, at 40 us each."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """`Address("::1", 5)`; InvalidArgument when it cannot be one. Port 0 ("any") is for listening only."""

    host: str
    port: int

    def __post_init__(self) -> None:
        if not 0 <= self.port <= PORT_LIMIT:
            raise InvalidArgument(f"a port is 0 to {PORT_LIMIT}, not {self.port}")
        object.__setattr__(self, "host", str(_parsed_ip(self.host)))

    @classmethod
    def parse(cls, text: str) -> Address:
        """`1.2.3.4:5` or `[::1]:5`; InvalidArgument otherwise."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not colon or bracketed != (":" in host) or not (port.isascii() and port.isdigit() and len(port) <= 5):
            raise InvalidArgument(f"{text!r} is not an address: {_HOW}")
        host = host[1:-1] if bracketed else host
        if not bracketed and not _IPV4_LETTERS.issuperset(host):
            raise InvalidArgument(f"{text!r} has a name where a numeric IP address is needed: {_HOW}")
        return cls(host, int(port))

    @classmethod
    def of_socket(cls, name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
        """From what `getsockname`, `getpeername` or `recvfrom` give; a zone is dropped."""
        return cls(name[0].partition("%")[0], name[1])

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    @property
    def is_loopback(self) -> bool:
        return self._ip.is_loopback

    @property
    def is_private(self) -> bool:
        """Not reachable from the public internet: loopback, link-local, RFC 1918, unique local ..."""
        return not self._ip.is_global

    @property
    def is_dialable(self) -> bool:
        """Whether somebody could connect to it at all."""
        return bool(self.port) and _is_host(self.host)

    def encode(self) -> bytes:
        """6 or 18 bytes; InvalidArgument unless `is_dialable`."""
        if not self.is_dialable:
            raise InvalidArgument(f"{self} is not an address that others could dial")
        return _ip_of(self.host).packed + self.port.to_bytes(2, "big")

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Address:
        """From exactly what `encode` gives; RemoteError otherwise."""
        return _decoded(bytes(data))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"

    @property
    def _ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        return _ip_of(self.host)


@lru_cache(_REMEMBERED)
def _ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(host)


@lru_cache(_REMEMBERED)
def _is_host(host: str) -> bool:
    """Whether it is the address of one machine."""
    ip = _ip_of(host)
    return not (ip.is_unspecified or ip.is_multicast or ip == _BROADCAST)


@lru_cache(_REMEMBERED)
def _decoded(data: bytes) -> Address:
    if len(data) not in (_V4_BYTES, _V6_BYTES):
        raise RemoteError(f"an address has {_V4_BYTES} or {_V6_BYTES} bytes, not {len(data)}")
    address = Address(str(ipaddress.ip_address(data[:-2])), int.from_bytes(data[-2:], "big"))
    if not address.is_dialable or address.is_ipv6 != (len(data) == _V6_BYTES):
        raise RemoteError(f"{address} is not an address that can be dialled")
    return address


def _parsed_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        raise InvalidArgument(f"{host!r} is not a numeric IP address") from None
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id:
            raise InvalidArgument(f"{host!r} has a zone, which means nothing elsewhere; leave out %{ip.scope_id}")
        return ip.ipv4_mapped or ip
    return ip
