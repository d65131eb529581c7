"""Who may publish or post in a group that restricts it: statements signed by the group's authority key.

    32 bytes peer ID | u8 rights | u64 expires_at (milliseconds of wall time) | 64 bytes Ed25519 signature

The signature covers the group ID and all of the above, in the domain `authorisation`, so it is worth
nothing in another group or for another peer. Only its expiry takes a right away: there is no revocation.

Invariant: whoever acts on an authorisation has verified it against the groupspec's authority key; an
`Authorisation` by itself claims, and proves nothing. The authority's private key is never in a repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Flag

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ID_BYTES, GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.identity.certificate import KEY_BYTES, SIGNATURE_BYTES, to_be_signed

DOMAIN = b"authorisation"
NEVER = 2**64 - 1
"""An `expires_at` that does not come."""
AUTHORISATION_BYTES = ID_BYTES + 1 + 8 + SIGNATURE_BYTES
FORGERY_PENALTY = 10
"""For a signature that does not hold: no accident of an honest peer."""


class Right(Flag):
    """What a group may reserve for authorised members."""

    NONE = 0
    PUBLISH = 1
    POST = 2


@dataclass(frozen=True, slots=True)
class Authorisation:
    """`peer_id` has `rights` until `expires_at`, says the signature."""

    peer_id: PeerId
    rights: Right
    expires_at: int
    """Milliseconds of wall time."""
    signature: bytes

    def encode(self) -> bytes:
        return _statement(self.peer_id, self.rights, self.expires_at).raw(self.signature).bytes()

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Authorisation:
        """From exactly what `encode` gives, not verified; RemoteError otherwise."""
        reader = Reader(data)
        peer_id = PeerId(reader.raw(ID_BYTES))
        try:
            rights = Right(reader.u8())
        except ValueError:
            raise RemoteError("an authorisation gives a right that this swarmd does not know") from None
        authorisation = cls(peer_id, rights, reader.u64(), reader.raw(SIGNATURE_BYTES))
        reader.end()
        return authorisation

    def verify(self, authority: bytes, group_id: GroupId) -> None:
        """RemoteError unless the key `authority` signed this for that group (about 0.1 ms)."""
        try:
            key = Ed25519PublicKey.from_public_bytes(authority)
            key.verify(self.signature, _signed(group_id, self.peer_id, self.rights, self.expires_at))
        except (InvalidSignature, ValueError):
            message = "an authorisation was not signed by the group's authority"
            raise RemoteError(message, penalty=FORGERY_PENALTY) from None

    def is_valid_at(self, wall: float) -> bool:
        """Whether it has not expired at that wall time, in seconds."""
        return wall * 1000 < self.expires_at


@dataclass(frozen=True, slots=True)
class Authorisations:
    """What one node was given in one group, by one ticket or by several: for each right what was given last."""

    publish: Authorisation | None = None
    post: Authorisation | None = None

    def with_another(self, given: Authorisation | None) -> Authorisations:
        """`given` takes the place of what gave the same rights; others stay."""
        if given is None:
            return self
        return Authorisations(
            given if Right.PUBLISH in given.rights else self.publish, given if Right.POST in given.rights else self.post
        )

    def giving(self, right: Right) -> Authorisation | None:
        """What gives that right; else what there is, so that a refusal can say what this node was given instead."""
        return (self.publish or self.post) if right is Right.PUBLISH else (self.post or self.publish)

    def encode(self) -> bytes:
        """One behind the other; what gives both rights first, so that the other one is read as what came later."""
        distinct = {each: None for each in (self.publish, self.post) if each is not None}
        return b"".join(each.encode() for each in sorted(distinct, key=lambda each: -each.rights.value))

    @classmethod
    def decode(cls, data: bytes) -> Authorisations:
        """From what `encode` gives, not verified; RemoteError otherwise."""
        found = cls()
        for start in range(0, len(data), AUTHORISATION_BYTES):
            found = found.with_another(Authorisation.decode(data[start : start + AUTHORISATION_BYTES]))
        return found


@dataclass(frozen=True, slots=True)
class Authority:
    """The key pair that gives rights in a group: whoever holds it decides who publishes or posts."""

    private_key: bytes = field(repr=False)
    """The Ed25519 seed, 32 bytes: a secret."""

    @classmethod
    def generate(cls, rng: Rng) -> Authority:
        return cls(rng.bytes(KEY_BYTES))

    @property
    def public_key(self) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.private_key).public_key().public_bytes_raw()

    def authorise(self, group_id: GroupId, peer_id: PeerId, rights: Right, expires_at: int = NEVER) -> Authorisation:
        """Give `peer_id` the rights in that group until `expires_at`, milliseconds of wall time."""
        key = Ed25519PrivateKey.from_private_bytes(self.private_key)
        signature = key.sign(_signed(group_id, peer_id, rights, expires_at))
        return Authorisation(peer_id, rights, expires_at, signature)


def _statement(peer_id: PeerId, rights: Right, expires_at: int) -> Writer:
    return Writer().raw(peer_id).u8(rights.value).u64(expires_at)


def _signed(group_id: GroupId, peer_id: PeerId, rights: Right, expires_at: int) -> bytes:
    return to_be_signed(group_id + _statement(peer_id, rights, expires_at).bytes(), DOMAIN)
