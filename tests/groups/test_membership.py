"""Who counts as present, for how long, and on whose word."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups import deaths, hearsay
from swarmd.groups import membership as module
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Candidate, Source
from swarmd.groups.events import MemberJoined, MemberLeft
from swarmd.groups.healing import NEWS_REST
from swarmd.groups.membership import KEPT_PERIOD, SHUNNED_PERIOD, SWEEP_PERIOD, Membership
from swarmd.groups.messages import ENTRIES_PER_MESSAGE, MAX_AGE, MemberEntry
from swarmd.groups.ring import group_address
from swarmd.groups.size import SMALL_GROUP
from swarmd.groups.visits import VISIT_PERIOD

from .builders import peer_id

ME, A, B, C = (peer_id(number) for number in range(4))


def at(number: int) -> Address:
    return Address(f"192.0.{2 + number // 256}.{number % 256}", 7927)


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


def ask(made: Membership, now: float) -> list[Candidate]:
    """Whom to dial, by a new plan if there is to be one."""
    if now >= made.plan_at:
        made.plan({peer: 0.1 for _, peer in made.linked.places}, (), now)
    return made.candidates(now)


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
    assert ask(made, 10.0) == [Candidate(B, (at(2),))]


def test_gossip_about_ourselves_is_ignored() -> None:
    made = members(A)
    made.receive_gossip(A, [MemberEntry(ME, 0, (at(2),))], 0.0)
    assert names(made, 0.0) == {A}
    assert ask(made, 0.0) == []


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
    assert ask(made, 500.0) == []
    assert made.remembered(100.0) == []


def test_a_lost_neighbour_that_cannot_be_reached_has_left() -> None:
    made = members(A)
    made.receive_hello(A, 7927, [], 0.0)
    made.close_link(A, 100.0, has_left=False)
    events(made)
    for now in (101.0, 103.0, 107.0):
        assert ask(made, now) == [Candidate(A, (at(101),))]
        assert events(made) == []
        made.dial_failed(at(101), now)
    assert events(made) == [MemberLeft(A)]
    assert ask(made, 400.0) == [Candidate(A, (at(101),))]
    assert made.remembered(110.0) == [(Contact(A, (at(101),)), 10.0)]


def test_a_lost_neighbour_that_others_hear_of_stays() -> None:
    made = members(A, B)
    made.receive_hello(A, 7927, [], 0.0)
    made.close_link(A, 100.0, has_left=False)
    made.receive_gossip(B, [MemberEntry(A, 0, ())], 102.0)
    for now in (103.0, 106.0, 111.0, 130.0):
        made.dial_failed(at(101), now)
    assert MemberLeft(A) not in events(made)


def test_what_was_told_is_not_told_on() -> None:
    """So nobody's inventions go further than to its neighbours."""
    made = members(A, B)
    made.receive_hello(A, 7927, [], 0.0)
    made.receive_hello(B, 7927, [], 0.0)
    made.receive_gossip(A, [MemberEntry(C, 0, (at(3),))], 0.0)
    assert C in made
    assert [entry.peer_id for entry in made.report(B, 0.0)] == [A]
    made.open_link(C, at(3), 1.0)
    assert {entry.peer_id for entry in made.report(B, 1.0)} == {A, C}


def test_who_has_parted_is_told_of_and_who_was_lost_is_not() -> None:
    made = members(A, B, C)
    made.close_link(A, 10.0, has_left=False, has_parted=True)
    made.close_link(B, 10.0, has_left=False)
    assert [(entry.peer_id, entry.age) for entry in made.report(C, 15.5)] == [(A, 6)]
    sweep(made, 10.0 + MAX_AGE + SWEEP_PERIOD)
    assert made.report(C, 400.0) == []


def test_a_report_in_a_small_group_tells_of_all_but_the_receiver() -> None:
    made = members(A, B, C)
    made.receive_hello(B, 5, [], 0.0)
    report = {entry.peer_id: entry for entry in made.report(A, 0.5)}
    assert report == {B: MemberEntry(B, 0, (Address("192.0.2.102", 5),)), C: MemberEntry(C, 0, ())}


def test_a_report_in_a_large_group_is_short_and_for_the_receiver() -> None:
    linked = [peer_id(number) for number in range(100, 300)]
    made = members(*linked)
    made.reckon(200)
    assert not made.is_small
    places = sorted((group_address(peer).number, peer) for peer in linked)
    for at_place, (_, receiver) in enumerate(places):
        told = {entry.peer_id for entry in made.report(receiver, 0.0)}
        assert len(told) <= ENTRIES_PER_MESSAGE
        beside = {places[(at_place + step) % len(places)][1] for step in (-3, -2, -1, 1, 2, 3)}
        assert beside <= told


