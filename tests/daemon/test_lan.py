"""From what is heard on the local network to whom a group dials, and back when a node says goodbye."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import ManualClock
from swarmd.core.ids import GroupId
from swarmd.core.rng import SeededRng
from swarmd.daemon.lan import Lan
from swarmd.discovery.sightings import Lost, Sighted
from swarmd.groups import beacon
from tests.daemon.test_memberships import Member

NONCE = bytes(16)
HERE, THERE = Address("192.0.2.1", 7927), Address("192.0.2.2", 7927)


class Watcher:
    """A member of one group that listens to the local network."""

    def __init__(self, member: Member, group: GroupId) -> None:
        self.member, self.group = member, group
        self.lan = Lan(member.memberships, member.clock, SeededRng(1))

    def hear(self, instance: str, *addresses: Address) -> None:
        key = self.member.memberships.spec(self.group).discovery_key
        epoch = beacon.epoch_at(self.member.clock.wall())
        tags = tuple(beacon.plan_tags([key], epoch, NONCE, SeededRng(2)))
        self.lan.receive(Sighted(instance, addresses, NONCE, tags))

    def lose(self, instance: str) -> None:
        self.lan.receive(Lost(instance))

    def dialed(self) -> set[Address]:
        """Whom the group would call by now, if nobody has answered so far."""
        self.member.clock.advance(3600)
        return {each.address for each in self.member.memberships.candidates(self.member.clock.monotonic())}


@pytest.fixture
async def watcher(tmp_path: Path) -> AsyncIterator[Watcher]:
    member = Member(tmp_path, ManualClock(1000.0, 1.7e9))
    yield Watcher(member, await member.memberships.create("films"))
    await member.close()


async def test_who_says_goodbye_is_called_no_more(watcher: Watcher) -> None:
    watcher.hear("ann", HERE)
    watcher.hear("bob", THERE)
    assert watcher.dialed() == {HERE, THERE}
    watcher.lose("ann")
    watcher.lose("nobody")
    assert watcher.dialed() == {THERE}


async def test_who_has_moved_is_called_at_the_new_place_only(watcher: Watcher) -> None:
    watcher.hear("ann", HERE)
    watcher.hear("ann", THERE)
    assert watcher.dialed() == {THERE}


async def test_an_address_that_two_have_named_goes_with_the_second(watcher: Watcher) -> None:
    """A node that was started anew has another name, and its old goodbye may come late."""
    watcher.hear("ann", HERE)
    watcher.hear("ann again", HERE)
    watcher.lose("ann")
    assert watcher.dialed() == {HERE}
    watcher.lose("ann again")
    assert watcher.dialed() == set()


async def test_a_goodbye_after_the_group_was_left(watcher: Watcher) -> None:
    watcher.hear("ann", HERE)
    await watcher.member.memberships.leave(watcher.group)
    watcher.lose("ann")
    assert watcher.dialed() == set()


async def test_what_is_remembered_is_bounded(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarmd.daemon.lan.MAX_INSTANCES", 2)
    for name in ("ann", "bob", "carol"):
        watcher.hear(name, HERE)
    assert len(watcher.lan._given) == 2
