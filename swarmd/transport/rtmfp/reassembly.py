"""Packet Fragments: a packet that is larger than the path takes, in parts (RFC 7016 §2.3.3).

Needed when a path gets narrower while fragments that were cut for the wider one are under way: they keep their numbers
and their bytes, so the packet around them has to be cut.

Bounds: MAX_PACKETS packets at a time, the oldest given up; MAX_PARTS parts each.
"""

from __future__ import annotations

from collections.abc import Iterator

from swarmd.core.errors import RemoteError
from swarmd.transport.rtmfp.chunks import CHUNK_HEADER_BYTES, PacketFragment

MAX_PACKETS = 8
MAX_PARTS = 16
MAX_PACKET_BYTES = 16 * 1024
_OVERHEAD_BYTES = CHUNK_HEADER_BYTES + 1 + 10 + 1


def split(plain: bytes, packet_id: int, limit_bytes: int) -> Iterator[PacketFragment]:
    """Chunks of at most `limit_bytes` each that make up `plain`."""
    step = limit_bytes - _OVERHEAD_BYTES
    for number, start in enumerate(range(0, len(plain), step)):
        yield PacketFragment(start + step < len(plain), packet_id, number, plain[start : start + step])


class Reassembly:
    def __init__(self) -> None:
        self._parts: dict[int, dict[int, PacketFragment]] = {}

    def receive(self, part: PacketFragment) -> memoryview | None:
        """The packet, when this was its last missing part."""
        if part.number >= MAX_PARTS:
            raise RemoteError("a packet in too many parts")
        if part.packet_id not in self._parts and len(self._parts) >= MAX_PACKETS:
            del self._parts[next(iter(self._parts))]
        parts = self._parts.setdefault(part.packet_id, {})
        parts[part.number] = part
        last = next((number for number, each in parts.items() if not each.more), None)
        if last is None or any(number not in parts for number in range(last + 1)):
            return None
        del self._parts[part.packet_id]
        whole = b"".join(parts[number].data for number in range(last + 1))
        if len(whole) > MAX_PACKET_BYTES:
            raise RemoteError("a packet of too many bytes in parts")
        return memoryview(whole)
