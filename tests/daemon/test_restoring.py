"""A start: groups are there at once, their catalogues a little later, and nobody is let in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarmd.core.clock import ManualClock
from swarmd.core.errors import Unreachable
from swarmd.core.ids import GroupId
from swarmd.daemon import chronicle as module
from swarmd.daemon.memberships import Memberships
from swarmd.groups import catalogue as catalogue_module
from swarmd.groups.catalogue import Outcome, Refusal
from swarmd.groups.records import Record, Share, ShareKind
from swarmd.store.tables.groups import RecordRow
from tests.daemon.hosts import PATIENCE
from tests.daemon.test_memberships import Member
from tests.groups.builders import content_id, record

SONG = Share("song", content_id(1), 7, ShareKind.FILE)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Member, Member]]:
    clock = ManualClock(1000.0, 1.7e9)
    made = Member(tmp_path / "a", clock), Member(tmp_path / "b", clock)
    yield made
    for member in made:
        await member.close()


async def again(member: Member) -> Memberships:
    """The member with its groups as a start finds them: nothing but the store is left."""
    await member.restart()
    await member.memberships.load()
    return member.memberships


async def in_one_group(one: Member, other: Member) -> GroupId:
    group = await one.memberships.create("films")
    await one.memberships.publish(group, SONG)
    await other.memberships.join(one.memberships.spec(group), [], None)
    return group


async def test_nobody_is_let_in_or_called_until_the_catalogue_has_been_read(pair: tuple[Member, Member]) -> None:
    one, other = pair
    group = await in_one_group(one, other)
    await other.peers.dial(one.address, one.identity.peer_id)
    await one.until_linked(other)
    started = await again(one)
    assert started.find("films") == group
    assert started.n_own_shares == 0
    assert started.candidates(one.clock.monotonic()) == []
    await other.peers.dial(one.address, one.identity.peer_id)
    assert not one.linked
    restored = asyncio.create_task(started.restore())
    await started.restoring.done()
    assert started.own_share(group, "song") is not None
    await restored
    await one.until_linked(other)


async def test_without_groups_there_is_nothing_to_wait_for(pair: tuple[Member, Member]) -> None:
    started = await again(pair[0])
    async with asyncio.timeout(PATIENCE):
        await started.restoring.done()


async def test_a_change_waits_for_the_catalogue(pair: tuple[Member, Member]) -> None:
    """A tombstone signed too early would be of a share that nobody has found yet."""
    one, other = pair
    group = await in_one_group(one, other)
    started = await again(one)
    restored = asyncio.create_task(started.restore())
    await asyncio.sleep(0)
    removed = await started.unpublish(group, "song")
    await restored
    assert removed.is_tombstone
    assert started.n_own_shares == 0


async def test_a_group_that_was_left_first_stays_left(pair: tuple[Member, Member]) -> None:
    one, other = pair
    group = await in_one_group(one, other)
    started = await again(one)
    await started.leave(group)
    await started.restore()
    assert group not in started
    await other.memberships.leave(group)


async def test_who_stops_in_the_middle_changes_nothing(
    pair: tuple[Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    group = await in_one_group(one, other)
    rows = [RecordRow(each.publisher, each.share.name, each.encode()) for each in _strangers(group, 9)]
    await one.ledger.run(lambda: one.store.records.put(group, rows))
    monkeypatch.setattr(module, "LOAD_SLICE", 2)
    started = await again(one)
    restored = asyncio.create_task(started.restore())
    await asyncio.sleep(0)
    started.restoring.stop()
    await restored
    assert len(started.get(group).group.catalogue) < 10
    with pytest.raises(Unreachable, match="stopping"):
        await started.publish(group, SONG)
    assert len(await one.ledger.run(lambda: one.store.records.rows(group))) == 10


async def test_what_gave_way_does_not_come_back_older_after_a_restart(
    pair: tuple[Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = pair
    monkeypatch.setattr(catalogue_module, "MAX_SHARES", 3)
    group = await one.memberships.create("films")
    rows = [RecordRow(each.publisher, each.share.name, each.encode()) for each in _strangers(group, 3, seq=5)]
    await one.ledger.run(lambda: one.store.records.put(group, rows))
    started = await again(one)
    await started.restore()
    await started.publish(group, SONG)
    assert {each.share.name for each in started.find_shares(group, name="2")} == set(), "who has most gave way"
    started = await again(one)
    await started.restore()
    catalogue, wall = started.get(group).group.catalogue, one.clock.wall()
    catalogue.forget_others()
    older, newer = (_strangers(group, 3, seq=seq)[2] for seq in (4, 6))
    assert catalogue.put(older, wall).outcome is Outcome.REFUSED
    assert catalogue.refusals == {Refusal.ROLLED_BACK: 1}
    assert catalogue.put(newer, wall).outcome is Outcome.ADDED


def _strangers(group: GroupId, count: int, seq: int = 1) -> list[Record]:
    return [record(1, name=f"{number}", seq=seq, group_id=group) for number in range(count)]