def test_a_group_is_large_as_soon_as_so_many_are_known() -> None:
    made = members(*(peer_id(number) for number in range(100, 100 + SMALL_GROUP - 1)))
    assert made.is_small
    made.receive_gossip(peer_id(100), [MemberEntry(peer_id(300), 0, (at(300),))], 0.0)
    assert not made.is_small, "or those who come together all tell all of all until it is reckoned again"


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
    made.plan({A: 0.1, B: 0.1}, (), 0.0)
    assert made.candidates(0.0) == [Candidate(C, (local,))]


def test_contacts_are_hints_until_heard_of() -> None:
    made = Membership(ME, SeededRng(1), 0.0)
    made.add_contact(Contact(A, (at(1),)), Source.TICKET, 0.0)
    made.add_contact(Contact(None, (at(2),)), Source.MDNS, 0.0)
    made.add_contact(Contact(ME, (at(3),)), Source.TICKET, 0.0)
    assert made.n_members == 0
    assert events(made) == []
    assert set(ask(made, 0.0)) == {Candidate(A, (at(1),)), Candidate(None, (at(2),))}
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
    assert len(ask(made, 0.0)) == 12
    made = members(A)
    made.receive_gossip(A, [MemberEntry(peer_id(n), 0, (at(n),)) for n in range(10, 210)], 0.0)
    dialed, now = set(), 0.0
    for _ in range(50):
        now += 0.1
        for candidate in ask(made, now):
            assert candidate.peer_id is not None
            dialed.add(candidate.peer_id)
            made.dialer.dial_succeeded(candidate.address, candidate.peer_id, now)
            made.open_link(candidate.peer_id, candidate.address, now)
    target = 19  # floor(log2 66) + 13: one neighbour can name 64
    assert target <= len(dialed) + 1 <= target + 1  # one more: the plan may change while they are dialed


# bounds


def test_no_neighbour_can_fill_the_table_with_inventions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearsay, "MAX_INTRODUCED", 20)
    made = members(A, B)
    made.receive_gossip(B, [MemberEntry(peer_id(n), 0, ()) for n in range(300, 310)], 0.0)
    made.receive_gossip(A, [MemberEntry(peer_id(n), 0, ()) for n in range(100, 200)], 0.0)
    assert all(peer_id(n) in made for n in range(300, 310))
    assert len(made._members) == 2 + 10 + 20
    assert names(made, 0.0) == {A, B}, "one of two neighbours is not nearly all"


def test_of_a_report_longer_than_its_share_the_most_important_are_kept() -> None:
    """They come first. Else a newcomer with many neighbours would forget those next to it for the random ones."""
    linked = [peer_id(number) for number in range(1, 51)]
    made = members(*linked)
    named = [peer_id(number) for number in range(100, 100 + ENTRIES_PER_MESSAGE)]
    made.receive_gossip(A, [MemberEntry(peer, 1, (at(number),)) for number, peer in enumerate(named)], 1.0)
    n_kept = hearsay.MAX_HEARSAY // len(linked)
    assert [peer for peer in named if peer in made._hearsay] == named[:n_kept]


def test_whom_more_than_two_thirds_name_is_believed_until_half_do_not() -> None:
    linked = [peer_id(number) for number in range(10, 19)]
    made = members(*linked)
    rumour = [MemberEntry(peer_id(99), 0, ())]
    for number, peer in enumerate(linked[:7]):
        assert peer_id(99) not in names(made, 0.0), f"{number} of 9 do not do"
        made.receive_gossip(peer, rumour, 0.0)
    assert events(made)[-1] == MemberJoined(peer_id(99))
    for number, peer in enumerate(linked[:5]):
        made.close_link(peer, 1.0, has_left=False, has_parted=True)
        sweep(made, SWEEP_PERIOD * (number + 1))
        assert (peer_id(99) in names(made, 1.0)) == (number < 4), f"{6 - number} of {8 - number} still name it"


def test_nobody_is_believed_on_hearsay_in_a_large_group() -> None:
    made = members(A)
    made.reckon(200)
    made.receive_gossip(A, [MemberEntry(B, 0, (at(2),))], 0.0)
    assert names(made, 0.0) == {A}
    assert [each.peer_id for each in ask(made, 0.0)] == [B], "but it is dialed"
    made.open_link(B, at(2), 1.0)
    made.close_link(B, 5.0, has_left=False, has_parted=True)
    assert names(made, 5.0) == {A, B}


