"""Tickets: one string that lets somebody into a group or names something to fetch.

    swarm: + base32 (lower case, no padding) of
    u8 version (1) | u8 kind | payload | 4 bytes checksum = SHA-256("swarmd ticket" + all before it)[:4]

    GROUP (1)          blob groupspec | blob authorisation (or empty) | contacts
    OBJECT (2)         blob groupspec | object | contacts
    MEMBER_OBJECT (3)  32 bytes group ID | object
    object             32 bytes content ID | text name | varint size
    contacts           varint n, n x (blob peer ID (or empty) | addresses)

Upper and lower case are one (a QR code is smaller in upper case), and white space, hyphens and line breaks
that mail programs and people put in are ignored. The checksum rule is the same for every version to come,
so that a typing error is never taken for a new version.

Tickets with a groupspec are secrets: whoever reads one may join. Neither repr nor str of a ticket shows it;
`text()` does, and only that. MEMBER_OBJECT holds no secret and works for members only.

Invariant: a ticket that exists is valid, and `parse_ticket(ticket.text()) == ticket`. Text comes from our own
user, who was perhaps sent it by a stranger: whatever is wrong with it is an InvalidArgument.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.ids import ID_BYTES, ContentId, GroupId, PeerId
from swarmd.core.names import NAME_BYTES_LIMIT, check_component
from swarmd.groups.authorisation import AUTHORISATION_BYTES, Authorisation
from swarmd.groups.contacts import Contact, read_addresses, write_addresses
from swarmd.groups.groupspec import SPEC_BYTES_LIMIT, GroupSpec

PREFIX = "swarm:"
VERSION = 1
CHECKSUM_BYTES = 4
TICKET_BYTES_LIMIT = 4096
"""Twice the largest of version 1: what an honest ticket needs, and a pasted file is not decoded."""
TEXT_LIMIT = 2 * (TICKET_BYTES_LIMIT * 8 // 5)
"""Letters, with as much again of white space that came in between."""
MAX_CONTACTS = 8
"""Enough that one of them is there; each makes the QR code larger."""
SIZE_LIMIT = 2**53 - 1
"""The largest integer that every JSON reader takes."""
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_NOT_WHOLE = "this ticket is not complete, or has a typing error: copy it again whole"
"""Which of the two it is cannot be told: each ends in a wrong checksum, length or last letter."""
_IGNORED = dict.fromkeys(map(ord, "-\u00ad\u200b\u2010\u2011\u2060\ufeff"))
"""Hyphens and the invisible characters that copying from a page adds."""


class Kind(IntEnum):
    GROUP = 1
    OBJECT = 2
    MEMBER_OBJECT = 3


@dataclass(frozen=True, slots=True)
class NamedObject:
    """What a ticket names: InvalidArgument for a name that no system could hold or a size out of range."""

    content_id: ContentId
    name: str
    size: int

    def __post_init__(self) -> None:
        if not 0 <= self.size <= SIZE_LIMIT:
            raise InvalidArgument(f"a size is 0 to {SIZE_LIMIT} bytes, not {self.size}")
        try:
            check_component(self.name)
        except RemoteError as error:
            raise InvalidArgument(f"a ticket cannot carry this name: {error}") from None


@dataclass(frozen=True, slots=True, repr=False)
class GroupTicket:
    """Lets its reader into a group; the authorisation, if any, works for the one peer it names."""

    kind: ClassVar = Kind.GROUP
    spec: GroupSpec
    contacts: tuple[Contact, ...] = ()
    authorisation: Authorisation | None = None

    def __post_init__(self) -> None:
        _check_contacts(self.contacts)
        if self.authorisation:
            _check_authorisation(self.authorisation, self.spec)

    def text(self) -> str:
        """The secret string."""
        authorisation = self.authorisation.encode() if self.authorisation else b""
        writer = _begin(self.kind).blob(self.spec.encode()).blob(authorisation)
        _write_contacts(writer, self.contacts)
        return _finish(writer)

    def __repr__(self) -> str:
        return f"<secret ticket for the group {self.spec.group_id.short}>"


@dataclass(frozen=True, slots=True, repr=False)
class ObjectTicket:
    """Names an object and lets its reader into the unlisted group that was made for it."""

    kind: ClassVar = Kind.OBJECT
    spec: GroupSpec
    object: NamedObject
    contacts: tuple[Contact, ...] = ()

    def __post_init__(self) -> None:
        _check_contacts(self.contacts)

    def text(self) -> str:
        """The secret string."""
        writer = _begin(self.kind).blob(self.spec.encode())
        _write_object(writer, self.object)
        _write_contacts(writer, self.contacts)
        return _finish(writer)

    def __repr__(self) -> str:
        return f"<secret ticket for the object {self.object.content_id.short}>"


@dataclass(frozen=True, slots=True, repr=False)
class MemberObjectTicket:
    """Names an object to those who are in the group already."""

    kind: ClassVar = Kind.MEMBER_OBJECT
    group_id: GroupId
    object: NamedObject

    def text(self) -> str:
        writer = _begin(self.kind).raw(self.group_id)
        _write_object(writer, self.object)
        return _finish(writer)

    def __repr__(self) -> str:
        return f"<ticket for the object {self.object.content_id.short} in the group {self.group_id.short}>"


Ticket = GroupTicket | ObjectTicket | MemberObjectTicket


def is_ticket(text: str) -> bool:
    """Whether `text` is meant to be a ticket, mistyped or not: nothing else begins with `swarm:`."""
    return _squeezed(text[:TEXT_LIMIT]).startswith(PREFIX)


def parse_ticket(text: str) -> Ticket:
    """The ticket; InvalidArgument, which never repeats any of the text, says what is wrong with it."""
    data = _bytes_of(text)
    body, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if len(body) < 2 or _checksum(body) != checksum:
        raise InvalidArgument(_NOT_WHOLE)
    version, kind = body[0], body[1]
    if version != VERSION:
        raise InvalidArgument(
            f"this ticket is of version {version}, this swarmd knows version {VERSION}; upgrade swarmd to use it"
        )
    reader = Reader(body[2:])
    try:
        ticket = _read(kind, reader)
        reader.end()
    except RemoteError as error:
        raise InvalidArgument(f"this ticket is damaged: {error}; ask for a new one") from None
    return ticket


def _read(kind: int, reader: Reader) -> Ticket:
    match kind:
        case Kind.GROUP:
            spec = GroupSpec.decode(reader.blob(SPEC_BYTES_LIMIT))
            encoded = reader.blob(AUTHORISATION_BYTES)
            authorisation = Authorisation.decode(encoded) if encoded else None
            return GroupTicket(spec, _read_contacts(reader), authorisation)
        case Kind.OBJECT:
            spec = GroupSpec.decode(reader.blob(SPEC_BYTES_LIMIT))
            return ObjectTicket(spec, _read_object(reader), _read_contacts(reader))
        case Kind.MEMBER_OBJECT:
            return MemberObjectTicket(GroupId(reader.raw(ID_BYTES)), _read_object(reader))
        case _:
            raise InvalidArgument(
                f"this ticket is of a kind ({kind}) that this swarmd does not know; upgrade swarmd to use it"
            )


def _squeezed(text: str) -> str:
    """Without what people and programs put between the letters."""
    return "".join(text.translate(_IGNORED).split()).lower()


def _bytes_of(text: str) -> bytes:
    """What the letters stand for."""
    if len(text) > TEXT_LIMIT:
        raise InvalidArgument(f"a ticket has at most {TEXT_LIMIT} letters; this is something else")
    letters = _squeezed(text)
    if letters and PREFIX.startswith(letters):
        raise InvalidArgument(_NOT_WHOLE)
    if not letters.startswith(PREFIX):
        raise InvalidArgument(f"a ticket begins with {PREFIX!r}; this text does not")
    letters = letters.removeprefix(PREFIX)
    if not _LETTERS.issuperset(letters):
        raise InvalidArgument(
            "this ticket has a typing error: after 'swarm:' only the letters a-z and the digits 2-7 are used"
        )
    try:
        data = base64.b32decode(letters.upper() + "=" * (-len(letters) % 8))
    except binascii.Error:  # a number of letters that no number of bytes has
        raise InvalidArgument(_NOT_WHOLE) from None
    if len(data) > TICKET_BYTES_LIMIT:
        raise InvalidArgument(f"a ticket has at most {TICKET_BYTES_LIMIT} bytes; this is something else")
    if _letters(data) != letters:  # bits of the last letter that are not used
        raise InvalidArgument(_NOT_WHOLE)
    return data


def _letters(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"swarmd ticket" + body).digest()[:CHECKSUM_BYTES]


def _begin(kind: Kind) -> Writer:
    return Writer().u8(VERSION).u8(kind)


def _finish(writer: Writer) -> str:
    body = writer.bytes()
    return PREFIX + _letters(body + _checksum(body))


def _write_object(writer: Writer, named: NamedObject) -> None:
    writer.raw(named.content_id).text(named.name).varint(named.size)


def _read_object(reader: Reader) -> NamedObject:
    return NamedObject(ContentId(reader.raw(ID_BYTES)), reader.text(NAME_BYTES_LIMIT), reader.varint(SIZE_LIMIT))


def _write_contacts(writer: Writer, contacts: tuple[Contact, ...]) -> None:
    writer.varint(len(contacts))
    for contact in contacts:
        write_addresses(writer.blob(contact.peer_id or b""), contact.addresses)


def _read_contacts(reader: Reader) -> tuple[Contact, ...]:
    return tuple(_read_contact(reader) for _ in range(reader.varint(MAX_CONTACTS)))


def _read_contact(reader: Reader) -> Contact:
    peer_id = reader.blob(ID_BYTES)
    if len(peer_id) not in (0, ID_BYTES):
        raise RemoteError(f"a peer ID has {ID_BYTES} bytes")
    return Contact(PeerId(peer_id) if peer_id else None, read_addresses(reader))


def _check_contacts(contacts: tuple[Contact, ...]) -> None:
    if len(contacts) > MAX_CONTACTS:
        raise InvalidArgument(f"a ticket carries at most {MAX_CONTACTS} contacts, not {len(contacts)}")


def _check_authorisation(authorisation: Authorisation, spec: GroupSpec) -> None:
    try:
        authorisation.verify(spec.authority, spec.group_id)
    except RemoteError as error:
        raise InvalidArgument(str(error)) from None
