"""The rendezvous in the daemon: members meet and are found again, over real DHT nodes in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import cast

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import Unreachable
from swarmd.core.ids import ContentId, GroupId
from swarmd.core.rng import SeededRng
from swarmd.daemon.memberships import Memberships
from swarmd.daemon.peers import Peers
from swarmd.daemon.rendezvous import BURST, MAX_RUNNING, Rendezvous
from swarmd.daemon.rendezvous_meeting import Meetings
from swarmd.daemon.rendezvous_objects import MAX_CALLS, TURNS, ObjectPlaces
from swarmd.daemon.rendezvous_records import Whereabouts
from swarmd.daemon.rendezvous_work import Job, member_addresses
from swarmd.dht.items import Item
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.rendezvous.peerrecords import seal_record
from swarmd.groups.rendezvous.places import Calendar
from tests.daemon.rendezvous import SPEC, STAR, UNLISTED, Member, World
from tests.groups.builders import content_id, peer_id


@pytest.fixture
def world() -> World:
    return World()


# meeting


def meetings(member: Member) -> Meetings:
    return Meetings(member.around, member.wake)


async def test_members_find_each_other_and_nobody_else_does(world: World) -> None:
    ann, bob, eve = Member(world, 1), Member(world, 2), Member(world, 3, GroupSpec.create("x", SeededRng(5)).spec)
    part = meetings(ann)
    for member, meets in ((ann, part), (bob, meetings(bob)), (eve, meetings(eve)), (ann, part)):
        await member.run(meets, 60)
    assert ann.candidates() == {bob.seat.host.address}
    assert bob.candidates() == {ann.seat.host.address}
    assert eve.candidates() == set()
    assert bob.n_wakes


async def test_the_reader_of_a_single_share_finds_who_shares_it(world: World) -> None:
    ann, bob = Member(world, 1, UNLISTED), Member(world, 2, UNLISTED)
    await ann.run(meetings(ann))
    await bob.run(meetings(bob), 2)
    assert bob.candidates() == {ann.seat.host.address}


async def test_a_group_of_the_named_only_stays_away(world: World) -> None:
    ann = Member(world, 1, STAR)
    part = meetings(ann)
    await ann.run(part)
    assert not ann.seat.announced
    assert len(part) == 0


async def test_clocks_that_differ_by_an_hour_do_not_keep_them_apart(world: World) -> None:
    """Wherever in the day it is: eight times of it."""
    for number in range(8):
        hours = 3.0 * 3600 * number
        ann = Member(world, 1, ahead=hours)
        bob = Member(world, 2, ahead=hours + 3500)
        await ann.run(meetings(ann), 2)
        await bob.run(meetings(bob), 2)
        assert bob.candidates() == {ann.seat.host.address}


async def test_what_was_invented_near_the_place_is_bounded_and_taken_back(world: World) -> None:
    ann = Member(world, 1)
    part = meetings(ann)

    async def invent(info_hash: bytes, port: int = 0) -> list[Address]:
        return [Address(f"203.0.{number}.7", 80) for number in range(200)]

    ann.seat.announce = ann.seat.get_peers = invent  # type: ignore[method-assign]
    await ann.run(part, 120)
    assert 0 < part.n_found <= 64
    del ann.seat.announce, ann.seat.get_peers
    await ann.run(part, 3100)
    for address in ann.candidates():
        ann.group.dial_failed(address, ann.clock.monotonic())
    ann.seat.host.network.run(400.0)
    assert ann.candidates() == set()


async def test_another_machines_loopback_is_not_ours(world: World) -> None:
    ann, bob = Member(world, 1), Member(world, 2)
    found = [Address("127.0.0.1", 22), Address("::1", 22), bob.seat.host.address, ann.seat.host.address]
    assert ann.around.usable(found) == [bob.seat.host.address]
    ann.seat.seen_as = Address("127.0.0.1", 7927)
    assert ann.around.usable([*found, ann.seat.seen_as]) == found[:3], "the DHT is on this machine"
    ann.seat.seen_as = None
    ann.addresses = (Address("127.0.0.1", 7927),)
    assert ann.around.usable(found) == [*found[:3], ann.seat.host.address]


@pytest.mark.parametrize("is_noticed", [True, False])
async def test_a_group_that_was_left_meanwhile(world: World, is_noticed: bool) -> None:
    ann, bob = Member(world, 1), Member(world, 2)
    await ann.run(meetings(ann))
    part = meetings(bob)
    job = part.next_job(bob.clock.monotonic())
    assert job is not None
    bob.groups.clear()
    if is_noticed:
        assert part.next_job(bob.clock.monotonic()) is None
    await job()
    assert not part.n_found


# peer records


def lose(member: Member, peer: Member, addresses: tuple[Address, ...]) -> None:
    """The member remembers the peer at addresses that nobody answers at any more."""
    group, now = member.group, member.clock.monotonic()
    group.add_contact(Contact(peer.identity.peer_id, addresses), Source.REMEMBERED, now, age=60.0)
    for address in addresses:
        group.dial_failed(address, now)


async def test_a_known_member_that_has_moved_is_found_again(world: World) -> None:
    ann, bob = Member(world, 1), Member(world, 2)
    there = Whereabouts(ann.around, ann.identity, ann.wake)
    await ann.run(there)
    lose(bob, ann, (Address("192.0.2.9", 7000), Address("192.0.2.9", 7001)))
    assert bob.group.lost(bob.clock.monotonic()) == [ann.identity.peer_id]
    await bob.run(part := Whereabouts(bob.around, bob.identity, bob.wake))
    assert (part.n_found >= 1, bob.n_wakes >= 1) == (True, True)
    assert ann.seat.host.address in bob.candidates()
    ann.addresses = (Address("198.51.100.1", 7927),)
    await ann.run(there, 10)
    for address in (*bob.group.addresses(ann.identity.peer_id),):
        bob.group.dial_failed(address, bob.clock.monotonic())
    await bob.run(part, 120)
    assert ann.addresses[0] in bob.group.addresses(ann.identity.peer_id)


async def test_a_group_that_was_left_while_a_member_of_it_was_looked_up(world: World) -> None:
    ann, bob = Member(world, 1), Member(world, 2)
    await ann.run(Whereabouts(ann.around, ann.identity, ann.wake))
    part = Whereabouts(bob.around, bob.identity, bob.wake)
    lose(bob, ann, (Address("192.0.2.9", 7000),))
    get, groups = bob.seat.get_mutable, dict(bob.groups)

    async def leave(key: bytes, salt: bytes = b"") -> Item | None:
        bob.groups.clear()
        return await get(key, salt)

    bob.seat.get_mutable = leave  # type: ignore[method-assign]
    while not part.n_found and bob.groups == groups and (job := part.next_job(bob.clock.monotonic())) is not None:
        await job()
    assert (bob.groups, part.n_found) == ({}, 0)


async def test_nobody_is_led_back_to_where_a_member_was(world: World) -> None:
    """By nodes that hand out an older record, which the member has signed as well."""
    ann, bob = Member(world, 1), Member(world, 2)
    days = Calendar.of(SPEC).days(ann.clock.wall())
    before = (Address("192.0.2.77", 7927),)
    old = seal_record(SPEC, ann.identity, before, days[0], ann.clock.wall() - 60, SeededRng(1))
    await ann.run(Whereabouts(ann.around, ann.identity, ann.wake))
    lose(bob, ann, (Address("192.0.2.9", 7000),))
    part = Whereabouts(bob.around, bob.identity, bob.wake)
    await bob.run(part)
    assert part.n_found == 1
    bob.seat.old = old
    lose(bob, ann, ann.addresses)
    await bob.run(part, 300)
    assert before[0] not in bob.group.addresses(ann.identity.peer_id)


async def test_who_is_not_lost_is_not_looked_up(world: World) -> None:
    ann, bob = Member(world, 1), Member(world, 2)
    await ann.run(Whereabouts(ann.around, ann.identity, ann.wake))
    bob.group.add_contact(ann.own_contacts()[0], Source.TICKET, bob.clock.monotonic())
    await bob.run(part := Whereabouts(bob.around, bob.identity, bob.wake))
    assert not part.n_found


async def test_unlisted_groups_have_no_records(world: World) -> None:
    ann = Member(world, 1, UNLISTED, STAR)
    assert Whereabouts(ann.around, ann.identity, ann.wake).next_job(ann.clock.monotonic() + 100) is None


# objects


@dataclass
class Provided:
    given: dict[GroupId, set[ContentId]] = field(default_factory=dict)
    lacks: set[tuple[GroupId, ContentId]] = field(default_factory=set)

    def announced(self) -> Iterator[tuple[GroupId, Collection[ContentId]]]:
        yield from self.given.items()

    def lacking(self) -> Iterator[tuple[GroupId, ContentId]]:
        yield from self.lacks


class Calls:
    def __init__(self) -> None:
        self.called: list[Address] = []

    async def reach(self, addresses: list[Address], wanted: object) -> None:
        self.called += addresses
        raise Unreachable("nobody is there")


async def test_who_holds_an_object_is_found_and_called(world: World) -> None:
    ann, bob, calls = Member(world, 1), Member(world, 2), Calls()
    ann_part = ObjectPlaces(ann.around, Provided({SPEC.group_id: {content_id(1)}}), cast(Peers, Calls()))
    provided = Provided(lacks={(SPEC.group_id, content_id(1)), (SPEC.group_id, content_id(2))})
    part = ObjectPlaces(bob.around, provided, cast(Peers, calls))
    await ann.run(ann_part)
    await bob.run(part, 2)
    assert calls.called == [ann.seat.host.address]
    provided.lacks.clear()
    await bob.run(part, 3600)
    assert calls.called == [ann.seat.host.address]


async def test_objects_are_announced_in_turns(world: World) -> None:
    ann = Member(world, 1)
    provided = Provided({SPEC.group_id: {content_id(number) for number in range(1000)}})
    part = ObjectPlaces(ann.around, provided, cast(Peers, Calls()))
    await ann.run(part, 1200)
    assert TURNS <= len(set(ann.seat.announced)) <= TURNS + 10
    provided.given[SPEC.group_id] = {content_id(1)}
    ann.seat.announced.clear()
    await ann.run(part, 3600)
    assert len(ann.seat.announced) in range(2, 12)


async def test_of_many_that_were_found_some_are_called(world: World) -> None:
    bob, calls = Member(world, 2), Calls()

    async def invent(info_hash: bytes) -> list[Address]:
        return [Address(f"203.0.{number}.7", 80) for number in range(200)]

    bob.seat.get_peers = invent  # type: ignore[method-assign]
    part = ObjectPlaces(bob.around, Provided(lacks={(SPEC.group_id, content_id(1))}), cast(Peers, calls))
    job = part.next_job(bob.clock.monotonic())
    assert job is not None
    await job()
    assert len(set(calls.called)) == MAX_CALLS


# all together


class Endless:
    """A part that always has something to do."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.kind, self.n_found = "endless", 0
        self.n_begun = 0

    def next_job(self, now: float) -> Job | None:
        return self._work

    async def _work(self) -> None:
        self.n_begun += 1
        await self.release.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_never_too_much_at_once_nor_too_often(world: World) -> None:
    ann, parts, tasks = Member(world, 1), [Endless(), Endless()], list[asyncio.Task[None]]()

    def start(name: str, job: Job) -> None:
        tasks.append(asyncio.create_task(job(), name=name))

    rendezvous = Rendezvous(ann.seat, parts, start, 0.0)
    ann.seat.is_ready = False
    rendezvous.handle_timer(0.0)
    assert not tasks, "nobody to ask"
    ann.seat.is_ready = True
    rendezvous.handle_timer(0.0)
    await settle()
    assert rendezvous.n_running == sum(part.n_begun for part in parts) == MAX_RUNNING
    for part in parts:
        part.release.set()
    for now in range(61):
        await settle()
        rendezvous.handle_timer(float(now))
    await settle()
    assert rendezvous.n_running == 0
    assert sum(part.n_begun for part in parts) <= BURST + 2 * 60 + 1
    assert min(part.n_begun for part in parts) > 20, "each has its turns"
    await asyncio.gather(*tasks)
    assert len({task.get_name() for task in tasks}) == len(tasks)


def test_linked_members_are_nodes_of_the_dht_to_begin_with(world: World) -> None:
    ann = Member(world, 1)
    for number in (20, 21):
        contact = Contact(peer_id(number), (Address("10.9.9.9", number), Address("10.9.9.8", number)))
        ann.group.add_contact(contact, Source.TICKET, 0.0)
    ann.group.open_link(peer_id(20), Address("10.9.9.9", 20), 0.0)
    (address,) = member_addresses(cast(Memberships, ann))
    assert address in ann.group.addresses(peer_id(20))
