"""From a ticket with several addresses to one session: a group, the dialer and real connections between them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import ManualClock
from swarmd.core.ids import GroupId
from swarmd.core.rng import SeededRng
from swarmd.daemon.candidates import Candidates
from swarmd.daemon.dialer import Dialer
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source
from tests.daemon.test_memberships import Member, all_in_one_group


@pytest.fixture
async def members(tmp_path: Path) -> AsyncIterator[list[Member]]:
    clock = ManualClock(1000.0, 1.7e9)
    made = [Member(tmp_path / name, clock) for name in "ab"]
    yield made
    for member in made:
        await member.close()


def tick(member: Member, dialer: Dialer) -> None:
    member.rest()
    dialer.handle_timer(member.clock.monotonic())


async def until_idle(dialer: Dialer, *addresses: Address) -> None:
    while any(map(dialer.is_dialing, addresses)):  # noqa: ASYNC110 (the last callbacks of a race; no event says so)
        await asyncio.sleep(0)


async def test_a_ticket_whose_first_address_is_dead(members: list[Member]) -> None:
    """The live one is reached in the same race, told of as the best from now on, and the dead one has no back-off."""
    near, far = members
    group = (await all_in_one_group(members)).group_id
    candidates = Candidates(near.memberships)
    dialer = Dialer(near.peers, candidates, near.clock, SeededRng(1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = Address.of_socket(silent.getsockname())
        peer = far.identity.peer_id
        near.memberships.add_contact(group, Contact(peer, (dead, far.address)), Source.TICKET)
        tick(near, dialer)
        assert dialer.is_dialing(dead) and dialer.is_dialing(far.address)
        await near.until_linked(far)
        await until_idle(dialer, dead, far.address)
        assert candidates.addresses(peer, [group])[0] == far.address
        assert set(candidates.addresses(peer, [group, GroupId(bytes(32))])) == {far.address, dead}
        assert near.memberships.ended([group]) == [], "nothing has failed"
        near.peers.connections()[0].link.abort()
        await near.until_linked()
        near.clock.advance(60.0)
        tick(near, dialer)
        assert dialer.is_dialing(dead), "it is tried beside the other again"
        await near.until_linked(far)
        await dialer.stop()


async def test_what_is_said_of_an_address_is_said_to_the_group(members: list[Member]) -> None:
    near, far = members
    group = (await all_in_one_group(members)).group_id
    dialer = Dialer(near.peers, Candidates(near.memberships), near.clock, SeededRng(1))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        gone = Address.of_socket(sock.getsockname())
        for contact in (Contact(far.identity.peer_id, (gone,)), Contact(None, (near.address,))):
            near.memberships.add_contact(group, contact, Source.TICKET)
        tick(near, dialer)
        await until_idle(dialer, gone, near.address)
    (ended,) = near.memberships.ended([group])
    assert (ended.address, ended.stranger) == (gone, None) and "refused" in ended.reason
    await dialer.stop()
