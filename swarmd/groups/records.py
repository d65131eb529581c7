"""The catalogue's entries: what a member says it shares, signed, so that anybody may pass it on.

    u8 version (1) | 32 bytes group ID | 129 bytes publisher's certificate | varint seq | u8 kind
    | text name | 32 bytes content ID | varint size | u8 entry kind | varint created_at (ms of wall time)
    | blob authorisation (or empty) | 64 bytes signature of all before, in the domain `share`

A share record says that the publisher shares an object under a name; a tombstone that it no longer does. The
name is the publisher's own: of two records with the same publisher and name the one with the higher seq
holds, and of two with the same seq (which an honest publisher never signs) the one with the higher digest,
so that everybody decides alike.

Invariant: a `Record` that exists has fields within their bounds and an honest certificate; its signature has
been verified only where `verify` was called. Digest = first 16 bytes of SHA-256 of the encoded record: what
members compare catalogues by.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeVar

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.ids import ID_BYTES, ContentId, GroupId, PeerId
from swarmd.core.names import NAME_BYTES_LIMIT, check_component
from swarmd.groups.authorisation import AUTHORISATION_BYTES, Authorisation
from swarmd.identity.certificate import CERTIFICATE_BYTES, SIGNATURE_BYTES, Certificate
from swarmd.identity.identity import Identity

E = TypeVar("E", bound=IntEnum)
_set = object.__setattr__

VERSION = 1
DOMAIN = b"share"
DIGEST_BYTES = 16
NUMBER_LIMIT = 2**53 - 1
"""For seq, size and time: the largest integer that every JSON reader takes."""
RECORD_BYTES_LIMIT = 1024
"""More than the longest of version 1, which has 652 bytes."""
MAX_CERTIFICATES = 4096
"""As many as a group may have members; one costs 0.1 ms to verify again."""


class RecordKind(IntEnum):
    SHARE = 1
    TOMBSTONE = 2


class ShareKind(IntEnum):
    FILE = 1
    FOLDER = 2


@dataclass(frozen=True, slots=True)
class Share:
    """What is shared, and as what. InvalidArgument for a name that no system could hold or a size out of range."""

    name: str
    content_id: ContentId
    size: int
    kind: ShareKind

    def __post_init__(self) -> None:
        try:
            check_component(self.name)
        except RemoteError as error:
            raise InvalidArgument(f"this cannot be the name of a share: {error}") from None
        if not 0 <= self.size <= NUMBER_LIMIT:
            raise InvalidArgument(f"a size is 0 to {NUMBER_LIMIT} bytes, not {self.size}")


@dataclass(frozen=True, slots=True)
class Record:
    """One signed statement of one publisher in one group."""

    group_id: GroupId
    certificate: Certificate
    seq: int
    kind: RecordKind
    share: Share
    """What is shared, or, in a tombstone, was."""
    created_at: int
    """Milliseconds of the publisher's wall time: to be shown, and to let tombstones expire."""
    authorisation: Authorisation | None
    signature: bytes
    encoded: bytes = field(init=False, compare=False, repr=False)
    digest: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoded", self._statement() + self.signature)
        object.__setattr__(self, "digest", digest_of(self.encoded))

    @property
    def publisher(self) -> PeerId:
        return self.certificate.peer_id

    @property
    def key(self) -> tuple[PeerId, str]:
        """What a later record of the same publisher replaces it by."""
        return self.certificate.peer_id, self.share.name

    @property
    def is_tombstone(self) -> bool:
        return self.kind is RecordKind.TOMBSTONE

    def supersedes(self, other: Record) -> bool:
        """Whether this one holds, of two with the same key."""
        return (self.seq, self.digest) > (other.seq, other.digest)

    def encode(self) -> bytes:
        return self.encoded

    def verify(self) -> None:
        """RemoteError unless the publisher signed this (0.1 ms). The authorisation is the catalogue's to judge."""
        self.certificate.verify(self.signature, self.encoded[:-SIGNATURE_BYTES], DOMAIN)

    def _statement(self) -> bytes:
        return (
            Writer()
            .u8(VERSION)
            .raw(self.group_id)
            .raw(self.certificate.encode())
            .varint(self.seq)
            .u8(self.kind)
            .text(self.share.name)
            .raw(self.share.content_id)
            .varint(self.share.size)
            .u8(self.share.kind)
            .varint(self.created_at)
            .blob(self.authorisation.encode() if self.authorisation else b"")
            .bytes()
        )

    def signed_by(self, identity: Identity) -> Record:
        """The same with `identity`'s signature; its certificate must be the record's."""
        assert identity.certificate == self.certificate
        return replace(self, signature=identity.sign(self._statement(), DOMAIN))


