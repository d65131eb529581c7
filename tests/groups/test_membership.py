"""Who counts as present, for how long, and on whose word."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups import membership as module
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Candidate, Source
from swarmd.groups.events import MemberJoined, MemberLeft
from swarmd.groups.membership import KEPT_PERIOD, SWEEP_PERIOD, Membership
from swarmd.groups.messages import MAX_AGE, MemberEntry

from .builders import peer_id

ME, A, B, C = (peer_id(number) for number in range(4))


def at(number: int) -> Address:
    return Address(f"192.0.2.{number}", 7927)


def members(*linked: PeerId) -> Membership:
    made = Membership(ME, SeededRng(1), 0.0)
    for number, peer in enumerate(linked, 101):
        made.open_link(peer, at(number), 0.0)
    return made


def events(made: Membership) -> list[MemberJoined | MemberLeft]:
    found = []
    while (event := made.next_event()) is not None:
        found.append(event)
    return found


def sweep(made: Membership, now: float) -> None:
    made.handle_timer(max(now, made._sweep_at))


def names(made: Membership, now: float) -> set[PeerId]:
    return {info.peer_id for info in made.members(now)}


def test_a_link_makes_a_member_and_gossip_another() -> None:
    made = members(A)
    made.receive_gossip(A, [MemberEntry(B, 7, (at(2),))], 10.0)
    assert events(made) == [MemberJoined(A), MemberJoined(B)]
    assert [(info.peer_id, info.is_linked, info.age) for info in made.members(10.0)] == [
        (A, True, 0.0),
        (B, False, 7.0),
    ]
    assert made.n_members == 2
    assert made.candidates(10.0) == [Candidate(B, at(2))]


def test_gossip_about_ourselves_is_ignored() -> None:
    made = members(A)
    made.receive_gossip(A, [MemberEntry(ME, 0, (at(2),))], 0.0)
    assert names(made, 0.0) == {A}
    assert made.candidates(0.0) == []


def test_who_is_not_heard_of_for_300_s_has_left() -> None:
    made = members(A)
    made.receive_gossip(A, [MemberEntry(B, 0, (at(2),))], 0.0)
    events(made)
    sweep(made, MAX_AGE - 1.0)
    assert events(made) == []
    sweep(made, MAX_AGE + SWEEP_PERIOD)
    assert events(made) == [MemberLeft(B)]
    assert made.n_members == 1
    sweep(made, MAX_AGE + 2 * SWEEP_PERIOD)
    assert names(made, 400.0) == {A}
    assert B not in made._members


def test_fresher_gossip_keeps_a_member_and_older_does_not_age_it() -> None:
    made = members(A)
    made.receive_gossip(A, [MemberEntry(B, 0, ())], 0.0)
    made.receive_gossip(A, [MemberEntry(B, 100, ())], 50.0)
    assert made.members(50.0)[1].age == 50.0
    made.receive_gossip(A, [MemberEntry(B, 10, ())], 100.0)
    assert made.members(100.0)[1].age == 10.0


def test_who_left_is_not_brought_back_by_older_gossip() -> None:
    made = members(A, B)
    made.close_link(B, 100.0, has_left=True)
    assert events(made)[2:] == [MemberLeft(B)]
    made.receive_gossip(A, [MemberEntry(B, 5, (at(2),))], 104.0)
    assert names(made, 104.0) == {A}
    made.receive_gossip(A, [MemberEntry(B, 3, (at(2),))], 104.0)
    assert events(made) == [MemberJoined(B)]


def test_who_left_is_not_dialed() -> None:
    made = members(A)
    made.receive_hello(A, 7927, [], 0.0)
    made.close_link(A, 100.0, has_left=True)
    assert made.candidates(500.0) == []
    assert made.remembered(100.0) == []


def test_a_lost_neighbour_that_cannot_be_reached_has_left() -> None:
    made = members(A)
    made.receive_hello(A, 7927, [], 0.0)
    made.close_link(A, 100.0, has_left=False)
    events(made)
    for now in (101.0, 103.0, 107.0):
        assert made.candidates(now) == [Candidate(A, at(101))]
        assert events(made) == []
        made.dial_failed(at(101), now)
    assert events(made) == [MemberLeft(A)]
    assert made.candidates(400.0) == [Candidate(A, at(101))]
    assert made.remembered(110.0) == [(Contact(A, (at(101),)), 10.0)]


def test_a_lost_neighbour_that_others_hear_of_stays() -> None:
    made = members(A, B)
    made.receive_hello(A, 7927, [], 0.0)
    made.close_link(A, 100.0, has_left=False)
    made.receive_gossip(B, [MemberEntry(A, 0, ())], 102.0)
    for now in (103.0, 106.0, 111.0, 130.0):
        made.dial_failed(at(101), now)
    assert MemberLeft(A) not in events(made)


def test_rumours_about_nobody_die_out() -> None:
    """Two members tell each other of a third that neither is linked with: it gets older at every step."""
    one, other = Membership(A, SeededRng(1), 0.0), Membership(B, SeededRng(2), 0.0)
    one.open_link(B, at(2), 0.0)
    other.open_link(A, at(1), 0.0)
    one.receive_gossip(B, [MemberEntry(C, 0, (at(3),))], 0.0)
    now = 0.0
    while C in names(one, now) or C in names(other, now):
        now += 5.0
        assert now < 400.0
        for teller, hearer, hearer_id, teller_id in ((one, other, B, A), (other, one, A, B)):
            for report in teller.report(hearer_id, now):
                hearer.receive_gossip(teller_id, report.entries, now + 0.01)
            sweep(teller, now)
    assert now > 290.0


def test_a_report_tells_of_all_but_the_receiver_freshest_first() -> None:
    made = members(A, B)
    made.receive_hello(B, 5, [], 0.0)
    made.receive_gossip(A, [MemberEntry(C, 20, (at(3),)), MemberEntry(peer_id(9), 5, ())], 0.0)
    (report,) = made.report(A, 0.5)
    assert report.entries == (
        MemberEntry(B, 0, (Address("192.0.2.102", 5),)),
        MemberEntry(peer_id(9), 6, ()),
        MemberEntry(C, 21, (at(3),)),
    )


def test_a_report_is_split_and_bounded() -> None:
    made = members(A, B)
    for start in range(100, 2100, 100):
        introducer = A if start < 1000 else B
        made.receive_gossip(introducer, [MemberEntry(peer_id(n), n % 300, ()) for n in range(start, start + 100)], 0.0)
    reports = made.report(A, 0.0)
    assert [len(report.entries) for report in reports] == [256] * 4
    ages = [entry.age for report in reports for entry in report.entries]
    assert ages == sorted(ages)


def test_a_neighbours_own_words_give_its_addresses() -> None:
    made = members(A)
    useless = ["127.0.0.1:7000", "[fe80::1]:7000", "169.254.169.254:80"]
    made.receive_hello(A, 7000, [at(50), *map(Address.parse, useless)], 0.0)
    assert set(made.members(0.0)[0].addresses) == {Address("192.0.2.101", 7000), at(50)}
    made.receive_hello(A, 0, [at(51)], 0.0)
    assert made.members(0.0)[0].addresses == (at(51),)


def test_loopback_addresses_count_on_this_machine_only() -> None:
    local = Address("127.0.0.1", 7001)
    made = Membership(ME, SeededRng(1), 0.0)
    made.open_link(A, Address("127.0.0.1", 55555), 0.0)
    made.open_link(B, at(9), 0.0)
    made.receive_gossip(A, [MemberEntry(C, 0, (local,))], 0.0)
    made.receive_gossip(B, [MemberEntry(peer_id(9), 0, (local,))], 0.0)
    known = {info.peer_id: info.addresses for info in made.members(0.0)}
    assert known[C] == (local,)
    assert known[peer_id(9)] == ()


def test_contacts_are_hints_until_heard_of() -> None:
    made = Membership(ME, SeededRng(1), 0.0)
    made.add_contact(Contact(A, (at(1),)), Source.TICKET, 0.0)
    made.add_contact(Contact(None, (at(2),)), Source.MDNS, 0.0)
    made.add_contact(Contact(ME, (at(3),)), Source.TICKET, 0.0)
    assert made.n_members == 0
    assert events(made) == []
    assert set(made.candidates(0.0)) == {Candidate(A, at(1)), Candidate(None, at(2))}
    assert made.remembered(0.0) == [(Contact(A, (at(1),)), math.inf)]
    sweep(made, KEPT_PERIOD - 1.0)
    assert A in made._members
    sweep(made, KEPT_PERIOD + SWEEP_PERIOD)
    assert A not in made._members


def test_the_age_of_the_remembered_goes_on() -> None:
    made = Membership(ME, SeededRng(1), 0.0)
    made.add_contact(Contact(A, (at(1),)), Source.REMEMBERED, 0.0, age=5000.0)
    made.add_contact(Contact(B, (at(2),)), Source.REMEMBERED, 0.0, age=KEPT_PERIOD)
    assert made.remembered(100.0) == [(Contact(A, (at(1),)), 5100.0)]
    assert made.n_members == 0
    sweep(made, KEPT_PERIOD - 5000.0)
    assert made.remembered(KEPT_PERIOD) == []


def test_neighbours_are_remembered_and_hearsay_is_not() -> None:
    made = members(A)
    made.receive_hello(A, 7927, [], 0.0)
    made.receive_gossip(A, [MemberEntry(B, 0, (at(2),))], 0.0)
    assert made.remembered(0.0) == [(Contact(A, (at(101),)), 0.0)]


def test_up_to_the_target_all_are_dialed_and_beyond_it_enough() -> None:
    made = members(A)
    made.receive_gossip(A, [MemberEntry(peer_id(n), 0, (at(n),)) for n in range(10, 22)], 0.0)
    assert len(made.candidates(0.0)) == 12
    made = members(A)
    made.receive_gossip(A, [MemberEntry(peer_id(n), 0, (at(n),)) for n in range(10, 210)], 0.0)
    dialed, now = set(), 0.0
    for _ in range(50):
        now += 0.1
        for candidate in made.candidates(now):
            assert candidate.peer_id is not None
            dialed.add(candidate.peer_id)
            made.dial_succeeded(candidate.address, candidate.peer_id, now)
            made.open_link(candidate.peer_id, candidate.address, now)
    assert len(dialed) + 1 == 20  # floor(log2 202) + 13


# bounds


def test_no_neighbour_can_fill_the_table_with_inventions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_INTRODUCED", 20)
    made = members(A, B)
    made.receive_gossip(A, [MemberEntry(peer_id(n), 0, ()) for n in range(100, 200)], 0.0)
    assert made.n_members == 22
    made.receive_gossip(B, [MemberEntry(peer_id(n), 0, ()) for n in range(300, 310)], 0.0)
    assert made.n_members == 32
    sweep(made, MAX_AGE + SWEEP_PERIOD)
    sweep(made, MAX_AGE + 2 * SWEEP_PERIOD)
    made.receive_gossip(A, [MemberEntry(peer_id(n), 0, ()) for n in range(400, 500)], 400.0)
    assert made.n_members == 22


def test_the_table_is_bounded_and_neighbours_displace_hearsay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 10)
    made = members(A, B)
    made.receive_gossip(A, [MemberEntry(peer_id(n), n - 100, ()) for n in range(100, 120)], 0.0)
    assert len(made._members) == made.n_members == 10
    made.add_contact(Contact(peer_id(55), (at(1),)), Source.ADDED, 0.0)
    assert len(made._members) == 10
    made.open_link(C, at(3), 0.0)
    assert len(made._members) == 10
    assert names(made, 0.0) >= {A, B, C}
    assert peer_id(107) not in names(made, 0.0)
    assert MemberLeft(peer_id(107)) in events(made)


def test_the_dead_list_is_bounded_and_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DEAD", 5)
    made = members(*(peer_id(n) for n in range(10, 20)))
    for n in range(10, 20):
        made.close_link(peer_id(n), 1.0, has_left=True)
    assert len(made._dead) == 5
    sweep(made, MAX_AGE + SWEEP_PERIOD)
    assert made._dead == {}


ENTRIES = st.builds(
    MemberEntry,
    st.integers(0, 7).map(peer_id),
    st.integers(0, MAX_AGE),
    st.lists(st.integers(1, 9).map(at), max_size=4).map(tuple),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("gossip"), st.integers(1, 3), st.lists(ENTRIES, max_size=5)),
        st.tuples(st.sampled_from(["open", "close", "leave", "fail", "dial"]), st.integers(1, 5), st.just([])),
        st.tuples(st.just("pass"), st.integers(1, 200), st.just([])),
    ),
    max_size=60,
)


@given(STEPS)
def test_events_tell_exactly_who_is_present(steps: list[tuple[str, int, list[MemberEntry]]]) -> None:
    made, now = Membership(ME, SeededRng(1), 0.0), 0.0
    linked: set[PeerId] = set()
    told: set[PeerId] = set()
    for action, number, entries in steps:
        peer = peer_id(number)
        match action:
            case "gossip" if peer in linked:
                made.receive_gossip(peer, entries, now)
            case "open" if peer not in linked:
                made.open_link(peer, at(number), now)
                linked.add(peer)
            case "close" | "leave" if peer in linked:
                made.close_link(peer, now, has_left=action == "leave")
                linked.discard(peer)
            case "fail":
                made.dial_failed(at(number), now)
            case "dial":
                made.candidates(now)
            case "pass":
                now += number
                made.handle_timer(now)
        for event in events(made):
            if isinstance(event, MemberJoined):
                assert event.peer_id not in told
                told.add(event.peer_id)
            else:
                told.remove(event.peer_id)
        assert names(made, now) == told >= linked
        assert made.n_members == len(told)
        assert ME not in told
