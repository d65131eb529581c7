"""Datagrams of another protocol on the same UDP socket: the DHT's among those of sessions.

A KRPC message is a bencoded dictionary whose first key has one or two letters, so it begins with `d1:` or `d2:`. A
packet of a session begins with its scrambled session ID, any four bytes, so one in eight million begins the same:
what begins so is shown to the guest first, and what the guest does not know goes to the sessions like all else.

The kernel gives datagrams of one sender and one size together, so both kinds may be in a batch. To look costs one call
for each batch, and one for each datagram that begins with `d` (one of 256 of a session's).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from swarmd.core.addresses import Address

_FIRST = ord("d")
_HEADS = (b"d1:", b"d2:")


class Guest(Protocol):
    """The other protocol."""

    def receive_datagram(self, data: bytes, source: Address) -> bool:
        """Whether it is one of the guest's."""
        ...

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]: ...


def sift(data: memoryview, segment_bytes: int, take: Callable[[bytes], bool]) -> list[memoryview]:
    """What is left of a batch when the guest has taken what is its own."""
    size = segment_bytes or len(data) or 1
    if len(data) <= size and (not data or data[0] != _FIRST):
        return [data]  # the same, at a fifth of the time
    firsts = bytes(data[::size])
    if b"d" not in firsts:
        return [data]
    left: list[memoryview] = []
    start = 0
    for index, first in enumerate(firsts):
        at = index * size
        if first == _FIRST and data[at : at + 3] in _HEADS and take(bytes(data[at : at + size])):
            if start < at:
                left.append(data[start:at])
            start = at + size
    if start < len(data):
        left.append(data[start:])
    return left