class Certificates(Protocol):
    """Where `decode_record` has certificates from."""

    def decode(self, data: bytes) -> Certificate:
        """RemoteError for one that is none."""
        ...


class CertificateCache:
    """Certificates by their bytes: 10,000 records of ten publishers verify ten, and share them in memory."""

    __slots__ = ("_certificates",)

    def __init__(self) -> None:
        self._certificates: dict[bytes, Certificate] = {}

    def decode(self, data: bytes) -> Certificate:
        """RemoteError for one that is none."""
        certificate = self._certificates.get(data)
        if certificate is None:
            certificate = Certificate.decode(data)
            if len(self._certificates) >= MAX_CERTIFICATES:
                del self._certificates[next(iter(self._certificates))]
            self._certificates[data] = certificate
        return certificate


def decode_record(data: bytes, certificates: Certificates) -> Record:
    """From exactly what `encode` gives, its certificate verified but not its signature; RemoteError otherwise."""
    reader = Reader(data)
    if (version := reader.u8()) != VERSION:
        raise RemoteError(f"a share record of version {version}; this swarmd knows version {VERSION}")
    record = Record.__new__(Record)
    _set(record, "group_id", GroupId(reader.raw(ID_BYTES)))
    _set(record, "certificate", certificates.decode(reader.raw(CERTIFICATE_BYTES)))
    _set(record, "seq", reader.varint(NUMBER_LIMIT))
    _set(record, "kind", _member(RecordKind, reader.u8()))
    _set(record, "share", _read_share(reader))
    _set(record, "created_at", reader.varint(NUMBER_LIMIT))
    _set(record, "authorisation", _read_authorisation(reader))
    _set(record, "signature", reader.raw(SIGNATURE_BYTES))
    reader.end()
    _set(record, "encoded", bytes(data))  # what `__post_init__` would give: each record has one encoding
    _set(record, "digest", digest_of(data))
    return record


class Entry(NamedTuple):
    """What a list shows of a record, beside its publisher."""

    is_tombstone: bool
    name: str
    content_id: ContentId
    size: int
    is_folder: bool
    created_at: int


def read_entry(verified: bytes, start: int) -> Entry:
    """From a record that `decode_record` has taken before, whose seq is at `start`: nothing is checked again, so this
    takes 2 us instead of 14, of which 100,000 make the difference."""
    at = start
    while verified[at] >= 0x80:  # the seq is not shown
        at += 1
    kind = verified[at + 1]
    length, at = _varint(verified, at + 2)
    name = verified[at : at + length].decode()
    at += length
    content_id = ContentId(verified[at : at + ID_BYTES])
    size, at = _varint(verified, at + ID_BYTES)
    created_at, _ = _varint(verified, at + 1)
    is_folder = verified[at] == ShareKind.FOLDER
    return Entry(kind == RecordKind.TOMBSTONE, name, content_id, size, is_folder, created_at)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number that has been read before, and where the next field is."""
    value = shift = 0
    while (byte := data[at]) >= 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    return value | byte << shift, at + 1


def digest_of(encoded: bytes) -> bytes:
    """The digest of the record with these bytes."""
    return hashlib.sha256(encoded).digest()[:DIGEST_BYTES]


def _read_share(reader: Reader) -> Share:
    name = reader.text(NAME_BYTES_LIMIT)
    check_component(name)
    share = Share.__new__(Share)  # what `__post_init__` looks at has been looked at
    _set(share, "name", name)
    _set(share, "content_id", ContentId(reader.raw(ID_BYTES)))
    _set(share, "size", reader.varint(NUMBER_LIMIT))
    _set(share, "kind", _member(ShareKind, reader.u8()))
    return share


def _read_authorisation(reader: Reader) -> Authorisation | None:
    encoded = reader.blob(AUTHORISATION_BYTES)
    return Authorisation.decode(encoded) if encoded else None


def _member(kinds: type[E], value: int) -> E:
    try:
        return kinds(value)
    except ValueError:
        raise RemoteError(f"a share record has the unknown {kinds.__name__} {value}") from None
