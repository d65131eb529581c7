"""Addresses out of the DHT among those that a group dials: worth least, gone first; and who counts as lost."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import MAX_HINTS, Candidate, Dialer, Source
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability
from swarmd.groups.membership import KEPT_PERIOD

from .builders import identity, peer_id, spec

A, B = peer_id(1), peer_id(2)
LATER = 10_000.0
"""When every back-off is over."""


def at(number: int) -> Address:
    return Address(f"10.0.{number >> 8}.{number & 255}", 7927)


def dialer(*hints: tuple[int, Source]) -> Dialer:
    made = Dialer(SeededRng(1))
    for number, source in hints:
        made.hint(at(number), source, 0.0)
    return made


def dialed(made: Dialer, now: float = 0.0, wanted: Iterable[PeerId] = (A, B)) -> set[Address]:
    """All that may be dialed, a few at a time."""
    found: set[Address] = set()
    while candidates := made.candidates(wanted, now):
        for address in [address for candidate in candidates for address in candidate.addresses]:
            made.dial_failed(address, now)
            found.add(address)
    return found


def test_it_is_dialed_and_taken_back() -> None:
    made = dialer((1, Source.DHT), (2, Source.DHT))
    assert dialed(made) == {at(1), at(2)}
    made.withdraw_hint(at(1), Source.DHT)
    assert dialed(made, LATER) == {at(2)}


@pytest.mark.parametrize("other", [Source.MDNS, Source.TICKET, Source.ADDED])
def test_what_others_name_as_well_stays_in_either_order(other: Source) -> None:
    made = dialer((1, Source.DHT), (1, other), (2, other), (2, Source.DHT))
    for number in (1, 2):
        made.withdraw_hint(at(number), Source.DHT)
    assert dialed(made) == {at(1), at(2)}


def test_mdns_does_not_take_back_what_the_dht_has_said() -> None:
    made = dialer((1, Source.DHT))
    made.withdraw_hint(at(1))
    assert dialed(made) == {at(1)}


def test_a_stranger_who_named_itself_goes_and_a_member_stays() -> None:
    made = dialer((1, Source.DHT), (2, Source.DHT))
    made.candidates((), 0.0)
    for number, peer in ((1, A), (2, B)):
        made.dial_succeeded(at(number), peer, 0.0)
    made.open_link(B, at(2), 0.0)
    made.close_link(B, 60.0, 60.0)
    for number in (1, 2):
        made.withdraw_hint(at(number), Source.DHT)
    assert dialed(made, LATER) == {at(2)}


def test_however_many_come_none_of_another_kind_goes_for_them() -> None:
    named = [(number, Source.TICKET if number % 2 else Source.MDNS) for number in range(MAX_HINTS - 3)]
    made = dialer(*named)
    for number in range(1000, 2000):
        made.hint(at(number), Source.DHT, 0.0)
    found = dialed(made)
    assert len(found) == MAX_HINTS
    assert {at(number) for number, _ in named} <= found


def test_where_all_are_of_another_kind_none_is_taken() -> None:
    made = dialer(*((number, Source.MDNS) for number in range(MAX_HINTS)))
    made.hint(at(1000), Source.DHT, 0.0)
    assert dialed(made) == {at(number) for number in range(MAX_HINTS)}


def test_where_there_is_no_room_they_go_first_then_those_of_mdns() -> None:
    made = dialer((1, Source.TICKET), (2, Source.MDNS), (3, Source.DHT), *((n, Source.ADDED) for n in range(4, 257)))
    made.hint(at(300), Source.ADDED, 0.0)
    made.hint(at(301), Source.ADDED, 0.0)
    found = dialed(made)
    assert (at(1) in found, at(2) in found, at(3) in found) == (True, False, False)


def test_they_are_dialed_last() -> None:
    made = Dialer(SeededRng(1))
    made.note(A, at(1), Source.DHT, 0.0)
    made.note(A, at(2), Source.GOSSIP, 0.0)
    assert made.candidates([A], 0.0) == [Candidate(A, (at(2), at(1)))]


# who is lost


def group(capabilities: Capability = Capability.REPLICATION) -> Group:
    return Group(spec("lost", capabilities), identity(1), SeededRng(1), 0.0)


def test_who_fails_at_every_address_is_lost_until_there_is_a_link_again() -> None:
    made = group()
    made.add_contact(Contact(A, (at(1), at(2))), Source.REMEMBERED, 0.0, age=10.0)
    assert made.lost(0.0) == []
    made.dial_failed(at(1), 0.0)
    assert made.lost(0.0) == []
    made.dial_failed(at(2), 0.0)
    assert made.lost(0.0) == [A]
    made.open_link(A, at(3), 1.0)
    assert made.lost(1.0) == []
    made.close_link(A, 2.0)
    assert made.lost(2.0) == []


def test_who_is_known_by_the_peer_id_alone_is_lost() -> None:
    made = group()
    made.add_contact(Contact(A, ()), Source.TICKET, 0.0)
    assert made.lost(0.0) == [A]
    assert made.lost(KEPT_PERIOD + 1) == []
    made.add_contact(Contact(A, (at(1),)), Source.TICKET, 0.0)
    assert made.lost(0.0) == []


def test_of_the_named_only_the_dht_is_not_heard() -> None:
    made = group(Capability.NO_PEERS)
    made.add_contact(Contact(None, (at(1),)), Source.DHT, 0.0)
    assert made.candidates(0.0) == []


@pytest.mark.parametrize("source", [Source.DHT, Source.MDNS])
def test_neighbours_are_not_called_again_where_they_say_that_they_are(source: Source) -> None:
    """Else each member of a group is called once more by all that find it there, in the middle of their transfers."""
    made = dialer()
    for peer, number, said_by in ((A, 1, Source.STATED), (B, 2, Source.GOSSIP)):
        made.note(peer, at(number), said_by, 0.0)
        made.open_link(peer, None, 0.0)
    for number in (1, 2, 3):
        made.hint(at(number), source, 1.0)
    called = {candidate.address for candidate in made.candidates((), 1.0, met={A, B})}
    assert called == {at(2), at(3)}, "what others say of a neighbour is no reason"
    made.close_link(A, 3600.0, 2.0)
    assert {candidate.address for candidate in made.candidates((), LATER, met={B})} == {at(1), at(2), at(3)}


def test_who_calls_us_before_we_call_is_not_called_back() -> None:
    """mDNS has named an address, and whoever is there was quicker."""
    made = dialer((1, Source.MDNS), (2, Source.ADDED))
    for number, peer in ((1, A), (2, B)):
        made.open_link(peer, None, 0.5)
        made.note(peer, at(number), Source.STATED, 0.5)
    called = {candidate.address for candidate in made.candidates((), 1.0, met={A, B})}
    assert called == {at(2)}, "what the user has named is called in any case: a member may say that it is anywhere"
