"""Addresses inside chunks (RFC 7016 §2.1.5): where to find, or to answer, somebody.

    flags u8 (0x80: IPv6; low two bits: origin) | 4 or 16 bytes of address | port u16

Invariant: `decode_address` raises RemoteError only. The address is what the peer wrote, dialable or not: who means
to send there asks `Address.is_dialable` first.
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.transport.api import Buffer

MAX_ADDRESS_BYTES = 19
_IPV6 = 0x80
_ORIGINS = 0x03


class Origin(IntEnum):
    """How the one who tells of the address knows it."""

    UNKNOWN = 0
    LOCAL = 1
    """Reported by the node itself."""
    OBSERVED = 2
    """Seen as the source of its packets: outside of its NAT."""
    RELAY = 3


def encode_address(address: Address, origin: Origin = Origin.UNKNOWN) -> bytes:
    packed = ipaddress.ip_address(address.host).packed
    flags = (_IPV6 if len(packed) == 16 else 0) | origin
    return bytes((flags,)) + packed + address.port.to_bytes(2, "big")


def decode_address(data: Buffer, offset: int) -> tuple[Address, int]:
    """The address (IPv4 within IPv6 becomes IPv4), and the offset behind it. The origin is only a hint."""
    port_at = offset + (17 if offset < len(data) and data[offset] & _IPV6 else 5)
    stop = port_at + 2
    if stop > len(data):
        raise RemoteError("an address goes beyond the end")
    ip = ipaddress.ip_address(bytes(data[offset + 1 : port_at]))
    return Address(str(ip), data[port_at] << 8 | data[port_at + 1]), stop