def test_in_a_small_group_each_who_is_spoken_of_is_visited_once_the_most_named_first() -> None:
    linked = [peer_id(number) for number in range(100, 120)]
    made = members(*linked)
    for teller in linked[:3]:
        made.receive_gossip(teller, [MemberEntry(B, 0, (at(2),))], 0.0)
    made.receive_gossip(linked[9], [MemberEntry(peer_id(n), 0, (at(n),)) for n in (31, 32, 33)], 0.0)
    visited, now = [], 0.0
    while now < 30.0:
        made.handle_timer(now)
        for candidate in ask(made, now):
            assert candidate.peer_id is not None
            if made.is_visited(candidate.peer_id):
                visited.append((now, candidate.peer_id))
                made.open_link(candidate.peer_id, candidate.address, now)
                made.close_link(candidate.peer_id, now, has_left=False, has_parted=True)
        now += 0.25
    assert visited[0] == (0.0, B)
    assert all(later[0] - earlier[0] >= VISIT_PERIOD for earlier, later in pairwise(visited))
    assert len({peer for _, peer in visited}) == len(visited) >= 3, "the random neighbour may be the fourth"
    assert {peer for _, peer in visited} <= {B, peer_id(31), peer_id(32), peer_id(33)} & names(made, now)


def test_a_claim_costs_dials_and_is_not_wanted_when_they_fail() -> None:
    made = members(A)
    made.receive_gossip(A, [MemberEntry(B, 0, (at(2),))], 0.0)
    now = 0.0
    while B in made.wanted or not now:
        for candidate in ask(made, now):
            made.dial_failed(candidate.address, now)
        now += 0.5
        assert now < 30.0
    assert B in names(made, now)
    for _ in range(10):
        now += 1.0
        made.receive_gossip(A, [MemberEntry(B, 0, (at(2),))], now)
        assert ask(made, now) == []
    sweep(made, now + SHUNNED_PERIOD)
    assert [each.peer_id for each in ask(made, now + SHUNNED_PERIOD)] == [B]


def test_somebody_lost_is_tried_now_and_then_though_there_are_links() -> None:
    linked = [peer_id(number) for number in range(100, 160)]
    made = members(*linked)
    for peer in linked:
        made.receive_hello(peer, 7927, [], 0.0)
    lost = linked[:5]
    for peer in lost:
        made.close_link(peer, 1.0, has_left=False)
    now, dialed = 1.0, []
    while now < 3600.0:
        now += 1.0
        made.handle_timer(now)
        for candidate in ask(made, now):
            dialed.append((now, candidate.peer_id))
            made.dial_failed(candidate.address, now)
    late = [peer for when, peer in dialed if when > 600.0]
    assert set(late) == set(lost)
    assert 20 <= len(late) <= 300


def test_who_is_heard_of_after_it_was_missed_for_long_is_dialed_at_once() -> None:
    """A partition heals: the other half is dialed when the first word of it comes, not when the back-off ends."""
    made = members(A, B)
    made.receive_hello(B, 7927, [], 0.0)
    made.close_link(B, 1.0, has_left=False)
    now = failed_at = 1.0
    while now < 600.0:
        made.handle_timer(now)
        for candidate in ask(made, now):
            made.dial_failed(candidate.address, now)
            failed_at = now
        now += 1.0
    assert B not in names(made, now)
    now = max(now, failed_at + NEWS_REST)
    made.receive_gossip(A, [MemberEntry(B, 0, (at(102),))], now)
    assert [each.peer_id for each in ask(made, now + 0.1)] == [B]


def test_the_table_is_bounded_and_neighbours_displace_hearsay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 10)
    made = members(A, B)
    made.receive_gossip(A, [MemberEntry(peer_id(n), n - 100, ()) for n in range(100, 120)], 0.0)
    assert len(made._members) == 10
    made.add_contact(Contact(peer_id(55), (at(1),)), Source.ADDED, 0.0)
    assert len(made._members) == 10
    made.open_link(C, at(3), 0.0)
    assert len(made._members) == 10
    assert names(made, 0.0) >= {A, B, C}
    assert peer_id(118) in made
    assert peer_id(119) not in made, "the oldest goes first"


def test_the_dead_list_is_bounded_and_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deaths, "MAX_DEAD", 5)
    made = members(*(peer_id(n) for n in range(10, 20)))
    for n in range(10, 20):
        made.close_link(peer_id(n), 1.0, has_left=True)
    assert len(made._deaths) == 5
    sweep(made, MAX_AGE + SWEEP_PERIOD)
    assert len(made._deaths) == 0


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
                ask(made, now)
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
