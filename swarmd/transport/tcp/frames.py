"""Layout inside a record: a sequence of frames, each a fixed header and a body.

    type u8 | flags u8 | flow u32 | length u32 | body

The header is fixed so that a bulk frame costs one `struct` call. Types that are not known are an error: versions are
agreed in the keying, so a peer of ours never sends one.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.transport.api import MAX_METADATA_BYTES, CloseReason, Priority

HEADER = struct.Struct(">BBII")
HEADER_BYTES = HEADER.size
BEGIN = 1  # the frame starts a message
END = 2  # the frame ends one
MIN_FRAGMENT_BYTES = 512  # a smaller piece of a larger message is not worth its header; only the last may be smaller
_MAX_DETAIL_BYTES = 200


class FrameType(IntEnum):
    DATA = 0
    OPEN = 1
    FINISH = 2
    PING = 3
    PONG = 4
    CLOSE = 5
    REKEY = 6  # the last frame sealed with the present key


def encode_frame(kind: FrameType, flow: int = 0, body: bytes = b"", flags: int = 0) -> bytes:
    return HEADER.pack(kind, flags, flow, len(body)) + body


def encode_open(flow: int, metadata: bytes, priority: Priority) -> bytes:
    return encode_frame(FrameType.OPEN, flow, bytes([priority]) + metadata)


def decode_open(body: memoryview) -> tuple[Priority, bytes]:
    if not 1 <= len(body) <= 1 + MAX_METADATA_BYTES:
        raise RemoteError("a flow was opened with metadata of a wrong size")
    if body[0] > max(Priority):
        raise RemoteError("a flow was opened with an unknown priority")
    return Priority(body[0]), bytes(body[1:])


def encode_close(reason: CloseReason, detail: str) -> bytes:
    text = detail.encode("utf-8", "replace")[:_MAX_DETAIL_BYTES].decode("utf-8", "ignore")
    return encode_frame(FrameType.CLOSE, 0, Writer().u8(reason).text(text).bytes())


def decode_close(body: memoryview) -> tuple[CloseReason, str]:
    reader = Reader(body)
    code = reader.u8()
    detail = reader.text(_MAX_DETAIL_BYTES)
    reader.end()
    return (CloseReason(code) if code in CloseReason.__members__.values() else CloseReason.NORMAL), detail
