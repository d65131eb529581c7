"""A post: one message to everybody in a group, signed by its author, so that anybody may pass it on.

    u8 version (1) | 32 bytes group ID | 129 bytes author's certificate | varint seq
    | varint created_at (ms of wall time) | varint lifetime (seconds) | blob authorisation (or empty)
    | blob message | 64 bytes signature of all before, in the domain `post`

Post ID = SHA-256 of these bytes; its first 12 bytes are the key by which members announce and fetch it. An author's
posts differ by their `created_at`, so equal messages are different posts.

Invariant: a `Post` that exists has fields within their bounds and an honest certificate; its signature has been
verified only where `verify` was called. Not here: who may post, and when (`posting.board`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ID_BYTES, GroupId, Id, PeerId
from swarmd.groups.authorisation import AUTHORISATION_BYTES, FORGERY_PENALTY, Authorisation
from swarmd.groups.records import CertificateCache
from swarmd.identity.certificate import CERTIFICATE_BYTES, SIGNATURE_BYTES, Certificate
from swarmd.identity.identity import Identity

VERSION = 1
DOMAIN = b"post"
MESSAGE_LIMIT = 64 << 10
"""Bytes a program may post at once. What is larger is an object, to be shared."""
POST_BYTES_LIMIT = MESSAGE_LIMIT + 512
"""With its envelope, which has at most 353 bytes in version 1."""
KEY_BYTES = 12
"""Of the ID. Nobody can make a post with the key of another's (2^96 tries). Two of its own with one key (2^48) would
get an author no more than that some members have the one, and some the other. Flash had 8; with 16, keys would be half
of what small posts cost."""
LIFETIME_LIMIT = 300
"""Seconds for which members keep a post for those who come later; after that it is gone."""
NUMBER_LIMIT = 2**53 - 1
"""For seq and time: the largest integer that every JSON reader takes."""


class PostId(Id):
    """SHA-256 of a post's bytes."""

    __slots__ = ()

    @property
    def key(self) -> bytes:
        """What it is announced by."""
        return self[:KEY_BYTES]


@dataclass(frozen=True, slots=True)
class Post:
    """One signed message. `seq`: 1 for its author's first since that was started, then one more each."""

    group_id: GroupId
    certificate: Certificate
    seq: int
    created_at: int
    """Milliseconds of the author's wall time; of two posts of one author the later one has the higher."""
    lifetime: int
    """Seconds from then on."""
    authorisation: Authorisation | None
    message: bytes
    signature: bytes
    encoded: bytes = field(init=False, compare=False, repr=False)
    id: PostId = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoded", self._statement() + self.signature)
        object.__setattr__(self, "id", post_id_of(self.encoded))

    @property
    def author(self) -> PeerId:
        return self.certificate.peer_id

    @property
    def key(self) -> bytes:
        return self.id.key

    @property
    def expires_at(self) -> int:
        """Milliseconds of wall time."""
        return self.created_at + 1000 * self.lifetime

    def verify(self) -> None:
        """RemoteError unless the author signed this (0.1 ms)."""
        self.certificate.verify(self.signature, self.encoded[:-SIGNATURE_BYTES], DOMAIN)

    def signed_by(self, identity: Identity) -> Post:
        """The same with `identity`'s signature; its certificate must be the post's."""
        assert identity.certificate == self.certificate
        return replace(self, signature=identity.sign(self._statement(), DOMAIN))

    def _statement(self) -> bytes:
        return (
            Writer()
            .u8(VERSION)
            .raw(self.group_id)
            .raw(self.certificate.encode())
            .varint(self.seq)
            .varint(self.created_at)
            .varint(self.lifetime)
            .blob(self.authorisation.encode() if self.authorisation else b"")
            .blob(self.message)
            .bytes()
        )


@dataclass(frozen=True, slots=True)
class Posted:
    """A post has come, or was made here: told once of each."""

    post: Post


def decode_post(data: bytes, certificates: CertificateCache) -> Post:
    """From exactly what `Post.encoded` holds, its certificate verified but not its signature; RemoteError otherwise."""
    if len(data) > POST_BYTES_LIMIT:
        raise RemoteError(f"a post has {len(data)} bytes; {POST_BYTES_LIMIT} are allowed", penalty=FORGERY_PENALTY)
    reader = Reader(data)
    if (version := reader.u8()) != VERSION:
        raise RemoteError(f"a post of version {version}; this swarmd knows version {VERSION}")
    post = Post(
        group_id=GroupId(reader.raw(ID_BYTES)),
        certificate=certificates.decode(reader.raw(CERTIFICATE_BYTES)),
        seq=reader.varint(NUMBER_LIMIT),
        created_at=reader.varint(NUMBER_LIMIT),
        lifetime=reader.varint(LIFETIME_LIMIT),
        authorisation=_read_authorisation(reader),
        message=reader.blob(MESSAGE_LIMIT),
        signature=reader.raw(SIGNATURE_BYTES),
    )
    reader.end()
    return post


def post_id_of(encoded: bytes) -> PostId:
    """The ID of the post with these bytes."""
    return PostId(hashlib.sha256(encoded).digest())


def _read_authorisation(reader: Reader) -> Authorisation | None:
    encoded = reader.blob(AUTHORISATION_BYTES)
    return Authorisation.decode(encoded) if encoded else None
