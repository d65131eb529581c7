"""The groupspec: the canonical bytes that define a group. Who holds them may join it.

    u8 version (1) | text name | varint capabilities | varint restricted | blob authority (0 or 32 bytes)
    | blob tag (0 or 16 bytes) | 32 bytes join secret

All of it is the identity part: group ID = SHA-256 of these bytes, so a different parameter is a different
group. What may vary without changing the group (contacts, authorisations) travels beside it, in a ticket.

Invariant: a `GroupSpec` that exists is valid and has exactly one encoding. Every key of the group is
derived from the secret and the group ID, each for one purpose; neither secret nor keys are in a repr.

It does not say who is in the group, nor which groups this node is in. Everybody with the groupspec is
equal, but for publishing and posting where those are restricted (`groups.authorisation`).
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field
from enum import Flag

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.ids import GroupId
from swarmd.core.rng import Rng
from swarmd.groups.authorisation import Authority, Right

VERSION = 1
NAME_BYTES_LIMIT = 255
"""Of UTF-8. A name is for people; nothing longer is one."""
KEY_BYTES = 32
SECRET_BYTES = 32
TAG_BYTES = 16
SPEC_BYTES_LIMIT = 512
"""More than the longest of version 1, which has 342 bytes."""
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_FLAGS_LIMIT = 2**32 - 1


class Capability(Flag):
    """What a group may be used for; what is not turned on here is refused by its members. The last two take away
    what every group has otherwise."""

    NONE = 0
    REPLICATION = 1
    POSTING = 2
    ROUTING = 4
    MULTICAST = 8
    NO_LAN = 16
    """Members do not announce themselves on their local networks."""
    NO_PEERS = 32
    """Members link with those only whom their ticket or their user names, and speak of nobody: with a bootstrap peer
    that is always there, a star around it."""


CAPABILITY_NAMES = (
    (Capability.REPLICATION, "replication"),
    (Capability.POSTING, "posting"),
    (Capability.ROUTING, "routing"),
    (Capability.MULTICAST, "multicast"),
    (Capability.NO_LAN, "no_lan"),
    (Capability.NO_PEERS, "no_peers"),
)
"""As users read them."""


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """A group's definition. InvalidArgument when the parts cannot be one. An unlisted group has no name."""

    name: str
    capabilities: Capability
    secret: bytes = field(repr=False)
    restricted: Right = Right.NONE
    """The rights that only members with an authorisation have."""
    authority: bytes = b""
    """The Ed25519 public key that signs authorisations, or nothing."""
    tag: bytes = b""
    """Makes a group of its own out of an equal name and secret, or nothing."""
    group_id: GroupId = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if fault := _fault(self):
            raise InvalidArgument(fault)
        object.__setattr__(self, "group_id", GroupId(hashlib.sha256(self.encode()).digest()))

    @classmethod
    def create(
        cls,
        name: str,
        rng: Rng,
        *,
        capabilities: Capability = Capability.NONE,
        restricted: Right = Right.NONE,
        authority: Authority | None = None,
        unique: bool = False,
    ) -> NewGroup:
        """A group with a fresh secret; `unique` adds a tag. A restricted one gets a new authority if none is given.

        InvalidArgument for a name that is too long or holds control characters.
        """
        if restricted and authority is None:
            authority = Authority.generate(rng)
        spec = cls(
            name=unicodedata.normalize("NFC", name),
            capabilities=capabilities,
            secret=rng.bytes(SECRET_BYTES),
            restricted=restricted,
            authority=authority.public_key if authority else b"",
            tag=rng.bytes(TAG_BYTES) if unique else b"",
        )
        return NewGroup(spec, authority)

    def encode(self) -> bytes:
        """The canonical bytes. They hold the secret."""
        return (
            Writer()
            .u8(VERSION)
            .text(self.name)
            .varint(self.capabilities.value)
            .varint(self.restricted.value)
            .blob(self.authority)
            .blob(self.tag)
            .raw(self.secret)
            .bytes()
        )

    @classmethod
    def decode(cls, data: bytes | memoryview) -> GroupSpec:
        """From exactly what `encode` gives; RemoteError otherwise."""
        reader = Reader(data)
        if (version := reader.u8()) != VERSION:
            raise RemoteError(f"a groupspec of version {version}; this swarmd knows version {VERSION}")
        name = reader.text(NAME_BYTES_LIMIT)
        flags = reader.varint(_FLAGS_LIMIT), reader.varint(_FLAGS_LIMIT)
        authority, tag = reader.blob(KEY_BYTES), reader.blob(TAG_BYTES)
        secret = reader.raw(SECRET_BYTES)
        reader.end()
        try:
            capabilities, restricted = Capability(flags[0]), Right(flags[1])
        except ValueError:
            raise RemoteError("a groupspec asks for something that this swarmd does not know: upgrade") from None
        try:
            return cls(name, capabilities, secret, restricted, authority, tag)
        except InvalidArgument as error:
            raise RemoteError(str(error)) from None

    @property
    def is_listed(self) -> bool:
        """False for the nameless group of a single share."""
        return bool(self.name)

    def differences(self, other: GroupSpec) -> list[str]:
        """In what another group is another one, in words: empty only for the same group."""
        found = [f"it is named {other.name!r}"] if self.name != other.name else []
        found += [
            f"{label} is {_on_or_off(self.capabilities, flag)} here and {_on_or_off(other.capabilities, flag)} there"
            for flag, label in CAPABILITY_NAMES
            if (flag in self.capabilities) != (flag in other.capabilities)
        ]
        for right, label in ((Right.PUBLISH, "sharing"), (Right.POST, "posting")):
            if (right in self.restricted) != (right in other.restricted):
                where = "here" if right in self.restricted else "there"
                found.append(f"{label} is restricted {where} only")
        if self.authority and other.authority and self.authority != other.authority:
            found.append("another key gives the rights")
        if (self.secret, self.tag) != (other.secret, other.tag):
            found.append("it was created apart, with a secret of its own")
        return found

    @property
    def join_key(self) -> bytes:
        """What membership is proved with on a session (`groups.join`)."""
        return self.derive(b"join")

    @property
    def discovery_key(self) -> bytes:
        """What members recognise each other's announcements by (`groups.beacon`)."""
        return self.derive(b"discovery")

    def derive(self, purpose: bytes) -> bytes:
        """The group's key for one purpose: HKDF-SHA256 (RFC 5869) of the secret, salted with the group ID."""
        return HKDF(SHA256(), KEY_BYTES, salt=self.group_id, info=b"swarmd group " + purpose).derive(self.secret)


