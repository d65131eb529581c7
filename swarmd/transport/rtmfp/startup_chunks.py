"""The chunks that bring a session about (RFC 7016 §2.3.1-8), and the fragment of a packet too large for the path.

    IHello           30  field EPD | tag                                        who is there?
    ForwardedIHello  0f  field EPD | address | tag                              the same, passed on in a session
    RHello           70  field tag echo | field cookie | certificate            I am
    Redirect         71  field tag echo | n x address                           ask there; none: where this comes from
    CookieChange     79  field old cookie | new cookie                          your address has changed; use this one
    IIKeying         38  u32 ID | field cookie | field certificate | field component | signature
    RIKeying         78  u32 ID | field component | signature
    PacketFragment   7f  u8 flags (80: more follow) | VLU packet | VLU number | part of the packet

What comes last takes the rest of the chunk, and may be empty. EPD is the endpoint discriminator: whom the sender
wants; its form is the profile's.

Invariant: `parse` of what `payload` gives is equal; other bytes are a RemoteError. All fields are copies, so they
outlive the packet. Their sizes are bounded by the packet's only: what is too long to be meant is for the machines to
say. Addresses are dialable: a Redirect leaves out those that are not, and is refused if none is left of some.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.transport.rtmfp.addresses import Origin, decode_address, encode_address
from swarmd.transport.rtmfp.vlu import decode_field, decode_vlu, encode_field, encode_vlu

MAX_REDIRECTS = 64
"""Addresses in one Redirect; more are ignored. An endpoint has a few, and an introducer names a few endpoints."""
_MORE_FRAGMENTS = 0x80
_ID_BYTES = 4


@dataclass(frozen=True, slots=True)
class IHello:
    kind: ClassVar[int] = 0x30
    epd: bytes
    tag: bytes

    def payload(self) -> bytes:
        return encode_field(self.epd) + self.tag

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        epd, offset = decode_field(body, 0)
        return cls(epd, bytes(body[offset:]))


@dataclass(frozen=True, slots=True)
class ForwardedIHello:
    """`reply_address`: where the IHello came from, and where the RHello is to go."""

    kind: ClassVar[int] = 0x0F
    epd: bytes
    reply_address: Address
    tag: bytes

    def payload(self) -> bytes:
        return encode_field(self.epd) + encode_address(self.reply_address, Origin.OBSERVED) + self.tag

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        epd, offset = decode_field(body, 0)
        address, offset = decode_address(body, offset)
        if not address.is_dialable:
            raise RemoteError(f"an IHello was passed on for {address}, which nobody can have")
        return cls(epd, address, bytes(body[offset:]))


@dataclass(frozen=True, slots=True)
class RHello:
    kind: ClassVar[int] = 0x70
    tag_echo: bytes
    cookie: bytes
    certificate: bytes

    def payload(self) -> bytes:
        return encode_field(self.tag_echo) + encode_field(self.cookie) + self.certificate

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        tag_echo, offset = decode_field(body, 0)
        cookie, offset = decode_field(body, offset)
        return cls(tag_echo, cookie, bytes(body[offset:]))


@dataclass(frozen=True, slots=True)
class Redirect:
    """No destinations at all: the address that the Redirect comes from is the one."""

    kind: ClassVar[int] = 0x71
    tag_echo: bytes
    destinations: tuple[Address, ...]

    def payload(self) -> bytes:
        return encode_field(self.tag_echo) + b"".join(map(encode_address, self.destinations))

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        tag_echo, offset = decode_field(body, 0)
        destinations: list[Address] = []
        for _ in range(MAX_REDIRECTS):
            if offset == len(body):
                break
            address, offset = decode_address(body, offset)
            destinations.append(address)
        dialable = tuple(address for address in destinations if address.is_dialable)
        if destinations and not dialable:
            raise RemoteError(f"a redirect to {destinations[0]}, where nobody can be")
        return cls(tag_echo, dialable)


@dataclass(frozen=True, slots=True)
class CookieChange:
    kind: ClassVar[int] = 0x79
    old_cookie: bytes
    new_cookie: bytes

    def payload(self) -> bytes:
        return encode_field(self.old_cookie) + self.new_cookie

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        old_cookie, offset = decode_field(body, 0)
        return cls(old_cookie, bytes(body[offset:]))


@dataclass(frozen=True, slots=True)
class IIKeying:
    """`session_id`: the one that packets to the initiator are to carry."""

    kind: ClassVar[int] = 0x38
    session_id: int
    cookie_echo: bytes
    certificate: bytes
    key_component: bytes
    signature: bytes

    def signed_part(self) -> bytes:
        """What a profile that has signatures signs: all before the signature."""
        fields = (self.cookie_echo, self.certificate, self.key_component)
        return self.session_id.to_bytes(_ID_BYTES, "big") + b"".join(map(encode_field, fields))

    def payload(self) -> bytes:
        return self.signed_part() + self.signature

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        session_id = _session_id(body)
        cookie_echo, offset = decode_field(body, _ID_BYTES)
        certificate, offset = decode_field(body, offset)
        key_component, offset = decode_field(body, offset)
        return cls(session_id, cookie_echo, certificate, key_component, bytes(body[offset:]))


@dataclass(frozen=True, slots=True)
class RIKeying:
    """`session_id`: the one that packets to the responder are to carry."""

    kind: ClassVar[int] = 0x78
    session_id: int
    key_component: bytes
    signature: bytes

    def signed_part(self) -> bytes:
        """What stands before the signature; the initiator's key component, which is signed too, comes after it."""
        return self.session_id.to_bytes(_ID_BYTES, "big") + encode_field(self.key_component)

    def payload(self) -> bytes:
        return self.signed_part() + self.signature

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        session_id = _session_id(body)
        key_component, offset = decode_field(body, _ID_BYTES)
        return cls(session_id, key_component, bytes(body[offset:]))


@dataclass(frozen=True, slots=True)
class PacketFragment:
    """Number `number` (from 0) of the fragments of the plain packet `packet_id`, which is one of the startup."""

    kind: ClassVar[int] = 0x7F
    more: bool
    packet_id: int
    number: int
    data: bytes

    def payload(self) -> bytes:
        flags = _MORE_FRAGMENTS if self.more else 0
        return bytes((flags,)) + encode_vlu(self.packet_id) + encode_vlu(self.number) + self.data

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        if not body:
            raise RemoteError("a packet fragment of no bytes")
        packet_id, offset = decode_vlu(body, 1)
        number, offset = decode_vlu(body, offset)
        return cls(bool(body[0] & _MORE_FRAGMENTS), packet_id, number, bytes(body[offset:]))


def _session_id(body: memoryview) -> int:
    if len(body) < _ID_BYTES:
        raise RemoteError("keying without a session ID")
    return int.from_bytes(body[:_ID_BYTES], "big")
