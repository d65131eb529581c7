"""The chunks of an open session (RFC 7016 §2.3.9-18).

    Ping           01  message                    PingReply    41  message         CloseRequest  0c    CloseAck  4c
    UserData       10  u8 flags | VLU flow | VLU sequence | VLU forward offset | options, if 80 | data
    (next)         11  u8 flags | options, if 80 | data
    AckBitmap      50  VLU flow | VLU blocks | VLU cumulative | bits
    AckRanges      51  VLU flow | VLU blocks | VLU cumulative | n x (VLU holes - 1 | VLU received - 1)
    BufferProbe    18  VLU flow                   FlowException 5e  VLU flow | VLU code

Next User Data goes on with what the user data chunk before it in the packet began: the same flow and the same
forward sequence number, and a sequence number one higher. Here both are a `UserData`, and both kinds of
acknowledgement are `AckRanges`: nobody above has to know how a peer likes to write them.

Invariant: `parse` of what `payload` gives is equal; other bytes are a RemoteError. Numbers fit 64 bits. `UserData.data`
is a view of the packet and lives as long as that; all else is a copy. Bytes behind the last number are ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple, Self

from swarmd.core.errors import RemoteError
from swarmd.transport.rtmfp.options import Option, decode_options, encode_options
from swarmd.transport.rtmfp.vlu import VLU_LIMIT, decode_vlu, encode_vlu

USER_DATA = 0x10
NEXT_USER_DATA = 0x11
ACK_BITMAP = 0x50
BUFFER_BLOCK_BYTES = 1024
"""What `AckRanges.buffer_blocks` counts in."""
MAX_PEER_PING_BYTES = 997
"""The RFC author's implementation does not answer a longer message."""
MAX_CLOSE_DETAIL_BYTES = 256
MAX_ACK_RANGES = 4096
"""Taken of one acknowledgement; those beyond are left out, as the RFC allows a sender to. Every other fragment of a
window of 8,192 is 10 MB of them; without a bound, a bitmap of 9,000 bytes would make 36,000 tuples."""

FLAG_OPTIONS = 0x80
FLAG_ABANDONED = 0x02
FLAG_FINAL = 0x01
_FRAGMENT_BITS = 0x30
_RUN_OF_ONES = re.compile("1+")


class Fragment(IntEnum):
    """Which part of a message it is; the values are those of the flags."""

    WHOLE = 0x00
    BEGIN = 0x10
    END = 0x20
    MIDDLE = 0x30


WHOLE, BEGIN, END, MIDDLE = (int(fragment) for fragment in Fragment)
_FRAGMENT_OF = tuple(Fragment)  # by flags >> 4 & 3


class UserData(NamedTuple):
    """One fragment of a message; a tuple since making one takes 0.3 us then, and 0.9 as a frozen dataclass.

    sequence: its number in the flow, from 1. forward_sequence: the receiver need not wait for anything up to here
    (equal to `sequence` only if this is abandoned). is_abandoned: without meaning as data, only as a number; it is
    empty then, as a rule. is_final: no number of the flow is higher.
    """

    flow: int
    sequence: int
    forward_sequence: int
    data: memoryview | bytes
    fragment: Fragment = Fragment.WHOLE
    options: tuple[Option, ...] = ()
    is_abandoned: bool = False
    is_final: bool = False

    @property
    def flags(self) -> int:
        """As on the wire."""
        flags = self.fragment | (FLAG_OPTIONS if self.options else 0)
        return flags | (FLAG_ABANDONED if self.is_abandoned else 0) | (FLAG_FINAL if self.is_final else 0)

    def follows(self, before: UserData) -> bool:
        """Whether it may be written as Next User Data behind that one."""
        next_numbers = (before.flow, before.sequence + 1, before.forward_sequence)
        return (self.flow, self.sequence, self.forward_sequence) == next_numbers

    def payload(self, before: UserData | None = None) -> bytes:
        """As Next User Data if `before` is given, which it has to follow."""
        parts = [bytes((self.flags,))]
        if before is None:
            numbers = (self.flow, self.sequence, self.sequence - self.forward_sequence)
            parts += map(encode_vlu, numbers)
        if self.options:
            parts.append(encode_options(self.options))
        return b"".join((*parts, self.data))

    @classmethod
    def parse(cls, body: memoryview) -> UserData:
        flow, offset = decode_vlu(body, 1)
        sequence, offset = decode_vlu(body, offset)
        forward_offset, offset = decode_vlu(body, offset)
        if forward_offset > sequence:
            raise RemoteError("a forward sequence number below zero")
        return _user_data(body, offset, flow, sequence, sequence - forward_offset)

    @classmethod
    def parse_next(cls, body: memoryview, before: UserData | None) -> UserData:
        """`before`: the one before it in the packet, if there is one, as there has to be."""
        if before is None:
            raise RemoteError("a packet has Next User Data without user data before it")
        if not body or before.sequence == VLU_LIMIT:
            raise RemoteError("Next User Data without flags or without a number")
        return _user_data(body, 1, before.flow, before.sequence + 1, before.forward_sequence)


