"""Node IDs, contacts, and how an ID is bound to an address (BEP 42).

An ID is 20 bytes; distance is the XOR of two, read as a number. The first 21 bits of an ID have to be what a checksum
of the address says, so that each address has eight places and nobody can choose one beside a key. Addresses that are
not of the public internet are exempt, as in BEP 42.

Compact forms (BEP 5, 32): 26 bytes for IPv4, 38 for IPv6. Contacts that nobody could send to are dropped, since
Mainline nodes do send them; a string of the wrong length is the sender's error.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.rng import Rng

ID_BYTES = 20
ID_BITS = 160
_ADDRESS_BYTES = {False: 6, True: 18}
_MASKS = {4: 0x030F3FFF, 8: 0x0103070F1F3F7FFF}
_PUBLIC_PREFIX = {4: 24, 8: 64}
_REMEMBERED = 4_096
"""The same contacts are named again and again: eight are read in 2 us then, otherwise in 12. About 4 MB, when full."""


@dataclass(frozen=True, slots=True, eq=False)
class Contact:
    """A node and where it is."""

    node_id: bytes
    address: Address
    number: int = field(init=False, repr=False)
    is_ipv6: bool = field(init=False, repr=False)
    _hash: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "number", int.from_bytes(self.node_id, "big"))
        object.__setattr__(self, "is_ipv6", self.address.is_ipv6)
        object.__setattr__(self, "_hash", hash((self.node_id, self.address)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Contact):
            return NotImplemented
        return self.number == other.number and self.address == other.address


def encode_contacts(contacts: Iterable[Contact]) -> bytes:
    """Of one family only."""
    return b"".join([_compact(contact) for contact in contacts])


@lru_cache(_REMEMBERED)
def _compact(contact: Contact) -> bytes:
    return contact.node_id + contact.address.encode()


@lru_cache(_REMEMBERED)
def _contact(data: bytes) -> Contact | None:
    """None for one that cannot be sent to."""
    address = decode_address(data[ID_BYTES:])
    return None if address is None else Contact(data[:ID_BYTES], address)


def decode_contacts(data: bytes, *, ipv6: bool, limit: int) -> tuple[Contact, ...]:
    """At most `limit`; RemoteError when `data` is no whole number of contacts."""
    step = ID_BYTES + _ADDRESS_BYTES[ipv6]
    if len(data) % step:
        raise RemoteError("compact node info of the wrong length")
    found: list[Contact] = []
    for at in range(0, min(len(data), step * limit), step):
        contact = _contact(data[at : at + step])
        if contact is not None:
            found.append(contact)
    return tuple(found)


def decode_address(data: bytes) -> Address | None:
    """None for one that cannot be sent to; RemoteError for a wrong length."""
    if len(data) not in _ADDRESS_BYTES.values():
        raise RemoteError("a compact address of the wrong length")
    try:
        return Address.decode(data)
    except RemoteError:
        return None


@lru_cache(8192)
def network_of(host: str) -> str:
    """The /24 or /64 that `host` is in: what rate limits go by."""
    address = ipaddress.ip_address(host)
    kept = _PUBLIC_PREFIX[4 if address.version == 4 else 8] // 8
    return address.packed[:kept].hex()


@lru_cache(8192)
def region_of(host: str) -> str:
    """Who `host` is one with when shares are counted: its /24 or /64; a host that is not of the public internet, where
    a whole network may be one /24, stands for itself."""
    return host if Address(host, 0).is_private else network_of(host)


def bound_id(address: Address, rng: Rng) -> bytes:
    """A new ID that BEP 42 allows at `address`."""
    return bound_to(address.host, rng.randrange(256), rng.bytes(ID_BYTES))


def bound_to(host: str, last: int, filling: bytes) -> bytes:
    """The ID at `host` that ends with `last`, whose free bits are those of `filling`."""
    prefix = _bound_prefix(host, last & 7)
    third = (prefix[2] & 0xF8) | (filling[2] & 7)
    return prefix[:2] + bytes([third]) + filling[3 : ID_BYTES - 1] + bytes([last])


@lru_cache(_REMEMBERED)
def is_bound(node_id: bytes, host: str) -> bool:
    """Whether BEP 42 allows the ID at the host's address; always, where that is not of the public internet."""
    if Address(host, 0).is_private:
        return True
    prefix = _bound_prefix(host, node_id[-1] & 7)
    return node_id[:2] == prefix[:2] and not (node_id[2] ^ prefix[2]) & 0xF8


@lru_cache(8192)
def _bound_prefix(host: str, last: int) -> bytes:
    packed = ipaddress.ip_address(host).packed[:8]
    size = len(packed)
    masked = int.from_bytes(packed, "big") & _MASKS[size] | last << (size * 8 - 3)
    return _crc32c(masked.to_bytes(size, "big")).to_bytes(4, "big")


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
