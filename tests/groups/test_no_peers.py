"""Groups of `Capability.NO_PEERS`: who is named is dialed, and nobody is spoken of."""

from __future__ import annotations

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability
from swarmd.groups.messages import Hello, MemberEntry, Members
from swarmd.groups.neighbourhood import CROWD_EXTRA, RELEASE_PERIOD
from swarmd.groups.topology import Reason, target_links

from .builders import WALL, identity, peer_id, spec
from .simulation import Simulation

STAR = spec("star", Capability.REPLICATION | Capability.NO_PEERS)
LEAVES = 60
"""More than a member of another group would keep links with."""


def at(number: int) -> Address:
    return Address(f"192.0.2.{number}", 7927)


def neighbours(made: Simulation, number: int) -> set[int]:
    linked = made.nodes[number].group.neighbours
    return {other for other, node in enumerate(made.nodes) if node.peer_id in linked}


def star() -> Simulation:
    made = Simulation(1, STAR)
    made.add()
    for _ in range(LEAVES):
        made.add(0)
    made.run(3 * RELEASE_PERIOD)
    return made


def test_a_star_around_who_is_named() -> None:
    made = star()
    assert 2 * target_links(LEAVES + 1) + CROWD_EXTRA < LEAVES
    assert neighbours(made, 0) == set(range(1, LEAVES + 1))
    for number in range(1, LEAVES + 1):
        assert neighbours(made, number) == {0}
        assert [each.peer_id for each in made.nodes[number].group.members(made.now)] == [made.nodes[0].peer_id]
    assert {each.reason for each in made.nodes[0].group.neighbour_info(made.now)} == {Reason.NAMED}
    assert made.faults == []


def test_shares_go_by_way_of_it_and_links_come_back() -> None:
    made = star()
    made.publish(1, "film")
    made.run(5.0)
    assert all([each.share.name for each in node.group.shares()] == ["film"] for node in made.nodes)
    made.stop(0)
    made.run(60.0)
    assert not any(neighbours(made, number) for number in range(1, LEAVES + 1))
    made.restart(0)
    made.run(60.0)
    assert neighbours(made, 0) == set(range(1, LEAVES + 1)), "who is named is found again by those who name it"
    made.stop(1)
    made.restart(1)
    made.run(10.0)
    assert neighbours(made, 1) == {0}, "after a restart, too"


def test_who_was_not_named_is_neither_dialed_nor_remembered() -> None:
    group = Group(STAR, identity(1), SeededRng(1), 0.0)
    group.add_contact(Contact(None, (at(9),)), Source.MDNS, 0.0)
    group.open_link(identity(2).peer_id, at(2), 0.0)
    group.receive_message(identity(2).peer_id, Hello(7927, (at(2),), at(1)).encode(), 0.0, WALL)
    assert group.remembered(1.0) == []
    group.close_link(identity(2).peer_id, 1.0)
    for now in range(2, 120):
        group.handle_timer(now, WALL + now)
        assert group.candidates(now) == []


def test_to_speak_of_others_is_a_fault() -> None:
    group = Group(STAR, identity(1), SeededRng(1), 0.0)
    neighbour = identity(2).peer_id
    group.open_link(neighbour, at(2), 0.0)
    group.receive_message(neighbour, Hello(7927, (at(2),), at(1)).encode(), 0.0, WALL)
    with pytest.raises(RemoteError, match="spoken of"):
        group.receive_message(neighbour, Members((MemberEntry(peer_id(3), 0, (at(3),)),)).encode(), 0.0, WALL)
    assert [each.peer_id for each in group.members(0.0)] == [neighbour]