@dataclass(frozen=True, slots=True)
class NewGroup:
    """What `GroupSpec.create` made; the authority (a secret) is the creator's to keep."""

    spec: GroupSpec
    authority: Authority | None


def _on_or_off(capabilities: Capability, flag: Capability) -> str:
    return "on" if flag in capabilities else "off"


def _fault(spec: GroupSpec) -> str | None:
    """What is wrong with the parts, in words for a user."""
    try:
        length = len(spec.name.encode())
    except UnicodeEncodeError:
        return "a group's name must be text that has an UTF-8 form"
    if length > NAME_BYTES_LIMIT:
        return f"a group's name has at most {NAME_BYTES_LIMIT} bytes, not {length}"
    if any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in spec.name):
        return f"a group's name is one line without control characters, not {spec.name!r}"
    if spec.name != spec.name.strip():
        return f"a group's name does not begin or end with a space, as {spec.name!r} does"
    if len(spec.secret) != SECRET_BYTES:
        return f"a group's secret has {SECRET_BYTES} bytes"
    if len(spec.authority) not in (0, KEY_BYTES) or len(spec.tag) not in (0, TAG_BYTES):
        return "a groupspec's authority key has 32 bytes and its tag 16, or none"
    if spec.restricted and not spec.authority:
        return "a group with restricted rights needs an authority key that can give them"
    return None
