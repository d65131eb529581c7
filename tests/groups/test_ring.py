"""The ring: vectors, and what must hold for any addresses."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import InvalidArgument
from swarmd.groups import ring
from swarmd.groups.ring import RING, Coverage, GroupAddress

from .builders import peer_id

PLACES = st.integers(0, RING - 1) | st.integers(0, 8) | st.integers(RING - 8, RING - 1)
ADDRESSES = PLACES.map(GroupAddress.at)
SETS = st.lists(ADDRESSES, min_size=1, max_size=9, unique=True)


def at(number: int) -> GroupAddress:
    return GroupAddress.at(number)


def test_a_members_address() -> None:
    """As Flash has it: over the encoded endpoint discriminator, not over the peer ID alone."""
    assert ring.group_address(peer_id(1)) == sha256(b"\x21\x0f" + peer_id(1)).digest()


def test_text() -> None:
    address = ring.group_address(peer_id(1))
    assert GroupAddress.parse(str(address)) == GroupAddress.parse(str(address).upper()) == address
    assert len(str(address)) == 64
    assert str(at(255)) == "0" * 62 + "ff"
    assert repr(at(255)) == "GroupAddress(00000000)"


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "g" * 64, str(peer_id(1)), "0" * 64 + "\n", "0x" + "0" * 62])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidArgument):
        GroupAddress.parse(text)


def test_distance_and_gap() -> None:
    assert ring.gap(at(1), at(4)) == 3
    assert ring.gap(at(4), at(1)) == RING - 3
    assert ring.gap(at(RING - 1), at(2)) == 3
    assert ring.distance(at(RING - 1), at(2)) == ring.distance(at(2), at(RING - 1)) == 3
    assert ring.distance(at(0), at(RING // 2)) == RING // 2


def test_nearest() -> None:
    assert ring.nearest(at(0), []) is None
    assert ring.nearest(at(5), [at(1), at(8), at(RING - 1)]) == at(8)
    assert ring.nearest(at(0), [at(9), at(RING - 8)]) == at(RING - 8)
    assert ring.nearest(at(5), [at(2), at(8)]) == at(8), "of two that are equally far the one above"
    assert ring.by_distance(at(5), [at(1), at(8), at(2)]) == [at(8), at(2), at(1)]
    assert ring.is_nearer(at(5), at(8), at(2))
    assert not ring.is_nearer(at(5), at(2), at(2))


def test_next_up_and_down() -> None:
    others = [at(3), at(7), at(RING - 2)]
    assert ring.next_increasing(at(5), others) == at(7)
    assert ring.next_decreasing(at(5), others) == at(3)
    assert ring.next_increasing(at(8), others) == at(RING - 2)
    assert ring.next_decreasing(at(1), others) == at(RING - 2)
    assert ring.next_increasing(at(7), others) == at(RING - 2), "not oneself"
    assert ring.next_increasing(at(5), [at(5)]) is None


def test_coverage() -> None:
    assert ring.coverage(at(10), [at(4), at(14)]) == Coverage(at(7), at(11))
    assert ring.coverage(at(10), [at(5), at(15)]) == Coverage(at(8), at(12))
    alone = ring.coverage(at(0), [])
    assert ring.gap(alone.start, alone.end) == RING - 1


@given(SETS)
def test_next_down_of_next_up_is_oneself(members: list[GroupAddress]) -> None:
    for member in members:
        up, down = ring.next_increasing(member, members), ring.next_decreasing(member, members)
        assert up is None or ring.next_decreasing(up, members) == member
        assert down is None or ring.next_increasing(down, members) == member


@given(SETS, ADDRESSES)
def test_each_point_is_covered_once_and_by_the_nearest(members: list[GroupAddress], point: GroupAddress) -> None:
    responsible = [member for member in members if point in ring.coverage(member, members)]
    assert responsible == [ring.nearest(point, members)]
    assert ring.by_distance(point, members)[0] == responsible[0]


@given(SETS)
def test_coverages_end_where_the_next_begin(members: list[GroupAddress]) -> None:
    for member in members:
        above = ring.next_increasing(member, members) or member
        next_start = ring.coverage(above, members).start
        assert ring.gap(ring.coverage(member, members).end, next_start) == 1


@given(ADDRESSES, ADDRESSES)
def test_distances(one: GroupAddress, other: GroupAddress) -> None:
    assert ring.distance(one, other) == ring.distance(other, one) <= RING // 2
    assert (ring.gap(one, other) + ring.gap(other, one)) % RING == 0
    assert GroupAddress.parse(str(one)) == one
