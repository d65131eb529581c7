"""A node's certificate: its two public keys, the static one signed by the signing one.

    u8 version (1) | 32 bytes Ed25519 signing key | 32 bytes X25519 static key | 64 bytes Ed25519 signature

Invariant: a `Certificate` that exists has a good signature; peer ID = SHA-256 of these 129 bytes. The
signing key signs statements (shares, records), the static key proves the node in a handshake, and this
binds the two.

Signatures carry a domain, so that one made for a purpose is worth nothing for another: what is signed is
always `swarmd `, the domain, a zero byte, and the data.

A signing key of small order is refused: anybody could make "signatures" that hold for it (all zeros will
often do).

It does not say that the peer belongs to any group: the join proof does (`groups.join`). Whoever holds the
keys can make further certificates of them, and so further peer IDs, just as by making new keys.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId

VERSION = 1
KEY_BYTES = 32
SIGNATURE_BYTES = 64
CERTIFICATE_BYTES = 1 + 2 * KEY_BYTES + SIGNATURE_BYTES
CERTIFICATE_DOMAIN = b"certificate"

_TOP_BIT = 0x80
"""Of a key's last byte: the sign of x, which changes nothing about the order."""
_SMALL_ORDER_KEYS = frozenset(
    map(
        bytes.fromhex,
        (
            "00" * 32,  # y = 0, order 4
            "01" + "00" * 31,  # y = 1, order 1
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",  # order 8
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",  # order 8
            "ec" + "ff" * 30 + "7f",  # y = p - 1, order 2
            "ed" + "ff" * 30 + "7f",  # y = p, which is 0 again
            "ee" + "ff" * 30 + "7f",  # y = p + 1, which is 1 again
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """RemoteError, as from `decode`, when the parts do not fit together."""

    signing_key: bytes
    static_key: bytes
    signature: bytes
    peer_id: PeerId = field(init=False, compare=False)

    def __post_init__(self) -> None:
        sizes = len(self.signing_key), len(self.static_key), len(self.signature)
        if sizes != (KEY_BYTES, KEY_BYTES, SIGNATURE_BYTES):
            raise RemoteError("a certificate has keys of 32 bytes and a signature of 64", penalty=10)
        if has_small_order(self.signing_key):
            raise RemoteError("a certificate's signing key is of small order", penalty=10)
        self.verify(self.signature, certified(self.signing_key, self.static_key), CERTIFICATE_DOMAIN)
        object.__setattr__(self, "peer_id", PeerId(hashlib.sha256(self.encode()).digest()))

    def encode(self) -> bytes:
        """The 129 bytes whose SHA-256 is the peer ID."""
        return certified(self.signing_key, self.static_key) + self.signature

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Certificate:
        """From exactly what `encode` gives, the signature checked (about 0.1 ms); RemoteError otherwise."""
        reader = Reader(data)
        if (version := reader.u8()) != VERSION:
            raise RemoteError(f"a certificate of version {version}; this swarmd knows version {VERSION}")
        certificate = cls(reader.raw(KEY_BYTES), reader.raw(KEY_BYTES), reader.raw(SIGNATURE_BYTES))
        reader.end()
        return certificate

    def verify(self, signature: bytes, data: bytes, domain: bytes) -> None:
        """RemoteError unless this node signed `data` in `domain`; see `Identity.sign`."""
        try:
            key = Ed25519PublicKey.from_public_bytes(self.signing_key)
            key.verify(signature, to_be_signed(data, domain))
        except (InvalidSignature, ValueError):
            raise RemoteError(f"a signature ({domain.decode()}) does not hold", penalty=10) from None


def has_small_order(signing_key: bytes) -> bool:
    """Whether this Ed25519 public key is one of those under which signatures can be made up."""
    return signing_key[:-1] + bytes([signing_key[-1] & ~_TOP_BIT]) in _SMALL_ORDER_KEYS


def certified(signing_key: bytes, static_key: bytes) -> bytes:
    """What a certificate's signature covers: everything before it."""
    return Writer().u8(VERSION).raw(signing_key).raw(static_key).bytes()


def to_be_signed(data: bytes, domain: bytes) -> bytes:
    """`data` bound to `domain`: short ASCII without a zero byte, so that no two pairs read the same."""
    assert domain.isascii() and b"\0" not in domain
    return b"swarmd " + domain + b"\0" + data
