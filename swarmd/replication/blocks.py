"""The messages of the bulk flow: blocks of chunks and pages of metadata, each a fixed header and its payload.

    BLOCK  type u8, handle u32, chunk u32, offset u32, queued KiB u32    payload 1 B .. 1 MiB
    PAGE   type u8, handle u32, kind u32, index u32, queued KiB u32      payload 1 B .. 1 MiB

The handle is the asker's. The blocks of one chunk come in order, without gaps; those of different chunks may
alternate. `queued` is the sender's queue as in Status: the receiver learns it without a message of its own. The
payload is never copied: `split` cuts the header off the views that came in.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct

from swarmd.core.errors import RemoteError

MAX_BLOCK_BYTES = 1 << 20
HEADER = Struct(">BIIII")
HEADER_BYTES = HEADER.size
MAX_QUEUED_KIB = 2**32 - 1


class BulkType(IntEnum):
    BLOCK = 0x01
    PAGE = 0x02


def encode_header(type_: BulkType, handle: int, first: int, second: int, queued_kib: int) -> bytes:
    return HEADER.pack(type_, handle, first, second, min(queued_kib, MAX_QUEUED_KIB))


def split(parts: Sequence[memoryview]) -> tuple[tuple[int, int, int, int, int], list[memoryview], int]:
    """Header fields, payload views, payload length. RemoteError when it is no bulk message."""
    head = parts[0] if parts else memoryview(b"")
    if len(head) >= HEADER_BYTES:
        fields = HEADER.unpack_from(head)
        payload = [head[HEADER_BYTES:], *parts[1:]] if len(head) > HEADER_BYTES else list(parts[1:])
    else:
        fields, payload = _split_slowly(parts)
    length = len(payload[0]) if len(payload) == 1 else sum(map(len, payload))
    if not 0 < length <= MAX_BLOCK_BYTES:
        raise RemoteError(f"a bulk message carries {length} bytes; 1 to {MAX_BLOCK_BYTES} are allowed", penalty=5)
    return fields, payload, length


def _split_slowly(parts: Sequence[memoryview]) -> tuple[tuple[int, int, int, int, int], list[memoryview]]:
    """The same when the header itself is cut in pieces."""
    head = bytearray()
    payload: list[memoryview] = []
    for part in parts:
        wanted = HEADER_BYTES - len(head)
        head += part[:wanted]
        if len(part) > wanted:
            payload.append(part[wanted:])
    if len(head) < HEADER_BYTES:
        raise RemoteError("a bulk message is shorter than its header", penalty=5)
    return HEADER.unpack(head), payload
