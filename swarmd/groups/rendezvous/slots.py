"""A slot: one mutable item of the DHT that only a group's members can find, read and write.

Of the group's key for a purpose and a name come an Ed25519 key pair, which the item is signed with, and a key that its
value is sealed with:

    name key  = HMAC-SHA256(group's key for the purpose, "swarmd slot" + name)
    signing   = HMAC-SHA256(name key, "signing")      sealing = HMAC-SHA256(name key, "sealing")
    value     = 12 bytes nonce | AES-256-GCM(sealing, nonce, varint length | body | zeros, public key)

So every member can write it and nobody else; to a node of the DHT the public key is a random number, and the value
random bytes, of a length that is a multiple of PAD_BYTES. What it does see: addresses that put and ask, and `seq`.

Invariant: `body_of` gives what a member has sealed for this very slot, or raises RemoteError. *Which* member, and
whether it is the newest, is said by what is in the body (`values`, `peerrecords`).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.rng import Rng
from swarmd.dht.items import Item, Signer, mutable_target, verified
from swarmd.groups.groupspec import GroupSpec

NONCE_BYTES = 12
TAG_BYTES = 16
PAD_BYTES = 128
"""What is sealed has a length of so many bytes times a whole number, but for the longest."""
SEALED_LIMIT = 996
"""Bytes: with `996:` before them they are the 1,000 of BEP 44."""
PLAIN_LIMIT = SEALED_LIMIT - NONCE_BYTES - TAG_BYTES
BODY_LIMIT = PLAIN_LIMIT - 2
"""A length of two bytes comes before it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """`public` is what the DHT knows it by."""

    _signer: Signer = field(repr=False)
    _sealing: bytes = field(repr=False)

    @classmethod
    def of(cls, spec: GroupSpec, purpose: bytes, name: bytes) -> Slot:
        """The slot with that name; each purpose has names of its own."""
        key = hmac.digest(spec.derive(purpose), b"swarmd slot" + name, sha256)
        return cls(Signer(hmac.digest(key, b"signing", sha256)), hmac.digest(key, b"sealing", sha256))

    @property
    def public(self) -> bytes:
        return self._signer.key

    @property
    def target(self) -> bytes:
        return mutable_target(self.public)

    def item(self, body: bytes, seq: int, rng: Rng) -> Item:
        """The item to be put. InvalidArgument when the body has more than BODY_LIMIT bytes."""
        if len(body) > BODY_LIMIT:
            raise InvalidArgument(f"what is sealed has at most {BODY_LIMIT} bytes, not {len(body)}")
        plain = Writer().blob(body).bytes()
        plain = plain.ljust(min(PLAIN_LIMIT, -(-len(plain) // PAD_BYTES) * PAD_BYTES), b"\0")
        nonce = rng.bytes(NONCE_BYTES)
        return self._signer.item(nonce + AESGCM(self._sealing).encrypt(nonce, plain, self.public), seq)

    def body_of(self, item: Item) -> bytes:
        """What is in an item that came from the DHT; RemoteError when it is not this slot's."""
        verified(item, self.target)
        sealed = item.value
        if not isinstance(sealed, bytes) or not NONCE_BYTES + TAG_BYTES < len(sealed) <= SEALED_LIMIT:
            raise RemoteError("an item of a group is not sealed")
        try:
            plain = AESGCM(self._sealing).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self.public)
        except InvalidTag:
            raise RemoteError("an item of a group does not open", penalty=10) from None
        reader = Reader(plain)
        body = reader.blob(BODY_LIMIT)
        if any(reader.rest()):
            raise RemoteError("an item of a group is not padded with zeros")
        return body
