"""Providers in the daemon: what is told to a group, when a search begins, who is dialed and held, and for how long.

The group is real, with one neighbour that says nothing, and believes that it is large. What surrounds it (transfers,
what is served) is given by the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.rng import SeededRng
from swarmd.daemon.exchange import Exchange
from swarmd.daemon.memberships import Memberships
from swarmd.daemon.programs import Programs
from swarmd.daemon.providers import (
    CHECK_PERIOD,
    DIAL_PERIOD,
    FEW_SOURCES,
    LOOK_PERIOD,
    MAX_PROVIDERS,
    SOON_PERIOD,
    Providing,
)
from swarmd.daemon.serving import Serving
from swarmd.daemon.transfer import TransferState
from swarmd.daemon.transfers import Transfers
from swarmd.groups.contacts import Contact
from swarmd.groups.group import Group
from swarmd.groups.providers.events import Found
from swarmd.groups.providers.messages import Find
from swarmd.replication.progress import Progress, Source, Waiting
from tests.groups.builders import content_id, identity, peer_id, spec

SPEC = spec("large")
OBJECT = content_id(7)
NEIGHBOUR = identity(2).peer_id
STUCK = Progress(8, 800, 0, 0, 0, 0, 0, 0, 0.0, 1, 0, 8, False, Waiting.NOBODY_HAS_IT, ())


@dataclass
class Transfer:
    """As much of one as is asked for."""

    id: str = "t1"
    content_id: ContentId = OBJECT
    groups: frozenset[GroupId] = frozenset({SPEC.group_id})
    state: TransferState = TransferState.METADATA
    is_active: bool = True
    is_paused: bool = False
    standing: None = None


@dataclass
class Surroundings:
    """Memberships, transfers, serving and exchange of one node in one group."""

    group: Group
    transfers: list[Transfer] = field(default_factory=list)
    served: set[ContentId] = field(default_factory=set)
    standing: Progress = STUCK
    n_changes: int = 0
    by_programs: set[ContentId] = field(default_factory=set)
    for_programs: list[ContentId] = field(default_factory=list)
    own: tuple[Contact, ...] = ()

    def __contains__(self, group: GroupId) -> bool:
        return group == SPEC.group_id

    def all(self) -> dict[GroupId, Surroundings]:
        return {SPEC.group_id: self}

    def get(self, group: GroupId) -> Surroundings:
        return self

    def act(self, group: GroupId, do: Callable[[Group], object]) -> object:
        return do(self.group)

    def own_contacts(self) -> tuple[Contact, ...]:
        return self.own

    def objects(self, group: GroupId) -> set[ContentId]:
        return set(self.served)

    def given(self, group: GroupId) -> set[ContentId]:
        return set(self.by_programs)

    def wanted(self) -> list[tuple[GroupId, int, ContentId]]:
        return [(SPEC.group_id, 1 + number, each) for number, each in enumerate(self.for_programs)]

    def progress(self, content_id: ContentId) -> Progress:
        return self.standing


class TransferList:
    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def all(self) -> list[Transfer]:
        return self._around.transfers


def node() -> tuple[Providing, Surroundings]:
    group = Group(SPEC, identity(1), SeededRng(1), 0.0)
    group.open_link(NEIGHBOUR, None, 0.0)
    assert group.providers is not None
    group.providers.set_member_count(1000, 0.0)
    around = Surroundings(group)
    group.messages_to_send()
    providing = Providing(
        cast(Memberships, around),
        cast(Transfers, TransferList(around)),
        cast(Serving, around),
        cast(Programs, around),
        cast(Exchange, around),
        SystemClock(),
        SeededRng(2),
    )
    return providing, around


def searches(around: Surroundings) -> int:
    return sum(data[0] == Find.type for _, data in around.group.messages_to_send())


def contact(number: int) -> Contact:
    return Contact(peer_id(number), (Address(f"192.0.2.{number}", 7000),))


def dialed(around: Surroundings, now: float) -> set[PeerId | None]:
    return {candidate.peer_id for candidate in around.group.candidates(now)}


def held_objects(around: Surroundings) -> int:
    assert around.group.providers is not None
    return around.group.providers.info.n_held


def test_a_group_is_told_what_is_served() -> None:
    providing, around = node()
    around.served = {content_id(1), content_id(2)}
    providing.handle_timer(0.0)
    assert held_objects(around) == 2
    around.served = {content_id(2)}
    providing.handle_timer(LOOK_PERIOD)
    assert held_objects(around) == 1
    around.served |= {content_id(3), content_id(4)}
    around.n_changes += 1
    providing.handle_timer(LOOK_PERIOD + SOON_PERIOD)
    assert held_objects(around) == 3, "soon, when it is known that something has changed"


def test_a_search_begins_at_once_and_who_is_found_is_dialed() -> None:
    providing, around = node()
    around.transfers.append(Transfer())
    providing.handle_timer(0.0)
    assert searches(around) == 1
    providing.hear(SPEC.group_id, Found(1, OBJECT, (contact(5),), False))
    providing.handle_timer(0.1)
    assert peer_id(5) in dialed(around, 1.0)


def test_who_is_not_found_at_first_is_looked_for_again_soon() -> None:
    """Whoever has shared it a moment ago is about to say so."""
    providing, around = node()
    around.transfers.append(Transfer())
    providing.handle_timer(0.0)
    providing.hear(SPEC.group_id, Found(1, OBJECT, (), True))
    assert searches(around) == 1
    providing.handle_timer(0.1)
    providing.handle_timer(2.0)
    assert searches(around) == 1


def test_enough_sources_need_no_search() -> None:
    providing, around = node()
    around.standing = replace(STUCK, peers=FEW_SOURCES, waiting=None)
    around.transfers.append(Transfer())
    providing.handle_timer(0.0)
    assert searches(around) == 0


def test_enough_sources_that_lack_the_same_are_too_few() -> None:
    providing, around = node()
    around.standing = replace(STUCK, peers=FEW_SOURCES, waiting=Waiting.MISSING_CHUNKS)
    around.transfers.append(Transfer())
    providing.handle_timer(0.0)
    assert searches(around) == 1


def test_objects_of_programs_are_announced_and_looked_for() -> None:
    providing, around = node()
    around.by_programs, around.for_programs = {content_id(3)}, [OBJECT]
    providing.handle_timer(0.0)
    assert (held_objects(around), searches(around)) == (1, 1)
    providing.hear(SPEC.group_id, Found(1, OBJECT, (contact(5),), False))
    providing.handle_timer(0.1)
    assert peer_id(5) in dialed(around, 1.0)
    around.by_programs, around.for_programs = set(), []
    providing.handle_timer(LOOK_PERIOD)
    assert held_objects(around) == 0


def test_a_paused_transfer_looks_for_nobody() -> None:
    providing, around = node()
    around.transfers.append(Transfer(is_paused=True))
    providing.handle_timer(0.0)
    assert searches(around) == 0


def test_who_is_found_is_bounded() -> None:
    providing, around = node()
    around.transfers.append(Transfer())
    providing.handle_timer(0.0)
    providing.hear(SPEC.group_id, Found(1, OBJECT, tuple(map(contact, range(5, 40))), False))
    providing.handle_timer(0.1)
    assert len(dialed(around, 1.0)) <= MAX_PROVIDERS


def test_who_does_not_answer_is_dialed_in_vain_once() -> None:
    providing, around = node()
    around.transfers.append(Transfer())
    providing.handle_timer(0.0)
    found = Found(1, OBJECT, (contact(5),), False)
    providing.hear(SPEC.group_id, found)
    providing.handle_timer(0.1)
    (candidate,) = around.group.candidates(1.0)
    around.group.dial_failed(candidate.address, 2.0)
    providing.handle_timer(DIAL_PERIOD + CHECK_PERIOD)
    providing.hear(SPEC.group_id, found)
    providing.handle_timer(180.0)
    around.group.handle_timer(200.0, 200.0)  # the group has forgotten that it might be there
    assert dialed(around, 200.0) == set()


def test_a_link_that_chunks_come_over_is_held_for_the_length_of_the_transfer() -> None:
    providing, around = node()
    around.standing = replace(STUCK, peers=1, sources=(Source(SPEC.group_id, NEIGHBOUR, 5, 0),))
    around.transfers.append(Transfer())
    providing.handle_timer(0.0)
    around.group.candidates(1.0)
    assert [info.reason.value for info in around.group.neighbour_info(1.0) if info.reason] == ["transfer"]
    around.transfers.clear()
    providing.handle_timer(2.0)
    around.group.candidates(3.0)
    assert [info.reason.value for info in around.group.neighbour_info(3.0) if info.reason] != ["transfer"]


def test_loopback_of_another_machine_is_not_dialed() -> None:
    providing, around = node()
    around.own = (Contact(identity(1).peer_id, (Address("192.0.2.99", 7000),)),)
    around.transfers.append(Transfer())
    providing.handle_timer(0.0)
    there = Contact(peer_id(5), (Address("127.0.0.1", 7000),))
    providing.hear(SPEC.group_id, Found(1, OBJECT, (there,), False))
    providing.handle_timer(0.1)
    assert dialed(around, 1.0) == set()
