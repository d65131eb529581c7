"""A database that takes nothing: a command that fails has changed nothing, and what others say is written later."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import ManualClock
from swarmd.core.errors import LocalError, NotAllowed, NotFound
from swarmd.core.ids import ContentId, GroupId
from swarmd.core.rng import SystemRng
from swarmd.daemon.chronicle import COMPLAINT_PERIOD, RETRY_PERIOD
from swarmd.daemon.trials import RETRY_PERIOD as TRIAL_RETRY_PERIOD
from swarmd.groups.authorisation import NEVER, Authorisations, Right
from swarmd.groups.contacts import Contact
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.records import CertificateCache, Share, ShareKind, decode_record
from tests.daemon.hosts import PATIENCE, make_group
from tests.daemon.test_memberships import Member
from tests.store.transfers import MEMORY

SONG = Share("song", ContentId(bytes(32)), 7, ShareKind.FILE)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where that is possible: a store syncs at every step, and no test here needs a disk for that."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="swarmd-test-") as name:
        yield Path(name)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Member, Member]]:
    clock = ManualClock(1000.0, 1.7e9)
    first, second = (Member(tmp_path / name, clock) for name in "ab")
    yield first, second
    for member in (first, second):
        writable(member, True)
        await member.close()


def writable(member: Member, is_so: bool) -> None:
    member.store._database.query(f"PRAGMA query_only={int(not is_so)}")


def nobody_uses_it(group: GroupId) -> bool:
    return False


async def rows(member: Member) -> list[GroupId]:
    return [row.group_id for row in await member.ledger.run(member.store.groups.rows)]


async def told(member: Member, check: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not check():
            member.changed.clear()
            await member.changed.wait()


async def settled(member: Member) -> None:
    """Until the ledger has done what it was given before, and said so."""
    await member.ledger.run(lambda: None)


async def refused(member: Member, command: Callable[[], Coroutine[Any, Any, object]]) -> None:
    writable(member, False)
    for _ in range(2):
        with pytest.raises(LocalError, match="readonly"):
            await command()
    writable(member, True)


async def test_groups_that_cannot_be_written_are_not_joined(pair: tuple[Member, Member]) -> None:
    first, second = pair
    spec = make_group("films")
    contact = Contact(second.identity.peer_id, (second.address,))
    await refused(first, lambda: first.memberships.create("y", restricted=Right.PUBLISH))
    await refused(first, lambda: first.memberships.join(spec, [contact], None))
    assert len(first.memberships) == 0
    assert first.memberships.candidates(1000.0) == []
    await first.memberships.create("y", restricted=Right.PUBLISH)
    await first.memberships.join(spec, [contact], None)
    assert await rows(first) == list(first.memberships.all())
    (member,) = await first.ledger.run(lambda: first.store.members.rows(spec.group_id))
    assert member.peer_id == second.identity.peer_id, "whom the ticket names is kept with the group"


async def test_a_group_that_cannot_be_deleted_is_not_left(pair: tuple[Member, Member]) -> None:
    first, second = pair
    group = await first.memberships.create("films")
    await second.memberships.join(first.memberships.spec(group), [], None)
    await second.peers.dial(first.address, first.identity.peer_id)
    await first.until_linked(second)
    await refused(first, lambda: first.memberships.leave(group))
    assert group in first.memberships and first.linked
    await first.memberships.leave(group)
    assert await rows(first) == []
    with pytest.raises(NotFound):
        await first.memberships.leave(group)


async def test_shares_that_cannot_be_written_are_neither_published_nor_withdrawn(pair: tuple[Member, Member]) -> None:
    first, second = pair
    group = await first.memberships.create("films")
    await second.memberships.join(first.memberships.spec(group), [], None)
    await second.peers.dial(first.address, first.identity.peer_id)
    await second.until_linked(first)
    await refused(first, lambda: first.memberships.publish(group, SONG))
    assert first.memberships.get(group).group.shares() == []
    await first.memberships.publish(group, SONG)
    await told(second, lambda: second.memberships.get(group).group.shares())
    await refused(first, lambda: first.memberships.unpublish(group, "song"))
    assert len(first.memberships.get(group).group.shares()) == 1
    await first.memberships.unpublish(group, "song")
    await told(second, lambda: not second.memberships.get(group).group.shares())
    (row,) = await first.ledger.run(lambda: first.store.records.rows(group))
    assert decode_record(row.record, CertificateCache()).is_tombstone


async def test_an_authorisation_that_cannot_be_written_does_not_hold(pair: tuple[Member, Member]) -> None:
    first, second = pair
    group = await first.memberships.create("press", restricted=Right.PUBLISH)
    membership = first.memberships.get(group)
    assert membership.authority is not None
    await second.memberships.join(membership.spec, [], None)
    right = membership.authority.authorise(group, second.identity.peer_id, Right.PUBLISH, NEVER)
    await refused(second, lambda: second.memberships.join(membership.spec, [], right))
    assert not second.memberships.get(group).group.may_publish(second.clock.wall())
    assert second.memberships.get(group).authorisations == Authorisations()
    await second.memberships.join(membership.spec, [], right)
    assert second.memberships.get(group).group.may_publish(second.clock.wall())
    (row,) = await second.ledger.run(second.store.groups.rows)
    assert row.authorisation == right.encode()


async def test_two_tickets_give_two_rights_and_a_restart_keeps_both(pair: tuple[Member, Member]) -> None:
    first, second = pair
    restricted = Right.PUBLISH | Right.POST
    capabilities = Capability.REPLICATION | Capability.POSTING
    group = await first.memberships.create("press", capabilities, restricted)
    membership = first.memberships.get(group)
    assert membership.authority is not None
    own = second.identity.peer_id
    for rights in (Right.POST, Right.PUBLISH):
        given = membership.authority.authorise(group, own, rights, NEVER)
        await second.memberships.join(membership.spec, [], given)
    (row,) = await second.ledger.run(second.store.groups.rows)
    read = Authorisations.decode(row.authorisation)
    assert read == second.memberships.get(group).authorisations
    joined = second.memberships.get(group).group
    assert joined.may_publish(second.clock.wall())
    assert joined.posting is not None
    joined.posting.check_may_post(read.giving(Right.POST), second.clock.wall())
    late = membership.authority.authorise(group, own, Right.POST, 1)
    with pytest.raises(NotAllowed):
        await second.memberships.join(membership.spec, [], late)
    assert second.memberships.get(group).authorisations == read


async def test_a_caller_that_goes_away_leaves_memory_and_database_in_agreement(pair: tuple[Member, Member]) -> None:
    first, _ = pair
    gone = asyncio.create_task(first.memberships.create("y"))
    while not first.ledger._submitted:  # noqa: ASYNC110 (it is for this turn that is waited)
        await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    group = await first.memberships.create("z")  # has its turn after it
    assert sorted(await rows(first)) == sorted(first.memberships.all())
    assert len(first.memberships) == 2 and group in first.memberships


async def test_two_that_make_a_group_of_one_name_at_once_make_one(pair: tuple[Member, Member]) -> None:
    first, _ = pair
    made = await asyncio.gather(*(first.memberships.create("y") for _ in range(2)), return_exceptions=True)
    assert [isinstance(each, GroupId) for each in made] == [True, False]
    assert len(first.memberships) == 1


async def test_what_members_say_is_written_when_it_can_be(
    pair: tuple[Member, Member], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = pair
    group = await first.memberships.create("films")
    await second.memberships.join(first.memberships.spec(group), [], None)
    writable(second, False)
    await second.peers.dial(first.address, first.identity.peer_id)
    await second.until_linked(first)
    await first.memberships.publish(group, SONG)
    await told(second, lambda: second.memberships.get(group).group.shares())
    for _ in range(3):
        second.rest()
        await settled(second)
        second.clock.advance(RETRY_PERIOD)
    complaints = [record for record in caplog.records if "cannot be written down" in record.message]
    assert len(complaints) == 1 < COMPLAINT_PERIOD / RETRY_PERIOD
    writable(second, True)
    second.rest()
    await settled(second)
    assert len(await second.ledger.run(lambda: second.store.records.rows(group))) == 1
    (member,) = await second.ledger.run(lambda: second.store.members.rows(group))
    assert member.peer_id == first.identity.peer_id


async def test_the_end_says_what_could_not_be_saved(
    pair: tuple[Member, Member], caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = pair
    group = await first.memberships.create("films")
    await first.memberships.publish(group, SONG)
    writable(first, False)
    await first.memberships.stop()
    assert "1 share records, and who was in the groups of late could not be saved" in caplog.text


# Visits -----------------------------------------------------------------------------------------------------------


async def fails_in(member: Member, spec: GroupSpec, is_used: Callable[[GroupId], bool] = nobody_uses_it) -> None:
    contact = Contact(None, (Address("192.0.2.1", 1),))
    with pytest.raises(LocalError, match="no such folder"):
        async with member.memberships.visit(spec, [contact], is_used) as group:
            assert group in member.memberships
            raise LocalError("no such folder")


async def test_a_visit_that_fails_leaves_the_group_again(pair: tuple[Member, Member]) -> None:
    first, _ = pair
    spec = make_group()
    await fails_in(first, spec)
    assert len(first.memberships) == 0 and await rows(first) == []
    async with first.memberships.visit(spec, [], nobody_uses_it):
        await fails_in(first, spec)
        assert len(first.memberships) == 1, "somebody else is about to use it"
    await fails_in(first, spec)
    assert len(first.memberships) == 1, "we were in it before"


@pytest.mark.parametrize("use", ["share", "transfer", "join"])
async def test_a_group_that_something_uses_is_not_left(pair: tuple[Member, Member], use: str) -> None:
    first, _ = pair
    spec = GroupSpec.create("", SystemRng(), capabilities=Capability.REPLICATION).spec
    with pytest.raises(LocalError, match="no such folder"):
        async with first.memberships.visit(spec, [], lambda group: use == "transfer") as group:
            if use == "share":
                await first.memberships.publish(group, SONG)
            elif use == "join":
                await first.memberships.join(spec, [], None)
            raise LocalError("no such folder")
    assert spec.group_id in first.memberships


async def test_a_group_that_cannot_be_left_at_once_is_left_later(pair: tuple[Member, Member]) -> None:
    first, _ = pair
    spec = make_group()
    with pytest.raises(LocalError, match="no such folder"):
        async with first.memberships.visit(spec, [], nobody_uses_it):
            writable(first, False)
            raise LocalError("no such folder")
    assert spec.group_id in first.memberships
    writable(first, True)
    first.clock.advance(TRIAL_RETRY_PERIOD)
    first.rest()
    async with asyncio.timeout(PATIENCE):
        while len(first.memberships):  # noqa: ASYNC110 (nothing is told of it here)
            await asyncio.sleep(0)
    assert await rows(first) == []
