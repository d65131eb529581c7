"""Which network interfaces take part in discovery, and which of our addresses are announced.

In: the addresses the node listens on, and the interfaces of the machine. Out: a `Plan`. `plan` is pure;
`read_interfaces` and `takes_multicast` ask the system, about 0.1 ms for each interface.

Invariant: only addresses on which the node listens are announced. Loopback takes part when the node listens
on nothing else, or has nothing else that can be announced: then it is found by other nodes of the same machine.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ifaddr

from swarmd.core.addresses import Address
from swarmd.discovery.sightings import MAX_ADDRESSES, is_link_local

MAX_INTERFACES = 64
"""igmp_max_memberships is 20 by default, and nobody's LAN is behind the 65th bridge of a container host."""
_ANY_V4, _ANY_V6 = "0.0.0.0", "::"
_GROUP_V4, _GROUP_V6 = "224.0.0.251", "ff02::fb"  # RFC 6762 §3


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface: its kernel index and its addresses, without zones."""

    index: int
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where multicast is sent and heard: an interface, by its index and one of its addresses."""

    index: int
    host: str

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to take part, and what to announce there."""

    join: tuple[Place, ...] = ()
    announce: tuple[Address, ...] = ()


def read_interfaces() -> tuple[Interface, ...]:
    """The interfaces of this machine that are up and have an address, now."""
    found: dict[int, list[str]] = {}
    for adapter in filter(_is_up, ifaddr.get_adapters()):
        hosts = found.setdefault(adapter.index or 0, [])
        hosts += [ip.ip if isinstance(ip.ip, str) else ip.ip[0].partition("%")[0] for ip in adapter.ips]
    return tuple(Interface(index, tuple(hosts)) for index, hosts in sorted(found.items()))


def _is_up(adapter: ifaddr.Adapter) -> bool:
    """Whether it has a carrier, so that a cable plugged in again is a change. (Loopback and tunnels: "unknown".)"""
    try:
        state = Path("/sys/class/net", adapter.name, "operstate").read_text()
    except OSError:
        return True
    return state.strip() in ("up", "unknown")


def plan(listen: Sequence[Address], interfaces: Iterable[Interface]) -> Plan:
    """What to do on a machine with these interfaces."""
    pairs = [(each, host) for each in interfaces for host in each.hosts]
    every = [(each, host, port) for each, host in pairs if (port := _port_of(host, listen))]
    served = [(each, host, port) for each, host, port in every if not _is_loopback(host)] or every
    join = dict.fromkeys(_place(each, host) for each, host, _ in served if host != "::1")
    routed = {Address(host, port) for _, host, port in served if not is_link_local(host)}
    local = {Address(host, port) for _, host, port in every if _is_loopback(host)}
    addresses = sorted(routed or local, key=_rank)
    return Plan(tuple(join)[:MAX_INTERFACES], tuple(addresses)[:MAX_ADDRESSES])


def takes_multicast(place: Place) -> bool:
    """Whether the group can be joined there, now: an IPv6 address that is still being checked cannot be used yet."""
    if place.is_ipv6:
        family, level, option = socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP
        request = socket.inet_pton(family, _GROUP_V6) + struct.pack("@I", place.index)
        own: tuple[str, int] | tuple[str, int, int, int] = (place.host, 0, 0, place.index)
    else:
        family, level, option = socket.AF_INET, socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP
        request = socket.inet_aton(_GROUP_V4) + socket.inet_aton(place.host)
        own = (place.host, 0)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(own)
            probe.setsockopt(level, option, request)
    except OSError:
        return False
    return True


def _place(interface: Interface, host: str) -> Place:
    """Each IPv4 address is a place; for IPv6 each interface is, by its first address."""
    if ":" in host:
        host = next(each for each in interface.hosts if ":" in each)
    return Place(interface.index, host)


def _port_of(host: str, listen: Sequence[Address]) -> int:
    """The port on which this address of ours is served, or 0."""
    wildcard = _ANY_V6 if ":" in host else _ANY_V4
    return next((each.port for each in listen if each.host in (host, wildcard)), 0)


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _rank(address: Address) -> tuple[bool, bool, Address]:
    """IPv4 first, private ones first: on a LAN these work most often."""
    return address.is_ipv6, not address.is_private, address
