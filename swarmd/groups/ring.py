"""The ring: where members and keys stand, mod 2^256, and who is near what. Pure functions.

A member's group address is SHA-256(`21 0f` + peer ID): evenly spread, and nobody chooses his own but by making new
keys until one fits. Every other 32 bytes are an address too: a key, say, for which the nearest member is responsible.

Invariant: for every set of addresses each point of the ring has exactly one nearest member. Of two that are equally
far the one above the point (in increasing direction) is nearer, so the coverages of all members make up the ring
without overlap.

In text an address is 64 hexadecimal digits, as it was in NetGroup; a peer ID (52 letters of base32) cannot be mistaken
for one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from swarmd.core.errors import InvalidArgument
from swarmd.core.ids import ID_BYTES, Id, PeerId

RING = 1 << 256
"""How many places there are."""
_PREFIX = b"\x21\x0f"
"""RFC 7425's endpoint discriminator for a fingerprint: 33 bytes follow, option 0x0f."""
_TEXT_FORM = re.compile("[0-9a-fA-F]{64}")


class GroupAddress(Id):
    """A place on the ring."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From 64 hexadecimal digits; InvalidArgument for anything else."""
        if not _TEXT_FORM.fullmatch(text):
            raise InvalidArgument("not a group address: it takes 64 hexadecimal digits")
        return cls(bytes.fromhex(text))

    @classmethod
    def at(cls, number: int) -> Self:
        """The place with that number, mod 2^256."""
        return cls((number % RING).to_bytes(ID_BYTES, "big"))

    @property
    def number(self) -> int:
        return int.from_bytes(self, "big")

    def __str__(self) -> str:
        return self.hex()


@dataclass(frozen=True, slots=True)
class Coverage:
    """The addresses that one member is nearest to: from `start` up to `end`, both included."""

    start: GroupAddress
    end: GroupAddress

    def __contains__(self, address: GroupAddress) -> bool:
        return gap(self.start, address) <= gap(self.start, self.end)


def group_address(peer_id: PeerId) -> GroupAddress:
    """Where that member stands in every group."""
    return GroupAddress(hashlib.sha256(_PREFIX + peer_id).digest())


def gap(start: GroupAddress, end: GroupAddress) -> int:
    """How far it is from `start` up to `end`: 0 to 2^256 - 1."""
    return (end.number - start.number) % RING


def distance(one: GroupAddress, other: GroupAddress) -> int:
    """How far it is the shorter way: 0 to 2^255."""
    up = (other.number - one.number) % RING
    return min(up, RING - up)


def nearest(target: GroupAddress, addresses: Iterable[GroupAddress]) -> GroupAddress | None:
    """The one nearest to `target`; None where there is none."""
    return min(addresses, key=_nearness(target), default=None)


def by_distance(target: GroupAddress, addresses: Iterable[GroupAddress]) -> list[GroupAddress]:
    """All of them, the nearest to `target` first."""
    return sorted(addresses, key=_nearness(target))


def is_nearer(target: GroupAddress, one: GroupAddress, other: GroupAddress) -> bool:
    """Whether `one` is nearer to `target` than `other` is."""
    key = _nearness(target)
    return key(one) < key(other)


def next_increasing(own: GroupAddress, addresses: Iterable[GroupAddress]) -> GroupAddress | None:
    """The first one above `own`, which does not count itself; None where there is no other."""
    return min((each for each in addresses if each != own), key=lambda each: gap(own, each), default=None)


def next_decreasing(own: GroupAddress, addresses: Iterable[GroupAddress]) -> GroupAddress | None:
    """The first one below `own`."""
    return min((each for each in addresses if each != own), key=lambda each: gap(each, own), default=None)


def coverage(own: GroupAddress, addresses: Iterable[GroupAddress]) -> Coverage:
    """What `own` is nearest to among itself and `addresses`: half the way to the next on each side; alone, all."""
    others = [each for each in addresses if each != own]
    below, above = next_decreasing(own, others), next_increasing(own, others)
    down = RING if below is None else gap(below, own)
    up = RING if above is None else gap(own, above)
    return Coverage(GroupAddress.at(own.number - down // 2), GroupAddress.at(own.number + (up - 1) // 2))


def _nearness(target: GroupAddress) -> Callable[[GroupAddress], tuple[int, int]]:
    """A sort key: the distance to `target`; of two equal ones the one above it comes first."""
    place = target.number

    def key(address: GroupAddress) -> tuple[int, int]:
        up = (address.number - place) % RING
        return min(up, RING - up), up

    return key
