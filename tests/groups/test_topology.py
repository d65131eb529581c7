"""How many neighbours, and which."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.ring import RING, GroupAddress, distance
from swarmd.groups.topology import (
    MAX_CLAIMS,
    NEAR_LINKS,
    Place,
    Reason,
    View,
    around,
    plan_neighbours,
    plan_report,
    target_links,
)

from .builders import peer_id

PEERS = [peer_id(number) for number in range(1000)]


def evenly(n: int) -> list[Place]:
    """A member every 1/n of the ring, but none at 0."""
    return [(RING // n * number, PEERS[number]) for number in range(1, n)]


def view(n: int, *, place: int = 0, latencies: dict[int, float] | None = None, target: int | None = None) -> View:
    """All n members are linked unless `latencies` says whom."""
    circle = evenly(n)
    known = dict.fromkeys(range(1, n), 0.1) if latencies is None else latencies
    linked = [circle[number - 1] for number in known]
    latency = {PEERS[number]: seconds for number, seconds in known.items()}
    return View(place, circle, linked, latency, (), None, target or target_links(n))


def chosen(plan: dict[PeerId, Reason], reason: Reason) -> set[int]:
    return {PEERS.index(peer) for peer, why in plan.items() if why is reason}


@pytest.mark.parametrize(("members", "links"), [(1, 13), (2, 14), (18, 17), (100, 19), (1000, 22), (10**6, 32)])
def test_the_target_is_that_of_flash(members: int, links: int) -> None:
    assert target_links(members) == links


def test_the_rule_of_a_large_group() -> None:
    latencies = {number: number / 1000 for number in range(1, 1000)}
    plan = plan_neighbours(view(1000, latencies=latencies), SeededRng(1))
    assert len(plan) == 22
    assert chosen(plan, Reason.RING) == {1, 2, 3, 997, 998, 999}
    assert chosen(plan, Reason.NEAR) == {4, 5, 6, 7, 8, 9}
    assert len(chosen(plan, Reason.RANDOM)) == 1
    fingers = chosen(plan, Reason.FINGER)
    assert len(fingers) == 9
    for power in range(1, 7):
        assert any(0.75 <= PEERS.index(peer) / 1000 * 2**power < 1.5 for peer in plan), power


def test_nobody_linked_yet_dials_what_the_rule_says() -> None:
    plan = plan_neighbours(view(1000, latencies={}), SeededRng(1))
    assert chosen(plan, Reason.RING) == {1, 2, 3, 4, 996, 997, 998, 999}
    assert {500, 250, 125} <= chosen(plan, Reason.FINGER)
    assert len(plan) == 22


def test_a_small_group_is_fully_meshed() -> None:
    for n in range(1, 18):
        assert len(plan_neighbours(view(n), SeededRng(1))) == n - 1
        assert len(plan_neighbours(view(n, latencies={}), SeededRng(1))) == n - 1


def test_claims_take_nothing_from_the_linked() -> None:
    """Twenty say that they stand nearer than the three real ones on each side."""
    real = view(1000, latencies={1: 0.1, 2: 0.1, 3: 0.1, 997: 0.1, 998: 0.1, 999: 0.1})
    claims = [(number + 1, peer_id(5000 + number)) for number in range(20)]
    plan = plan_neighbours(replace(real, circle=sorted(claims + list(real.circle))), SeededRng(1))
    wanted = {peer for peer, why in plan.items() if why is Reason.RING}
    assert {PEERS[number] for number in (1, 2, 3, 997, 998, 999)} <= wanted
    assert len(wanted & {peer for _, peer in claims}) == MAX_CLAIMS


def test_a_linked_member_within_a_fingers_bounds_is_kept() -> None:
    linked = view(1000, latencies=dict.fromkeys((1, 2, 3, 400, 700, 997, 998, 999), 0.1))
    plan = plan_neighbours(replace(linked, latencies=dict.fromkeys(linked.latencies, math.inf)), SeededRng(1))
    assert 500 not in chosen(plan, Reason.FINGER)
    assert 400 in chosen(plan, Reason.FINGER)


def test_latencies_that_nobody_has_measured_do_not_count() -> None:
    beside = dict.fromkeys((1, 2, 3, 997, 998, 999), 0.5)
    plan = plan_neighbours(view(1000, latencies=beside | {10: math.inf, 20: 0.2, 30: 0.1}), SeededRng(1))
    assert chosen(plan, Reason.NEAR) == {20, 30}


def test_the_random_one_stays_while_it_is_of_no_other_use() -> None:
    base = view(1000, latencies=dict.fromkeys(range(1, 30), 0.1))
    assert chosen(plan_neighbours(replace(base, favourite=PEERS[333]), SeededRng(1)), Reason.RANDOM) == {333}
    assert 2 not in chosen(plan_neighbours(replace(base, favourite=PEERS[2]), SeededRng(1)), Reason.RANDOM)


def test_what_transfers_hold_is_wanted_beside_the_rule() -> None:
    plan = plan_neighbours(replace(view(1000), held=(PEERS[321],)), SeededRng(1))
    assert plan[PEERS[321]] is Reason.TRANSFER


@given(
    st.sets(st.integers(1, RING - 1), max_size=60),
    st.integers(0, 2**32),
    st.integers(13, 30),
    st.data(),
)
def test_any_view_gives_a_plan(numbers: set[int], seed: int, target: int, data: st.DataObject) -> None:
    circle = [(number, PEERS[order]) for order, number in enumerate(sorted(numbers))]
    linked = data.draw(st.sets(st.sampled_from(circle))) if circle else set()
    latencies = {peer: data.draw(st.sampled_from([math.inf, 0.1, 0.2])) for _, peer in linked}
    plan = plan_neighbours(View(0, circle, sorted(linked), latencies, (), None, target), SeededRng(seed))
    assert set(plan) <= {peer for _, peer in circle}
    assert len(plan) <= max(target, 6 + 2 * MAX_CLAIMS + NEAR_LINKS + 1)
    assert len(plan) >= min(target, len(circle))
    beside = [peer for _, peer in sorted((each for each in linked), key=lambda each: each[0])]
    assert set(beside[:3] + beside[-3:]) <= set(plan)


def test_a_report_names_whom_the_receiver_should_want() -> None:
    circle = evenly(1000)
    places = {peer: number for number, peer in circle}
    for receiver in (0, RING // 3, RING - 5):
        report = plan_report(receiver, circle, 9, SeededRng(1))
        here = GroupAddress.at(receiver)
        nearest = sorted(circle, key=lambda each: distance(here, GroupAddress.at(each[0])))[:6]
        assert {peer for _, peer in nearest} <= set(report)
        for power in range(1, 10):
            gaps = [(places[peer] - receiver) % RING for peer in report]
            assert any(abs(gap - (RING >> power)) <= RING // 999 for gap in gaps)
        assert len(report) <= 24


def test_a_report_of_few_names_them_all_once() -> None:
    assert plan_report(5, [], 9, SeededRng(1)) == []
    circle = evenly(4)
    assert sorted(plan_report(5, circle, 9, SeededRng(1))) == sorted(peer for _, peer in circle)


def test_around_a_place() -> None:
    circle = evenly(10)
    assert around(0, circle, 2) == [PEERS[1], PEERS[2], PEERS[9], PEERS[8]]
    assert around(circle[4][0], circle, 1) == [PEERS[5], PEERS[4]]
    assert around(0, circle[:1], 3) == [PEERS[1]]
    assert around(0, [], 3) == []
