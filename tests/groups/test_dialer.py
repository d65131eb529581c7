"""Whom to dial and when: back-off, order, hints, bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups import dialer as module
from swarmd.groups.addressbook import (
    BACKOFF_LIMIT,
    DIAL_TIMEOUT,
    JOIN_GRACE,
    STABLE_PERIOD,
    STRANGER_BACKOFF,
    STRANGER_LIMIT,
)
from swarmd.groups.contacts import MAX_ADDRESSES
from swarmd.groups.dialer import CALL_OFF_PERIOD, PROOF_PERIOD, Candidate, Dialer, Ended, Source

from .builders import peer_id

A, B, C = peer_id(1), peer_id(2), peer_id(3)
V6 = Address("2001:db8::1", 7927)


def at(number: int) -> Address:
    return Address(f"192.0.2.{number}", 7927)


def dialer(**known: Address) -> Dialer:
    """One that knows the peers A, B, C at addresses."""
    made = Dialer(SeededRng(1))
    for name, address in known.items():
        made.note({"a": A, "b": B, "c": C}[name], address, Source.GOSSIP, 0.0)
    return made


def ask(made: Dialer, now: float, wanted: Iterable[PeerId] = (A, B, C)) -> list[Candidate]:
    return made.candidates(wanted, now)


def test_each_is_handed_out_once_for_an_attempt() -> None:
    made = dialer(a=at(1), b=at(2))
    assert set(ask(made, 0.0)) == {Candidate(A, (at(1),)), Candidate(B, (at(2),))}
    assert ask(made, 0.0) == []
    assert ask(made, DIAL_TIMEOUT - 1) == []


def test_an_attempt_nobody_reports_on_is_made_again() -> None:
    made = dialer(a=at(1))
    ask(made, 0.0)
    assert made.next_deadline() == DIAL_TIMEOUT
    assert ask(made, DIAL_TIMEOUT) == [Candidate(A, (at(1),))]


def test_failures_back_off_from_one_second_to_five_minutes() -> None:
    made, now, pauses = dialer(a=at(1)), 0.0, []
    for _ in range(14):
        assert ask(made, now) == [Candidate(A, (at(1),))]
        made.dial_failed(at(1), now)
        assert ask(made, now) == []
        pauses.append(made.next_deadline() - now)
        now = made.next_deadline()
    assert 0.5 <= pauses[0] <= 1.0
    assert max(pauses) <= BACKOFF_LIMIT
    assert pauses[-1] >= BACKOFF_LIMIT / 2


def test_news_of_somebody_who_was_missed_hastens_the_next_attempt_and_false_news_only_that_one() -> None:
    made, now = dialer(), 0.0
    made.note(A, at(1), Source.STATED, 0.0)
    made.note(B, at(2), Source.GOSSIP, 0.0)
    for _ in range(9):
        assert len(ask(made, now)) == 2
        for number in (1, 2):
            made.dial_failed(at(number), now)
        failed_at = now
        now += BACKOFF_LIMIT
    now = failed_at + 5.0
    made.hasten(A, failed_at - 1.0, 10.0, now)
    assert ask(made, now + 6.0) == [], "news of before it was missed"
    for peer in (A, B):
        made.hasten(peer, now, 10.0, now)
    assert ask(made, now) == [], "not within ten seconds"
    made.wake(failed_at + 10.0)
    assert ask(made, failed_at + 10.0) == [Candidate(A, (at(1),))], "where only gossip says that it is, all stays"
    made.dial_failed(at(1), failed_at + 10.0)
    made.wake(failed_at + 25.0)
    assert ask(made, failed_at + 25.0) == []


def test_those_who_are_wanted_are_dialed_in_that_order_and_nobody_else() -> None:
    made = dialer(a=at(1), b=at(2), c=at(3))
    assert ask(made, 0.0, wanted=[]) == []
    made.wake(0.0)
    assert [each.peer_id for each in ask(made, 0.0, wanted=[C, A])] == [C, A]


def test_neighbours_are_not_dialed() -> None:
    made = dialer(a=at(1))
    made.open_link(A, None, 0.0)
    assert ask(made, 0.0) == []
    made.close_link(A, 100.0, 100.0)
    assert ask(made, 100.0) == []
    assert ask(made, 101.0) == [Candidate(A, (at(1),))]


def test_all_addresses_of_a_peer_are_one_candidate_best_first() -> None:
    """The better source before the worse, IPv6 before IPv4, and whatever has answered before all of them."""
    made = dialer(a=at(1))
    made.note(A, at(2), Source.OBSERVED, 0.0)
    made.note(A, V6, Source.GOSSIP, 0.0)
    assert ask(made, 0.0) == [Candidate(A, (at(2), V6, at(1)))]
    assert ask(made, 0.5) == [], "each of them is under way"
    made.dial_failed(at(2), 1.0)
    made.dial_failed(V6, 1.0)
    made.dial_succeeded(at(1), A, 1.0)
    (later,) = ask(made, 100.0)
    assert later == Candidate(A, (at(1), at(2), V6)) and later.address == at(1)


def test_an_address_that_was_not_needed_has_neither_answered_nor_failed() -> None:
    made = dialer(a=at(1))
    for number in (2, 3):
        made.note(A, at(number), Source.OBSERVED, 0.0)
    assert len(ask(made, 0.0)[0].addresses) == 3
    made.dial_failed(at(2), 0.3, "no answer")
    made.dial_succeeded(at(3), A, 0.3)
    made.dial_called_off(at(1), 0.3)
    made.open_link(A, at(3), 0.4)
    made.close_link(A, STABLE_PERIOD, 40.0)
    for address in (at(1), at(2)):
        assert made._book.answered_at(address) is None
    assert made.ended(0.4) == []
    (again,) = ask(made, 42.0)
    assert again.addresses[0] == at(3) and set(again.addresses) == {at(1), at(2), at(3)}


def test_what_was_called_off_is_offered_again_soon_and_without_back_off() -> None:
    made = dialer(a=at(1))
    for number in range(5):
        assert ask(made, float(number)) == [Candidate(A, (at(1),))]
        made.dial_called_off(at(1), float(number))
        assert made.next_deadline() == number + CALL_OFF_PERIOD
    made.dial_called_off(at(99), 5.0)


def test_each_address_has_its_own_back_off_and_is_tried_beside_those_that_hang() -> None:
    made = dialer(a=at(1))
    made.note(A, at(2), Source.OBSERVED, 0.0)
    ask(made, 0.0)
    made.dial_failed(at(2), 0.1)
    assert ask(made, 0.1) == []
    assert ask(made, 1.2) == [Candidate(A, (at(2),))]
    made.dial_failed(at(1), 8.0)
    made.dial_failed(at(2), 8.0)
    assert {each.addresses for each in ask(made, 9.1)} == {(at(1),)}, "it has failed once, the other twice"


def test_who_has_answered_is_called_nowhere_until_there_was_time_for_the_proof() -> None:
    made = dialer(a=at(1))
    made.note(A, at(2), Source.OBSERVED, 0.0)
    ask(made, 0.0)
    made.dial_succeeded(at(2), A, 1.0)
    made.dial_called_off(at(1), 1.0)
    assert ask(made, 1.0 + JOIN_GRACE) == []
    assert ask(made, 3.0 + JOIN_GRACE) == [Candidate(A, (at(2), at(1)))]


def test_what_answered_last_comes_first() -> None:
    made = dialer(a=at(1))
    made.note(A, at(2), Source.OBSERVED, 0.0)
    made.dial_succeeded(at(1), A, 5.0)
    assert made.addresses(A) == (at(1), at(2))


def test_an_answer_leaves_time_for_the_proof() -> None:
    made = dialer(a=at(1))
    ask(made, 0.0)
    made.dial_succeeded(at(1), A, 1.0)
    assert ask(made, 1.0 + JOIN_GRACE) == []
    assert ask(made, 3.0 + JOIN_GRACE) == [Candidate(A, (at(1),))]


def test_a_link_that_flaps_is_dialed_less_and_less_and_a_stable_one_at_once() -> None:
    made, now, pauses = dialer(a=at(1)), 0.0, []
    for _ in range(8):
        assert ask(made, now) == [Candidate(A, (at(1),))]
        made.dial_succeeded(at(1), A, now)
        made.open_link(A, at(1), now)
        made.close_link(A, 0.1, now + 0.1)
        ask(made, now + 0.1)
        pauses.append(made.next_deadline() - now)
        now = made.next_deadline()
    assert pauses[-1] > 60
    ask(made, now)
    made.open_link(A, at(1), now)
    made.close_link(A, STABLE_PERIOD, now + STABLE_PERIOD)
    assert ask(made, now + STABLE_PERIOD + 1.0) == [Candidate(A, (at(1),))]


def test_invented_members_at_one_address_cause_no_more_attempts_than_one() -> None:
    made = Dialer(SeededRng(1))
    for number in range(20):
        made.note(peer_id(number), at(1), Source.GOSSIP, 0.0)
    dialed, now = 0, 0.0
    while now < 600:
        for candidate in ask(made, now, wanted=map(peer_id, range(20))):
            dialed += 1
            made.dial_failed(candidate.address, now)
        ask(made, now, wanted=map(peer_id, range(20)))
        now = max(now + 0.01, made.next_deadline())
    assert dialed <= 20


def test_addresses_under_way_are_bounded() -> None:
    made, everybody = Dialer(SeededRng(1)), [peer_id(number) for number in range(1, 100)]
    for number, peer in enumerate(everybody, 1):
        made.note(peer, at(number), Source.GOSSIP, 0.0)
    made.hint(at(200), Source.MDNS, 0.0)
    first = ask(made, 0.0, wanted=everybody)
    assert len(first) == module.MAX_DIALS
    assert first[0] == Candidate(None, (at(200),))
    made.dial_failed(first[1].address, 1.0)
    assert len(ask(made, 1.0, wanted=everybody)) == 1


def test_where_there_is_little_room_each_gets_its_best_address_first() -> None:
    made, everybody = Dialer(SeededRng(1)), [peer_id(number) for number in range(1, 13)]
    for number, peer in enumerate(everybody, 1):
        for part in range(3):
            made.note(peer, at(10 * number + part), Source.GOSSIP, 0.0)
    first = ask(made, 0.0, wanted=everybody)
    assert [each.peer_id for each in first] == everybody
    assert sum(len(each.addresses) for each in first) == module.MAX_DIALS
    assert [len(each.addresses) for each in first[:3]] == [3, 3, 1]
    made.dial_succeeded(first[5].address, everybody[5], 0.1)
    made.open_link(everybody[5], first[5].address, 0.1)
    (late,) = ask(made, 0.1, wanted=everybody[6:])
    assert late.peer_id == everybody[6] and late.address not in first[6].addresses, "one more for who is under way"


# hints


def test_a_hint_is_tried_however_many_neighbours_there_are() -> None:
    made = dialer()
    made.hint(at(1), Source.ADDED, 0.0)
    assert ask(made, 0.0, wanted=()) == [Candidate(None, (at(1),))]


def test_a_hint_rests_while_whoever_answers_there_is_a_neighbour() -> None:
    made = dialer()
    made.hint(at(1), Source.ADDED, 0.0)
    ask(made, 0.0)
    made.dial_succeeded(at(1), A, 1.0)
    made.open_link(A, at(1), 1.0)
    assert ask(made, 1000.0) == []
    made.close_link(A, 999.0, 1000.0)
    assert Candidate(None, (at(1),)) in ask(made, 1001.0)
    assert made.addresses(A) == (at(1),)


def test_a_hint_that_leads_to_a_neighbour_we_have_another_session_with_rests_too() -> None:
    made = dialer()
    made.open_link(A, at(99), 0.0)
    made.hint(at(1), Source.ADDED, 0.0)
    assert ask(made, 0.0) == [Candidate(None, (at(1),))]
    made.dial_succeeded(at(1), A, 1.0)
    assert ask(made, 1000.0) == []


def test_hints_are_bounded_and_those_of_mdns_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HINTS", 3)
    made = dialer()
    for number, source in enumerate((Source.ADDED, Source.MDNS, Source.TICKET, Source.ADDED), 1):
        made.hint(at(number), source, 0.0)
    assert {each.address for each in ask(made, 0.0)} == {at(1), at(3), at(4)}


def test_a_hint_that_led_to_somebody_who_is_there_rests() -> None:
    """Its link was let go: nobody is to be called again and again who is not needed."""
    made = dialer()
    made.hint(at(1), Source.TICKET, 0.0)
    assert ask(made, 0.0, wanted=[]) == [Candidate(None, (at(1),))]
    made.dial_succeeded(at(1), A, 0.0)
    made.open_link(A, at(1), 0.0)
    made.close_link(A, 60.0, 60.0)
    assert made.candidates([], 600.0, met={A}) == []
    made.wake(600.0)
    assert made.candidates([], 600.0, met={B}) == [Candidate(None, (at(1),))]


def test_as_many_hints_as_the_owner_wants() -> None:
    made = dialer(a=at(1))
    for number in (2, 3, 4):
        made.hint(at(number), Source.ADDED, 0.0)
    first = made.candidates([A], 0.0, n_hints=1)
    assert first == [Candidate(None, (at(2),)), Candidate(A, (at(1),))]
    made.wake(0.0)
    assert made.candidates([A], 0.0, n_hints=0) == []
    made.wake(0.0)
    assert made.candidates([A], 0.0) == [Candidate(None, (at(3),)), Candidate(None, (at(4),))]


# addresses


def test_own_addresses_are_never_candidates() -> None:
    made = dialer(a=at(1))
    made.hint(at(1), Source.MDNS, 0.0)
    made.set_own_addresses([at(1)])
    made.note(B, at(1), Source.STATED, 0.0)
    made.hint(at(1), Source.MDNS, 0.0)
    assert ask(made, 0.0) == []
    assert made.addresses(A) == made.addresses(B) == ()


def test_what_cannot_be_dialed_is_not_kept() -> None:
    made = dialer(a=Address("0.0.0.0", 7), b=Address("192.0.2.1", 0))
    made.hint(Address("::", 5), Source.MDNS, 0.0)
    assert ask(made, 0.0) == []


def test_of_nine_addresses_the_worst_goes() -> None:
    made = dialer()
    for number in range(1, MAX_ADDRESSES + 1):
        made.note(A, at(number), Source.STATED, 0.0)
    made.note(A, at(99), Source.GOSSIP, 0.0)
    assert at(99) not in made.addresses(A)
    made.dial_succeeded(at(1), A, 1.0)
    made.note(A, at(99), Source.OBSERVED, 2.0)
    assert len(made.addresses(A)) == MAX_ADDRESSES
    assert made.addresses(A)[:2] == (at(1), at(99))


def test_a_restatement_replaces_what_was_stated_and_nothing_else() -> None:
    made = dialer(a=at(1))
    made.note(A, at(2), Source.STATED, 0.0)
    made.restate(A, [(at(3), Source.STATED)], 1.0)
    assert set(made.addresses(A)) == {at(1), at(3)}


def test_a_forgotten_address_is_nobodys() -> None:
    made = dialer(a=at(1), b=at(1))
    made.hint(at(1), Source.MDNS, 0.0)
    made.forget_address(at(1))
    made.forget_address(at(1))
    assert ask(made, 0.0) == []
    made.forget_peer(A)
    made.forget_peer(A)


def test_an_unreachable_peer_is_named() -> None:
    made = dialer(a=at(1), b=at(1))
    made.open_link(B, None, 0.0)
    named = []
    for now in range(3):
        named.append(made.dial_failed(at(1), float(now)))
    assert named == [[], [], [A]]


ADDRESSES = st.integers(1, 4).map(at)
PEERS = st.sampled_from([A, B, C])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("note"), PEERS, ADDRESSES),
        st.tuples(st.just("hint"), PEERS, ADDRESSES),
        st.tuples(st.sampled_from(["open", "close", "forget peer"]), PEERS, ADDRESSES),
        st.tuples(st.sampled_from(["fail", "succeed", "call off", "forget"]), PEERS, ADDRESSES),
    ),
    max_size=50,
)


@given(STEPS)
def test_no_two_attempts_at_one_address_and_none_at_a_neighbour(steps: list[tuple[str, PeerId, Address]]) -> None:
    made, now = Dialer(SeededRng(1)), 0.0
    linked: set[PeerId] = set()
    trying: dict[Address, float] = {}
    for action, peer, address in steps:
        now += 0.7
        match action:
            case "note":
                made.note(peer, address, Source.GOSSIP, now)
            case "hint":
                made.hint(address, Source.MDNS, now)
            case "open" if peer not in linked:
                made.open_link(peer, address, now)
                linked.add(peer)
            case "close" if peer in linked:
                made.close_link(peer, 5.0, now)
                linked.discard(peer)
                for each in made.addresses(peer):
                    trying.pop(each, None)
            case "forget peer" if peer not in linked:
                made.forget_peer(peer)
            case "fail":
                made.dial_failed(address, now)
                trying.pop(address, None)
            case "succeed":
                made.dial_succeeded(address, peer, now)
                trying.pop(address, None)
            case "call off":
                made.dial_called_off(address, now)
                trying.pop(address, None)
            case "forget":
                made.forget_address(address)
        held = made._book
        trying = {each: since for each, since in trying.items() if each in held and now < since + DIAL_TIMEOUT}
        for candidate in ask(made, now):
            assert candidate.addresses and not trying.keys() & set(candidate.addresses)
            assert len(set(candidate.addresses)) == len(candidate.addresses)
            assert candidate.peer_id not in linked
            trying |= dict.fromkeys(candidate.addresses, now)
        assert made.next_deadline() > now or made.next_deadline() == math.inf


def test_what_mdns_takes_back_is_not_dialed_any_more() -> None:
    made = Dialer(SeededRng(1))
    made.hint(at(1), Source.MDNS, 0.0)
    ask(made, 0.0)
    made.dial_failed(at(1), 0.0)
    made.withdraw_hint(at(1))
    made.withdraw_hint(at(2))
    assert ask(made, BACKOFF_LIMIT) == []
    made.hint(at(1), Source.MDNS, BACKOFF_LIMIT)
    assert ask(made, BACKOFF_LIMIT) == [Candidate(None, (at(1),))]


@pytest.mark.parametrize("sources", [(Source.ADDED,), (Source.MDNS, Source.TICKET), (Source.TICKET, Source.MDNS)])
def test_what_others_have_named_as_well_stays(sources: tuple[Source, ...]) -> None:
    made = Dialer(SeededRng(1))
    for source in sources:
        made.hint(at(1), source, 0.0)
    made.withdraw_hint(at(1))
    assert ask(made, 0.0) == [Candidate(None, (at(1),))]


def test_where_somebody_answered_stays() -> None:
    made = Dialer(SeededRng(1))
    made.hint(at(1), Source.MDNS, 0.0)
    ask(made, 0.0)
    made.dial_succeeded(at(1), A, 0.0)
    made.withdraw_hint(at(1))
    made.dial_failed(at(1), 1.0)
    assert ask(made, BACKOFF_LIMIT) == [Candidate(None, (at(1),))]


def test_who_answers_and_does_not_prove_the_group_is_called_every_few_minutes_at_most() -> None:
    """Once soon again, for a session may be lost; then not for minutes, at none of its addresses."""
    made, calls, now = dialer(a=at(1)), [], 0.0
    made.note(A, at(2), Source.GOSSIP, 0.0)
    while now < 4 * STRANGER_LIMIT:
        for candidate in ask(made, now):
            calls.append(now)
            first, *others = candidate.addresses
            made.dial_succeeded(first, A, now)
            for address in others:
                made.dial_called_off(address, now)
        now = max(made.next_deadline(), now + 0.5)
    late = [call for call in calls if call > 2 * JOIN_GRACE + 5]
    pauses = [after - before for before, after in pairwise(late)]
    assert len(calls) - len(late) <= 4 and late[0] >= STRANGER_BACKOFF / 2
    assert min(pauses) >= STRANGER_BACKOFF / 2 and max(pauses) >= STRANGER_LIMIT / 2
    made.open_link(A, None, now)
    made.close_link(A, STABLE_PERIOD, now)
    assert ask(made, now + 2.0), "it is a member after all"


def test_it_is_remembered_how_each_address_ended() -> None:
    made = dialer(a=at(1), b=at(2), c=at(3))
    made.hint(at(4), Source.TICKET, 0.0)
    ask(made, 0.0)
    assert made.ended(0.0) == []
    made.dial_failed(at(2), 0.0, "192.0.2.2:7927: Connection refused")
    made.dial_succeeded(at(1), A, 0.0)
    made.dial_succeeded(at(3), C, 0.0)
    made.dial_succeeded(at(4), peer_id(4), 0.0)
    made.open_link(C, at(3), 0.1)
    refused = Ended(at(2), None, "192.0.2.2:7927: Connection refused")
    assert made.ended(1.0) == [refused], "a proof may be under way"
    assert made.ended(PROOF_PERIOD) == [Ended(at(1), A, ""), Ended(at(4), peer_id(4), ""), refused]
    made.open_link(A, at(1), 5.0)
    made.open_link(peer_id(4), at(4), 5.0)
    made.dial_succeeded(at(2), B, 5.0)
    assert made.ended(5.0) == []
    made.dial_failed(at(2), 20.0, "gone")
    assert made.ended(30.0) == [Ended(at(2), None, "gone")]
