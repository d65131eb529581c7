"""What members of a group say to each other, as bytes. One flow of messages, each of at most 64 KiB.

    u8 type | body                                                          type, and what it is for
    Hello      u8 version, u16 port, addresses, blob seen                    1  how to reach me, first of all
    Members    n x (peer ID, varint age in seconds, addresses)               2  who is in the group
    Status     varint count, 16 bytes fingerprint                            3  my catalogue, summed up
    Compare    n x (prefix, varint count, 16 bytes fingerprint)              4  subtrees of it, summed up
    Inventory  prefix, n x digest                                            5  all I have below the prefix
    Offer      n x digest                                                    6  I have these
    Request    n x digest                                                    7  give me these
    Records    n x blob record                                               8  here they are
    Gone       n x digest                                                    9  I no longer have these
    Ask                                                                     10  give me your Members and Status
    Need       u8 0 or 1                                                    11  whether I need this link
    Density    u64 span, varint first                                       12  how many members I reckon with
    prefix     u8 depth, its ceil(depth / 2) bytes
    A fingerprint is that of `groups.reconciliation`. An Inventory is answered with one Offer, or with Compare.

Invariant: `decode(message.encode()) == message`; every list is bounded; any other bytes are a RemoteError. A
change here changes `VERSION`, a vector and this table in one commit. Not here: what the messages cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from swarmd.core.addresses import Address
from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ID_BYTES, PeerId
from swarmd.groups.contacts import ADDRESS_BYTES_LIMIT, read_addresses, write_addresses
from swarmd.groups.reconciliation import FINGERPRINT_BYTES, MAX_DEPTH, MAX_LISTED, Listing, Prefix, Summary
from swarmd.groups.records import DIGEST_BYTES, RECORD_BYTES_LIMIT

VERSION = 3
MESSAGE_BYTES_LIMIT = 1 << 16
"""So that a message never holds up the control flow for long: 26 ms at 20 Mbit/s."""
ENTRIES_PER_MESSAGE = 24
"""In one message: 1 KiB with one address of IPv4 each, 2.7 KiB at most."""
MAX_GOSSIPED_ADDRESSES = 4
"""The best ones of each member; it tells all of them itself in its Hello."""
MAX_AGE = 300
"""Seconds since a member was last heard of; what is older is not worth telling (Flash: the same)."""
SUMMARIES_PER_MESSAGE = 256
OFFERS_PER_MESSAGE = 4000
"""64,000 bytes of digests."""
REQUESTS_PER_MESSAGE = 256
RECORDS_PER_MESSAGE = 60
"""60 x at most 1 KiB; 7 ms to verify."""
COUNT_LIMIT = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Hello:
    """First on every link, and again when the addresses change.

    port: where the sender listens, on whatever address it is seen from; 0 for nowhere. addresses: further ones.
    seen: where the receiver seems to be, if that is known.
    """

    type: ClassVar = 1
    port: int
    addresses: tuple[Address, ...]
    seen: Address | None

    def encode(self) -> bytes:
        writer = Writer().u8(self.type).u8(VERSION).u16(self.port)
        write_addresses(writer, self.addresses)
        return writer.blob(self.seen.encode() if self.seen else b"").bytes()

    @classmethod
    def read(cls, reader: Reader) -> Hello:
        if (version := reader.u8()) != VERSION:
            raise RemoteError(f"a member speaks version {version} of the group protocol; this is {VERSION}")
        port, addresses = reader.u16(), read_addresses(reader)
        seen = reader.blob(ADDRESS_BYTES_LIMIT)
        return cls(port, addresses, Address.decode(seen) if seen else None)


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """A member as one tells another of it. age: seconds since it was heard of, rounded up."""

    peer_id: PeerId
    age: int
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Members:
    """Members that the receiver should want."""

    type: ClassVar = 2
    entries: tuple[MemberEntry, ...]

    def encode(self) -> bytes:
        writer = Writer().u8(self.type).varint(len(self.entries))
        for entry in self.entries:
            write_addresses(writer.raw(entry.peer_id).varint(entry.age), entry.addresses)
        return writer.bytes()

    @classmethod
    def read(cls, reader: Reader) -> Members:
        return cls(tuple(_read_entry(reader) for _ in range(reader.varint(ENTRIES_PER_MESSAGE))))


@dataclass(frozen=True, slots=True)
class Status:
    type: ClassVar = 3
    count: int
    fingerprint: bytes

    def encode(self) -> bytes:
        return Writer().u8(self.type).varint(self.count).raw(self.fingerprint).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Status:
        return cls(reader.varint(COUNT_LIMIT), reader.raw(FINGERPRINT_BYTES))


@dataclass(frozen=True, slots=True)
class Compare:
    type: ClassVar = 4
    summaries: tuple[Summary, ...]

    def encode(self) -> bytes:
        writer = Writer().u8(self.type).varint(len(self.summaries))
        for summary in self.summaries:
            _write_prefix(writer, summary.prefix).varint(summary.count).raw(summary.fingerprint)
        return writer.bytes()

    @classmethod
    def read(cls, reader: Reader) -> Compare:
        summaries = tuple(_read_summary(reader) for _ in range(reader.varint(SUMMARIES_PER_MESSAGE)))
        for one, other in pairwise(summaries):
            if one.prefix.after is None or other.prefix.first < one.prefix.after:
                raise RemoteError("the subtrees of a comparison are not in order, or overlap")
        return cls(summaries)


@dataclass(frozen=True, slots=True)
class Inventory:
    type: ClassVar = 5
    listing: Listing

    def encode(self) -> bytes:
        writer = _write_prefix(Writer().u8(self.type), self.listing.prefix)
        return _write_digests(writer, self.listing.digests)

    @classmethod
    def read(cls, reader: Reader) -> Inventory:
        prefix, digests = _read_prefix(reader), _read_digests(reader, MAX_LISTED)
        if any(digest not in prefix for digest in digests):
            raise RemoteError("an inventory lists a record from elsewhere")
        if any(one >= other for one, other in pairwise(digests)):
            raise RemoteError("an inventory is not in order")
        return cls(Listing(prefix, digests))


@dataclass(frozen=True, slots=True)
class Offer:
    type: ClassVar = 6
    digests: tuple[bytes, ...]

    def encode(self) -> bytes:
        return _write_digests(Writer().u8(self.type), self.digests)

    @classmethod
    def read(cls, reader: Reader) -> Offer:
        return cls(_read_digests(reader, OFFERS_PER_MESSAGE))


@dataclass(frozen=True, slots=True)
class Request:
    type: ClassVar = 7
    digests: tuple[bytes, ...]

    def encode(self) -> bytes:
        return _write_digests(Writer().u8(self.type), self.digests)

    @classmethod
    def read(cls, reader: Reader) -> Request:
        return cls(_read_digests(reader, REQUESTS_PER_MESSAGE))


@dataclass(frozen=True, slots=True)
class Records:
    type: ClassVar = 8
    records: tuple[bytes, ...]
    """Each as `Record.encode` gives it; decoding the message does not look inside."""

    def encode(self) -> bytes:
        writer = Writer().u8(self.type).varint(len(self.records))
        for record in self.records:
            writer.blob(record)
        return writer.bytes()

    @classmethod
    def read(cls, reader: Reader) -> Records:
        return cls(tuple(reader.blob(RECORD_BYTES_LIMIT) for _ in range(reader.varint(RECORDS_PER_MESSAGE))))


@dataclass(frozen=True, slots=True)
class Gone:
    type: ClassVar = 9
    digests: tuple[bytes, ...]

    def encode(self) -> bytes:
        return _write_digests(Writer().u8(self.type), self.digests)

    @classmethod
    def read(cls, reader: Reader) -> Gone:
        return cls(_read_digests(reader, REQUESTS_PER_MESSAGE))


@dataclass(frozen=True, slots=True)
class Ask:
    type: ClassVar = 10

    def encode(self) -> bytes:
        return Writer().u8(self.type).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Ask:
        return cls()


@dataclass(frozen=True, slots=True)
class Need:
    """A link begins as needed by both ends. One that neither needs is let go."""

    type: ClassVar = 11
    is_needed: bool

    def encode(self) -> bytes:
        return Writer().u8(self.type).u8(self.is_needed).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Need:
        if (flag := reader.u8()) > 1:
            raise RemoteError(f"a need is 0 or 1, not {flag}")
        return cls(bool(flag))


@dataclass(frozen=True, slots=True)
class Density:
    """How dense the ring is where the sender stands, and how many members it and its neighbours reckon with
    (`groups.census`). span: in units of 2^-64 of the ring; 0 for unknown, both."""

    type: ClassVar = 12
    span: int
    first: int

    def encode(self) -> bytes:
        return Writer().u8(self.type).u64(self.span).varint(self.first).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Density:
        return cls(reader.u64(), reader.varint(COUNT_LIMIT))


Message = Hello | Members | Status | Compare | Inventory | Offer | Request | Records | Gone | Ask | Need | Density
_KINDS: tuple[type[Message], ...] = (
    Hello,
    Members,
    Status,
    Compare,
    Inventory,
    Offer,
    Request,
    Records,
    Gone,
    Ask,
    Need,
    Density,
)
_READERS: dict[int, Callable[[Reader], Message]] = {kind.type: kind.read for kind in _KINDS}


def check_size(data: bytes | memoryview) -> None:
    """RemoteError for a message that is too long, whatever it is."""
    if len(data) > MESSAGE_BYTES_LIMIT:
        raise RemoteError(f"a group message has {len(data)} bytes; {MESSAGE_BYTES_LIMIT} are allowed")


def decode(data: bytes | memoryview) -> Message:
    """The message with exactly these bytes; RemoteError otherwise."""
    check_size(data)
    reader = Reader(data)
    kind = reader.u8()
    if (read := _READERS.get(kind)) is None:
        raise RemoteError(f"a group message of the unknown type {kind}")
    message = read(reader)
    reader.end()
    return message


def _read_entry(reader: Reader) -> MemberEntry:
    peer_id = PeerId(reader.raw(ID_BYTES))
    return MemberEntry(peer_id, reader.varint(MAX_AGE), read_addresses(reader, MAX_GOSSIPED_ADDRESSES))


def _write_prefix(writer: Writer, prefix: Prefix) -> Writer:
    return writer.u8(prefix.depth).raw(prefix.first[: (prefix.depth + 1) // 2])


def _read_prefix(reader: Reader) -> Prefix:
    depth = reader.u8()
    if depth > MAX_DEPTH:
        raise RemoteError(f"a prefix has {depth} digits; a digest has {MAX_DEPTH}")
    try:
        return Prefix(depth, reader.raw((depth + 1) // 2).ljust(DIGEST_BYTES, b"\0"))
    except ValueError as error:
        raise RemoteError(str(error)) from None


def _read_summary(reader: Reader) -> Summary:
    return Summary(_read_prefix(reader), reader.varint(COUNT_LIMIT), reader.raw(FINGERPRINT_BYTES))


def _write_digests(writer: Writer, digests: tuple[bytes, ...]) -> bytes:
    return writer.varint(len(digests)).raw(b"".join(digests)).bytes()


def _read_digests(reader: Reader, limit: int) -> tuple[bytes, ...]:
    return tuple(reader.raw(DIGEST_BYTES) for _ in range(reader.varint(limit)))