def _user_data(body: memoryview, offset: int, flow: int, sequence: int, forward_sequence: int) -> UserData:
    flags = body[0]
    options: tuple[Option, ...] = ()
    if flags & FLAG_OPTIONS:
        listed, offset = decode_options(body, offset)
        options = tuple(listed)
    return UserData(
        flow,
        sequence,
        forward_sequence,
        body[offset:],
        _FRAGMENT_OF[(flags & _FRAGMENT_BITS) >> 4],
        options,
        bool(flags & FLAG_ABANDONED),
        bool(flags & FLAG_FINAL),
    )


@dataclass(frozen=True, slots=True)
class AckRanges:
    """All up to and with `cumulative` has arrived (or need not), and each `start <= number < stop` of `ranges`.

    The ranges rise and do not touch; the first starts at `cumulative + 2` or higher. buffer_blocks: free space of the
    receiver's, in `BUFFER_BLOCK_BYTES`.
    """

    kind: ClassVar[int] = 0x51
    flow: int
    buffer_blocks: int
    cumulative: int
    ranges: tuple[tuple[int, int], ...] = ()

    def payload(self, limit_bytes: int = 0xFFFF) -> bytes:
        """With as many ranges, lowest first, as stay within the limit; empty if it does not even hold the rest."""
        parts = bytearray(encode_vlu(self.flow) + encode_vlu(self.buffer_blocks) + encode_vlu(self.cumulative))
        if len(parts) > limit_bytes:
            return b""
        stop = self.cumulative + 1
        for start, next_stop in self.ranges:
            pair = encode_vlu(start - stop - 1) + encode_vlu(next_stop - start - 1)
            if len(parts) + len(pair) > limit_bytes:
                break
            parts += pair
            stop = next_stop
        return bytes(parts)

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        flow, blocks, cumulative, offset = _acknowledged(body)
        ranges: list[tuple[int, int]] = []
        stop = cumulative + 1
        while offset < len(body) and len(ranges) < MAX_ACK_RANGES:
            holes, offset = decode_vlu(body, offset)
            if offset == len(body):
                break  # the RFC author's implementation cuts its list off anywhere
            received, offset = decode_vlu(body, offset)
            start = stop + holes + 1
            stop = start + received + 1
            if stop > VLU_LIMIT + 1:
                raise RemoteError("an acknowledgement of numbers that there are not")
            ranges.append((start, stop))
        return cls(flow, blocks, cumulative, tuple(ranges))

    @classmethod
    def parse_bitmap(cls, body: memoryview) -> Self:
        """The lowest bit of the first byte is `cumulative + 2`, its highest `cumulative + 9`, and so on."""
        flow, blocks, cumulative, offset = _acknowledged(body)
        number = int.from_bytes(body[offset:], "little")
        if cumulative + 1 + number.bit_length() > VLU_LIMIT:
            raise RemoteError("an acknowledgement of numbers that there are not")
        ranges: list[tuple[int, int]] = []
        for run in _RUN_OF_ONES.finditer(f"{number:b}"[::-1]):
            if len(ranges) == MAX_ACK_RANGES:
                break
            ranges.append((cumulative + 2 + run.start(), cumulative + 2 + run.end()))
        return cls(flow, blocks, cumulative, tuple(ranges))


def _acknowledged(body: memoryview) -> tuple[int, int, int, int]:
    flow, offset = decode_vlu(body, 0)
    blocks, offset = decode_vlu(body, offset)
    cumulative, offset = decode_vlu(body, offset)
    return flow, blocks, cumulative, offset


@dataclass(frozen=True, slots=True)
class Ping:
    """The other side sends the message back. What an unforgeable one has to hold is the session's to know."""

    kind: ClassVar[int] = 0x01
    message: bytes = b""

    def payload(self) -> bytes:
        return self.message

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        return cls(bytes(body))


@dataclass(frozen=True, slots=True)
class PingReply:
    kind: ClassVar[int] = 0x41
    message: bytes = b""

    def payload(self) -> bytes:
        return self.message

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        return cls(bytes(body))


@dataclass(frozen=True, slots=True)
class BufferProbe:
    """The sender of the flow has been told of no room, and asks for an acknowledgement."""

    kind: ClassVar[int] = 0x18
    flow: int

    def payload(self) -> bytes:
        return encode_vlu(self.flow)

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        return cls(decode_vlu(body, 0)[0])


@dataclass(frozen=True, slots=True)
class FlowException:
    """The receiver of the flow refuses it, or any more of it; 0 is no particular reason."""

    kind: ClassVar[int] = 0x5E
    flow: int
    code: int = 0

    def payload(self) -> bytes:
        return encode_vlu(self.flow) + encode_vlu(self.code)

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        flow, offset = decode_vlu(body, 0)
        return cls(flow, decode_vlu(body, offset)[0])


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """`detail`: why, in swarmd's own form (`session.encode_reason`); the RFC has none, and others pass over it."""

    kind: ClassVar[int] = 0x0C
    detail: bytes = b""

    def payload(self) -> bytes:
        return self.detail

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        return cls(bytes(body[:MAX_CLOSE_DETAIL_BYTES]))


@dataclass(frozen=True, slots=True)
class CloseAck:
    kind: ClassVar[int] = 0x4C

    def payload(self) -> bytes:
        return b""

    @classmethod
    def parse(cls, body: memoryview) -> Self:
        return cls()
