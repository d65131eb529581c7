"""Where somebody can be found: a peer, if known, and its addresses, as tickets and gossip carry them.

    varint n, n x blob address (6 or 18 bytes)

Invariant: encoded lists are bounded by the limit that the decoder names. A contact is a hint from whoever
gave it: only a session proves who answers at an address.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import InvalidArgument
from swarmd.core.ids import PeerId

MAX_ADDRESSES = 8
"""Kept and told of one member: two families, a few interfaces, one seen from outside (Flash kept 7 and 1)."""
ADDRESS_BYTES_LIMIT = 18


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody at some addresses; `peer_id` None when only the address is known."""

    peer_id: PeerId | None
    addresses: tuple[Address, ...]

    def __post_init__(self) -> None:
        if len(self.addresses) > MAX_ADDRESSES:
            raise InvalidArgument(f"a contact has at most {MAX_ADDRESSES} addresses, not {len(self.addresses)}")


def write_addresses(writer: Writer, addresses: Iterable[Address]) -> None:
    listed = tuple(addresses)
    writer.varint(len(listed))
    for address in listed:
        writer.blob(address.encode())


def read_addresses(reader: Reader, limit: int = MAX_ADDRESSES) -> tuple[Address, ...]:
    """At most `limit`, each one that can be dialled; RemoteError otherwise."""
    return tuple(Address.decode(reader.blob(ADDRESS_BYTES_LIMIT)) for _ in range(reader.varint(limit)))


def encode_addresses(addresses: Iterable[Address]) -> bytes:
    """A list on its own, for a table of remembered members."""
    writer = Writer()
    write_addresses(writer, addresses)
    return writer.bytes()


def decode_addresses(data: bytes | memoryview) -> tuple[Address, ...]:
    """From exactly what `encode_addresses` gives; RemoteError otherwise."""
    reader = Reader(data)
    addresses = read_addresses(reader)
    reader.end()
    return addresses
