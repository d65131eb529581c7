"""A provider record: a member says that it holds an object, in whole or in part, and where it is to be reached.

    u8 version (1) | 32 key | 129 provider's certificate | varint created_at (ms of wall time) | u8 state
    | varint n, n x blob address | 64 signature of the group ID and all before, in the domain `provider`

State: 1 holds, 0 holds no longer (then without addresses). The key stands for the object: SHA-256 of a label, the group
ID and the content ID. It is a place on the ring, and tells a member who does not know the content ID no more than that
somebody holds something.

Invariant: a record out of `decode` is signed by the holder of its certificate, for this group; nobody can announce
somebody else. That the object is there, or anybody at all, only a session shows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from swarmd.core.addresses import Address
from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ID_BYTES, ContentId, GroupId, PeerId
from swarmd.groups.contacts import ADDRESS_BYTES_LIMIT, MAX_ADDRESSES, Contact, read_addresses, write_addresses
from swarmd.groups.records import CertificateCache
from swarmd.groups.ring import GroupAddress
from swarmd.identity.certificate import CERTIFICATE_BYTES, SIGNATURE_BYTES, Certificate
from swarmd.identity.identity import Identity

VERSION = 1
DOMAIN = b"provider"
LIFETIME = 1500.0
"""Seconds from `created_at`: three times what passes until it is announced anew, so that one announcement may be
lost."""
AHEAD_LIMIT = 300.0
"""Seconds: clocks of members may differ by so much; what is dated later is not taken."""
TIME_LIMIT = 2**53 - 1
RECORD_BYTES = (
    2 + 2 * ID_BYTES + CERTIFICATE_BYTES + 8 + 1 + MAX_ADDRESSES * (1 + ADDRESS_BYTES_LIMIT) + SIGNATURE_BYTES
)
"""None is longer."""
_LABEL = b"swarmd providers 1"


def key_of(group_id: GroupId, content_id: ContentId) -> GroupAddress:
    """Where the list of an object's providers is kept: at the members nearest to it."""
    return GroupAddress(hashlib.sha256(_LABEL + group_id + content_id).digest())


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """created_at: milliseconds of the provider's wall time; of two the later one counts."""

    key: GroupAddress
    certificate: Certificate
    created_at: int
    is_held: bool
    addresses: tuple[Address, ...]
    encoded: bytes = field(repr=False)

    @property
    def peer_id(self) -> PeerId:
        return self.certificate.peer_id

    @property
    def contact(self) -> Contact:
        return Contact(self.peer_id, self.addresses)

    def left(self, wall: float) -> float:
        """Seconds until it expires, never more than `LIFETIME`; 0 or less for one that has, or is dated later than any
        clock may differ."""
        age = wall - self.created_at / 1000
        return 0.0 if age < -AHEAD_LIMIT else LIFETIME - max(0.0, age)


def sign_record(
    identity: Identity,
    group_id: GroupId,
    key: GroupAddress,
    created_at: int,
    *,
    is_held: bool,
    addresses: tuple[Address, ...],
) -> ProviderRecord:
    """What this node says of itself."""
    writer = Writer().u8(VERSION).raw(key).raw(identity.certificate.encode()).varint(created_at).u8(is_held)
    listed = addresses if is_held else ()
    write_addresses(writer, listed)
    statement = writer.bytes()
    encoded = statement + identity.sign(group_id + statement, DOMAIN)
    return ProviderRecord(key, identity.certificate, created_at, is_held, listed, encoded)


def decode_record(data: bytes, group_id: GroupId, certificates: CertificateCache) -> ProviderRecord:
    """From exactly what `sign_record` gives, the signature verified (0.1 ms); RemoteError otherwise."""
    if len(data) > RECORD_BYTES:
        raise RemoteError(f"a provider record has {len(data)} bytes; {RECORD_BYTES} are allowed", penalty=10)
    reader = Reader(data)
    if (version := reader.u8()) != VERSION:
        raise RemoteError(f"a provider record of version {version}; this swarmd knows version {VERSION}")
    key = GroupAddress(reader.view(ID_BYTES))
    certificate = certificates.decode(reader.raw(CERTIFICATE_BYTES))
    created_at, state = reader.varint(TIME_LIMIT), reader.u8()
    addresses = read_addresses(reader)
    signature = reader.raw(SIGNATURE_BYTES)
    reader.end()
    if state > 1 or (addresses and not state):
        raise RemoteError("a provider record says neither that an object is held nor that it is not")
    certificate.verify(signature, group_id + data[:-SIGNATURE_BYTES], DOMAIN)
    return ProviderRecord(key, certificate, created_at, bool(state), addresses, bytes(data))
