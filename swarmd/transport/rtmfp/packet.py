"""What stands around the chunks of a packet (RFC 7016 §2.2.2, §2.2.4).

    datagram   scrambled session ID u32 | sealed part
    plain      flags u8 | timestamp u16, if TIMESTAMP | echo u16, if ECHO | chunks | padding

The session ID is hidden by XOR with the first 8 bytes of the sealed part; ID 0 is the startup session. Timestamps
count ticks of 4 ms, modulo 2^16: an RTT is the difference of now and the echo, as far as it is below half of that.

Invariant: `decode_header(encode_header(...))` gives the same; other bytes are a RemoteError. What seals the packet
is the profile's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from swarmd.core.errors import RemoteError
from swarmd.transport.api import Buffer

TIME_CRITICAL = 0x80
"""The sender has time-critical data in this packet."""
TIME_CRITICAL_REVERSE = 0x40
"""The sender is receiving time-critical data, on another session too: whoever sends bulk to it should yield."""
TIMESTAMP = 0x08
ECHO = 0x04
MAX_HEADER_BYTES = 5
SESSION_ID_BYTES = 4
MIN_DATAGRAM_BYTES = 12
"""ID and 8 bytes to hide it. (The RFC would fill up with zeros, but every profile seals to more than 8 bytes.)"""
TICK = 0.004
"""Seconds."""
_TICKS_PER_SECOND = 250
_NOTIFICATIONS = TIME_CRITICAL | TIME_CRITICAL_REVERSE
_MODES = 0x03
_THREE_WORDS = struct.Struct(">III")
_WORD = struct.Struct(">I")
_TWO_WORDS = struct.Struct(">II")


class Mode(IntEnum):
    """Whose packet it is; one with our own role is our own come back, and not to be listened to."""

    INITIATOR = 1
    RESPONDER = 2
    STARTUP = 3


_MODE_OF = (None, Mode.INITIATOR, Mode.RESPONDER, Mode.STARTUP)


@dataclass(frozen=True, slots=True)
class Header:
    """`flags` has only TIME_CRITICAL and TIME_CRITICAL_REVERSE; the chunks begin at `size`."""

    mode: Mode
    flags: int
    timestamp: int | None
    echo: int | None
    size: int


def scramble(session_id: int, sealed: Buffer) -> bytes:
    """The 4 bytes that stand in front of the sealed part."""
    first, second = _TWO_WORDS.unpack_from(sealed)
    return _WORD.pack(session_id ^ first ^ second)


def scramble_into(datagrams: memoryview, offset: int, session_id: int) -> None:
    """The same, written to the front of the datagram that begins at `offset`, its sealed part being there."""
    first, second = _TWO_WORDS.unpack_from(datagrams, offset + SESSION_ID_BYTES)
    _WORD.pack_into(datagrams, offset, session_id ^ first ^ second)


def session_id_of(datagram: Buffer) -> int:
    if len(datagram) < MIN_DATAGRAM_BYTES:
        raise RemoteError(f"a packet has at least {MIN_DATAGRAM_BYTES} bytes, not {len(datagram)}")
    scrambled, first, second = _THREE_WORDS.unpack_from(datagram)
    session_id: int = scrambled ^ first ^ second
    return session_id


def encode_header(mode: Mode, *, timestamp: int | None, echo: int | None, flags: int = 0) -> bytes:
    """Of `flags` only the two of time-critical data count."""
    flags = flags & _NOTIFICATIONS | mode
    if timestamp is None and echo is None:
        return bytes((flags,))
    if echo is None:
        return bytes((flags | TIMESTAMP,)) + (timestamp or 0).to_bytes(2, "big")
    if timestamp is None:
        return bytes((flags | ECHO,)) + echo.to_bytes(2, "big")
    return bytes((flags | TIMESTAMP | ECHO,)) + (timestamp << 16 | echo).to_bytes(4, "big")


def decode_header(plain: Buffer) -> Header:
    """Reserved flags are ignored."""
    try:
        flags = plain[0]
        mode = _MODE_OF[flags & _MODES]
        if mode is None:
            raise RemoteError("a packet of mode 0, which there is not")
        timestamp = echo = None
        size = 1
        if flags & TIMESTAMP:
            timestamp, size = plain[1] << 8 | plain[2], 3
        if flags & ECHO:
            echo, size = plain[size] << 8 | plain[size + 1], size + 2
    except IndexError:
        raise RemoteError("a packet ends within its header") from None
    return Header(mode, flags & _NOTIFICATIONS, timestamp, echo, size)


def ticks(now: float) -> int:
    """`now` as a timestamp; seconds from any beginning, not negative."""
    return int(now * _TICKS_PER_SECOND) & 0xFFFF
