"""Group values that one item has no room for: sealed, and put as a value in pieces (`swarmd.dht.blob`) like any other.

What is in the slot of the key says where, and holds what opens it:

    varint size | 32 bytes key | 20 bytes where it lies in the DHT | 32 bytes SHA-256 of the value
    sealed = AES-256-GCM(key, nonce 0, value | zeros), the value padded to LEAST_BYTES times a power of two

The key is made anew for each value, so it seals one thing only. Nodes of the DHT see random bytes of one of seven
lengths, and which items are asked for together.

Invariant: what `opened` gives is what the author of the slot's value has signed. The size is bounded before anything is
fetched. Not here: the order of values, and who may write them (`values`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.rng import Rng
from swarmd.dht.blob import items_of
from swarmd.dht.contact import ID_BYTES

VALUE_BYTES_LIMIT = 64 << 10
"""70 items of the DHT, each put once an hour by each who uses it. What is larger is shared as a file."""
LEAST_BYTES = 1024
_KEY_BYTES = 32
_DIGEST_BYTES = 32
_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class Large:
    """`place`: its key in the DHT."""

    size: int
    key: bytes = field(repr=False)
    place: bytes
    digest: bytes

    @classmethod
    def decode(cls, content: bytes) -> Large:
        """RemoteError."""
        reader = Reader(content)
        found = cls(
            reader.varint(VALUE_BYTES_LIMIT), reader.raw(_KEY_BYTES), reader.raw(ID_BYTES), reader.raw(_DIGEST_BYTES)
        )
        reader.end()
        return found

    def encode(self) -> bytes:
        return Writer().varint(self.size).raw(self.key).raw(self.place).raw(self.digest).bytes()

    def opened(self, sealed: bytes) -> bytes:
        """The value; RemoteError when that is not what was sealed."""
        try:
            padded = AESGCM(self.key).decrypt(_NONCE, sealed, None)
        except InvalidTag:
            raise RemoteError("the pieces of a group's value do not open") from None
        data = padded[: self.size]
        if len(padded) != _padded_size(self.size) or sha256(data).digest() != self.digest:
            raise RemoteError("the pieces of a group's value are not what its author has signed")
        return data


def seal_large(data: bytes, rng: Rng) -> tuple[Large, bytes]:
    """What says where it is, and what is to be put there; `rng` must be the system's. InvalidArgument: too long."""
    if len(data) > VALUE_BYTES_LIMIT:
        raise InvalidArgument(
            f"a group's value has at most {VALUE_BYTES_LIMIT:,} bytes (64 KiB), not {len(data):,}: share it as a file"
            " (swarm share)"
        )
    key = rng.bytes(_KEY_BYTES)
    sealed = AESGCM(key).encrypt(_NONCE, data.ljust(_padded_size(len(data)), b"\0"), None)
    return Large(len(data), key, items_of(sealed)[-1].target, sha256(data).digest()), sealed


def _padded_size(size: int) -> int:
    padded = LEAST_BYTES
    while padded < size:
        padded *= 2
    return padded
