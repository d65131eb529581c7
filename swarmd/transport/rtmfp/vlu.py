"""Variable Length Unsigned integers (RFC 7016 §2.1.2): 7 bits a byte, the *high* ones first; high bit set: more follow.

Not the varint of `core.codec`, which begins with the low bits. A *field* is a VLU length and so many bytes.

Invariant: what is encoded is the shortest form. What is decoded need not be (leading 80s change nothing), but is at
most 10 bytes long and fits 64 bits; `decode_x` raises RemoteError only. Offsets are our own: never negative.
"""

from __future__ import annotations

from swarmd.core.errors import RemoteError
from swarmd.transport.api import Buffer

VLU_LIMIT = 2**64 - 1
"""As in the RFC author's implementation. (That one reads a larger number as this; here it is refused.)"""
MAX_VLU_BYTES = 10
"""ceil(64 / 7)."""
_ONE_BYTE = tuple(bytes((value,)) for value in range(0x80))


def encode_vlu(value: int) -> bytes:
    """OverflowError (our bug) unless 0 <= value < 2^64. Up to three bytes, as nearly all have, in 0.1 us."""
    if 0 <= value < 0x80:
        return _ONE_BYTE[value]
    if 0 <= value < 0x4000:
        return (value << 1 & 0x7F00 | 0x8000 | value & 0x7F).to_bytes(2, "big")
    if 0 <= value < 0x200000:
        return (value << 2 & 0x7F0000 | value << 1 & 0x7F00 | 0x808000 | value & 0x7F).to_bytes(3, "big")
    if not 0 <= value <= VLU_LIMIT:
        raise OverflowError(f"a VLU holds 0 to 2^64 - 1, not {value}")
    shifts = range(7 * (vlu_bytes(value) - 1), 0, -7)
    return bytes([value >> shift & 0x7F | 0x80 for shift in shifts] + [value & 0x7F])


def vlu_bytes(value: int) -> int:
    """How long `encode_vlu` makes it."""
    return (value.bit_length() + 6) // 7 or 1


def decode_vlu(data: Buffer, offset: int) -> tuple[int, int]:
    """The value, and the offset behind it."""
    try:
        value = data[offset]
        if value < 0x80:
            return value, offset + 1
        byte = data[offset + 1]
        value = (value & 0x7F) << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + 2
        byte = data[offset + 2]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + 3
        for index in range(offset + 3, offset + MAX_VLU_BYTES):
            byte = data[index]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                if value > VLU_LIMIT:
                    break
                return value, index + 1
    except IndexError:
        raise RemoteError("a VLU goes beyond the end") from None
    raise RemoteError("a VLU is longer than 64 bits")


def encode_field(data: Buffer) -> bytes:
    return encode_vlu(len(data)) + data


def decode_field(data: Buffer, offset: int) -> tuple[bytes, int]:
    """A copy of its bytes, and the offset behind it."""
    length, start = decode_vlu(data, offset)
    stop = start + length
    if stop > len(data):
        raise RemoteError(f"a field of {length} bytes goes beyond the end")
    return bytes(data[start:stop]), stop
