"""BEP 44 items: immutable ones, whose target is the hash of the value, and mutable ones, signed by a key.

Invariant: an `Item` that came through `verified` is what its target names: the hash fits, or the signature does. The
value is kept as its bencoded bytes, which are what is hashed, signed and bounded (MAX_VALUE_BYTES).

Signatures are over bare bencode as Mainline wants them, without the domains of `identity`; what is signed here begins
with `3:seq` or `4:salt`, what is signed there with `swarmd `, so neither can pass for the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.dht import bencode
from swarmd.identity.certificate import has_small_order
from swarmd.identity.identity import Identity

MAX_VALUE_BYTES = 1000
MAX_SALT_BYTES = 64
KEY_BYTES = 32
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Item:
    """`encoded` is the bencoded value. `key` is empty for an immutable item, and then so is the rest."""

    encoded: bytes
    key: bytes = b""
    salt: bytes = b""
    seq: int = 0
    signature: bytes = b""

    @property
    def is_mutable(self) -> bool:
        return bool(self.key)

    @property
    def target(self) -> bytes:
        return mutable_target(self.key, self.salt) if self.key else hashlib.sha1(self.encoded).digest()

    @property
    def value(self) -> bencode.Value:
        return bencode.decode(self.encoded)

    @property
    def size(self) -> int:
        return len(self.encoded) + len(self.key) + len(self.salt) + len(self.signature)


def mutable_target(key: bytes, salt: bytes = b"") -> bytes:
    """Where the items of `key` with `salt` are kept."""
    return hashlib.sha1(key + salt).digest()


def immutable(value: bencode.Value) -> Item:
    """InvalidArgument when it is too large."""
    encoded = bencode.encode(value)
    if len(encoded) > MAX_VALUE_BYTES:
        raise InvalidArgument(f"an item holds at most {MAX_VALUE_BYTES} bytes, not {len(encoded)}")
    return Item(encoded)


class Signer:
    """What signs the mutable items of a node, by the node's own key."""

    __slots__ = ("_private", "key")

    def __init__(self, private: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(private)
        self.key = self._private.public_key().public_bytes_raw()

    @classmethod
    def of_identity(cls, identity: Identity) -> Signer:
        return cls(identity.secrets()[0])

    def item(self, value: bencode.Value, seq: int, salt: bytes = b"") -> Item:
        """InvalidArgument when the value or the salt is too large."""
        encoded = immutable(value).encoded
        if len(salt) > MAX_SALT_BYTES:
            raise InvalidArgument(f"a salt has at most {MAX_SALT_BYTES} bytes")
        return Item(encoded, self.key, salt, seq, self._private.sign(signed_bytes(encoded, seq, salt)))


def signed_bytes(encoded: bytes, seq: int, salt: bytes) -> bytes:
    """What the signature of a mutable item is over."""
    head = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    return head + b"3:seqi%de1:v%b" % (seq, encoded)


def verified(item: Item, target: bytes) -> Item:
    """The item, if it is what `target` names; RemoteError otherwise."""
    if len(item.encoded) > MAX_VALUE_BYTES or len(item.salt) > MAX_SALT_BYTES:
        raise RemoteError("an item that is too large", penalty=5)
    if item.target != target:
        raise RemoteError("an item that is not what was asked for", penalty=10)
    if item.is_mutable and not is_signed(item):
        raise RemoteError("an item with a false signature", penalty=10)
    return item


@lru_cache(1024)
def is_signed(item: Item) -> bool:
    """Remembered: the same item comes back from each of the nodes that hold it, and a check costs 100 us.

    A key of small order signs nothing: anybody could write under it. No key that is made as RFC 8032 says is one, so
    nothing that others put is lost."""
    if has_small_order(item.key):
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(item.key)
        key.verify(item.signature, signed_bytes(item.encoded, item.seq, item.salt))
    except (InvalidSignature, ValueError):
        return False
    return True
