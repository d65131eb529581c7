"""When links are let go, and when never."""

from __future__ import annotations

import math

from swarmd.core.ids import PeerId
from swarmd.groups.neighbourhood import CROWD_EXTRA, RELEASE_PERIOD, VISIT_PERIOD, Neighbourhood, NeighbourInfo
from swarmd.groups.topology import Reason

from .builders import peer_id

A, B, C = (peer_id(number) for number in range(3))
TARGET = 13


def linked(*peers: PeerId) -> Neighbourhood:
    made = Neighbourhood()
    for number in range(3):
        if (peer := peer_id(number)) in peers:
            made.open_link(peer, 0.0)
    return made


def released(made: Neighbourhood) -> list[PeerId]:
    found = []
    while (peer := made.next_release()) is not None:
        found.append(peer)
    return found


def test_a_link_that_neither_end_needs_is_let_go() -> None:
    made = linked(A, B)
    made.follow({B: Reason.RING}, TARGET, 0.0)
    assert made.next_deadline() == RELEASE_PERIOD
    made.handle_timer(RELEASE_PERIOD)
    assert made.needs_to_tell() == [(A, False)]
    assert released(made) == []
    made.hear(A, False, 40.0)
    made.handle_timer(made.next_deadline())
    assert released(made) == [A]
    assert made.close_link(A)
    assert not made.close_link(B)


def test_who_hears_that_it_is_not_needed_waits_until_it_does_not_need_it_either() -> None:
    made = linked(A)
    made.follow({A: Reason.NEAR}, TARGET, 0.0)
    made.hear(A, False, 1.0)
    made.handle_timer(1.0)
    assert (made.needs_to_tell(), released(made)) == ([], [])
    made.follow({}, TARGET, 10.0)
    made.handle_timer(10.0 + VISIT_PERIOD - 0.1)
    assert released(made) == []
    made.handle_timer(10.0 + VISIT_PERIOD)
    assert made.needs_to_tell() == [(A, False)]
    assert released(made) == [A]


def test_a_visit_is_over_soon_unless_it_is_of_use() -> None:
    made = Neighbourhood()
    for peer in (A, B):
        made.open_link(peer, 0.0, is_visit=True)
    made.follow({B: Reason.NEAR}, TARGET, 0.0)
    assert made.next_deadline() == VISIT_PERIOD
    made.handle_timer(VISIT_PERIOD)
    assert made.needs_to_tell() == [(A, False)]


def test_a_link_that_is_needed_again_is_kept() -> None:
    made = linked(A)
    made.follow({}, TARGET, 0.0)
    made.handle_timer(RELEASE_PERIOD)
    made.needs_to_tell()
    made.follow({A: Reason.TRANSFER}, TARGET, 31.0)
    assert made.needs_to_tell() == [(A, True)]
    made.hear(A, False, 32.0)
    made.handle_timer(1000.0)
    assert released(made) == []
    made.hear(A, True, 1001.0)
    assert not made.close_link(A)


def test_a_release_that_is_overtaken_by_a_plan_does_not_happen() -> None:
    made = linked(A)
    made.follow({}, TARGET, 0.0)
    made.hear(A, False, 1.0)
    made.handle_timer(RELEASE_PERIOD)
    made.follow({A: Reason.TRANSFER}, TARGET, RELEASE_PERIOD)
    assert released(made) == []


def test_a_crowd_is_parted_from_after_a_visit_oldest_first() -> None:
    made = Neighbourhood()
    wanted: dict[PeerId, Reason] = {}
    n = 2 * TARGET + CROWD_EXTRA + 10
    for number in range(n):
        made.open_link(peer_id(number), number / 1000)
        if number < 5:
            wanted[peer_id(number)] = Reason.RING
    made.follow(wanted, TARGET, 1.0)
    made.handle_timer(VISIT_PERIOD - 0.1)
    assert released(made) == []
    made.handle_timer(VISIT_PERIOD + 1.0)
    assert released(made) == [peer_id(number) for number in range(5, 15)]
    assert len(made.needs_to_tell()) == 10


def test_room_is_made_of_what_is_not_needed() -> None:
    made = linked(A, B)
    made.follow({A: Reason.RING}, TARGET, 0.0)
    assert made.make_room()
    assert released(made) == [B]
    assert not made.make_room()


def test_latencies_are_smoothed() -> None:
    made = linked(A, B)
    made.measure(A, 0.1)
    made.measure(A, 0.2)
    assert made.latencies == {A: 0.125, B: math.inf}
    made.follow({A: Reason.NEAR}, TARGET, 5.0)
    assert made.info(7.0) == [NeighbourInfo(A, Reason.NEAR, 0.125, 7.0), NeighbourInfo(B, None, None, 7.0)]
