"""Peer records: where a member says that it is, found by those who know its peer ID and are in the group."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.dht.items import Item
from swarmd.groups.contacts import MAX_ADDRESSES
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.rendezvous.peerrecords import RECORD_PERIOD, PeerRecord, open_record, seal_record, slot_of
from swarmd.groups.rendezvous.values import AHEAD_LIMIT

from .builders import WALL, identity, peer_id, spec

ADDRESSES = (Address("192.0.2.1", 7927), Address("2001:db8::1", 7927))
PEER = identity(1).peer_id
OTHER_GROUP = GroupSpec.create("family", SeededRng(2)).spec
DAY = 19_675


def sealed(addresses: tuple[Address, ...] = ADDRESSES, wall: float = WALL, author: int = 1) -> Item:
    return seal_record(spec(), identity(author), addresses, DAY, wall, SeededRng(1))


def opened(item: Item, wall: float = WALL) -> PeerRecord:
    return open_record(spec(), PEER, DAY, item, wall)


def test_there_and_back() -> None:
    record = opened(sealed())
    assert record == PeerRecord(PEER, int(WALL * 1000), ADDRESSES)
    assert (record.contact.peer_id, record.contact.addresses) == (PEER, ADDRESSES)
    assert record.age(WALL + 60) == pytest.approx(60)


def test_only_what_can_be_dialled_is_said_and_never_too_much() -> None:
    many = tuple(Address("192.0.2.1", port) for port in range(20))
    assert opened(sealed(many)).addresses == many[1 : 1 + MAX_ADDRESSES]


def test_another_day_peer_or_group_is_another_slot() -> None:
    item = sealed()
    slots = {
        slot_of(of, peer, day).public
        for of in (spec(), OTHER_GROUP)
        for peer in (PEER, peer_id(7))
        for day in (DAY, DAY + 1)
    }
    assert len(slots) == 8
    for of, peer, day in ((OTHER_GROUP, PEER, DAY), (spec(), peer_id(7), DAY), (spec(), PEER, DAY + 1)):
        with pytest.raises(RemoteError):
            open_record(of, peer, day, item, WALL)


def test_nobody_speaks_for_another() -> None:
    """A member that puts its own record where another one's belongs: it can hide it, and not move it."""
    theirs = slot_of(spec(), identity(2).peer_id, DAY).body_of(sealed(author=2))
    with pytest.raises(RemoteError, match="another peer's"):
        opened(slot_of(spec(), PEER, DAY).item(theirs, 2**40, SeededRng(1)))


def test_what_was_said_in_another_group_does_not_hold_here() -> None:
    there = seal_record(OTHER_GROUP, identity(1), ADDRESSES, DAY, WALL, SeededRng(1))
    moved = slot_of(OTHER_GROUP, PEER, DAY).body_of(there)
    with pytest.raises(RemoteError, match="signature"):
        opened(slot_of(spec(), PEER, DAY).item(moved, 1, SeededRng(1)))


def test_old_ones_and_those_of_the_future_are_refused() -> None:
    item = sealed()
    assert opened(item, WALL + RECORD_PERIOD) == opened(item, WALL - AHEAD_LIMIT + 1) == opened(item)
    for wall in (WALL + RECORD_PERIOD + 1, WALL - AHEAD_LIMIT - 1):
        with pytest.raises(RemoteError, match="too old"):
            opened(item, wall)


@given(st.binary(max_size=700))
def test_any_bytes(body: bytes) -> None:
    with pytest.raises(RemoteError):
        opened(slot_of(spec(), PEER, DAY).item(body, 1, SeededRng(1)))


@given(st.integers(0, 500), st.integers(1, 255))
def test_a_byte_that_was_changed(place: int, change: int) -> None:
    slot = slot_of(spec(), PEER, DAY)
    body = bytearray(slot.body_of(sealed()))
    body[place % len(body)] ^= change
    with pytest.raises(RemoteError):
        opened(slot.item(bytes(body), 1, SeededRng(1)))
