"""Group values in the daemon: what one member writes the others read, and whoever uses it keeps it alive.

The DHT is real nodes in virtual time, the database a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from swarmd.core.errors import Conflict, LocalError, NoPeers, NotFound
from swarmd.core.rng import SeededRng
from swarmd.daemon.rendezvous_values import KEPT_PERIOD, PUT_PERIOD, GroupValues
from swarmd.daemon.workers import Workers
from swarmd.dht.items import Item
from swarmd.groups.rendezvous.largevalues import VALUE_BYTES_LIMIT, Large
from swarmd.groups.rendezvous.values import AHEAD_LIMIT, SMALL_BYTES_LIMIT, Kind, seal_value, slot_of
from swarmd.store.store import Store
from swarmd.store.tables.groups import GroupRow
from tests.daemon.rendezvous import OPEN, PRIVATE, SPEC, UNLISTED, Member, World
from tests.dht.network import Network


@pytest.fixture
def world() -> World:
    return World()


# values


class Books:
    """A store and its thread for each member of a test."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._open = folder, list[Callable[[], object]]()

    async def values(self, member: Member) -> GroupValues:
        store = Store.open(self._folder / str(member.identity.peer_id), member.clock)
        ledger = Workers(asyncio.get_running_loop(), "ledger", 1)
        self._open += [ledger.close, store.close]
        for group, membership in member.groups.items():
            if group not in {row.group_id for row in store.groups.rows()}:
                store.groups.put(GroupRow(group, membership.spec.encode(), 0.0))
        made = GroupValues(member.around, member.identity, store, ledger)
        await made.load()
        return made

    def close(self) -> None:
        while self._open:
            self._open.pop(0)()


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path)
    yield made
    made.close()


async def test_what_one_writes_the_others_read(world: World, books: Books) -> None:
    ann, bob = Member(world, 1), Member(world, 2)
    theirs, ours = await books.values(ann), await books.values(bob)
    written = await theirs.put(SPEC.group_id, "motd", b"hello")
    assert written.n_copies >= 8
    value = await ours.get(SPEC.group_id, "motd")
    assert (value.data, value.value.author) == (b"hello", ann.identity.peer_id)
    await ours.put(SPEC.group_id, "motd", b"hello, too")
    assert (await theirs.get(SPEC.group_id, "motd")).value.author == bob.identity.peer_id
    with pytest.raises(NotFound):
        await ours.get(SPEC.group_id, "other")


async def test_the_last_writer_wins_though_its_clock_is_behind(world: World, books: Books) -> None:
    ann, bob = Member(world, 1, ahead=AHEAD_LIMIT / 2), Member(world, 2)
    theirs, ours = await books.values(ann), await books.values(bob)
    await theirs.put(SPEC.group_id, "motd", b"first")
    await ours.put(SPEC.group_id, "motd", b"second")
    assert (await theirs.get(SPEC.group_id, "motd")).data == b"second"


async def test_who_writes_at_the_same_time_writes_again(world: World, books: Books) -> None:
    """The other one's value has come between looking and putting."""
    ann, bob = Member(world, 1, ahead=1.0), Member(world, 2)
    theirs, ours = await books.values(ann), await books.values(bob)
    await theirs.put(SPEC.group_id, "motd", b"first")
    look, looked = bob.seat.get_mutable, list[bytes]()

    async def too_early(key: bytes, salt: bytes = b"") -> Item | None:
        looked.append(key)
        return await look(key, salt) if len(looked) > 1 else None

    bob.seat.get_mutable = too_early  # type: ignore[method-assign]
    await ours.put(SPEC.group_id, "motd", b"second")
    assert len(looked) == 2
    assert (await theirs.get(SPEC.group_id, "motd")).data == b"second"


async def test_one_dated_in_the_future_is_refused_and_its_place_said_to_be_blocked(world: World, books: Books) -> None:
    ann, bob = Member(world, 1), Member(world, 2)
    ours = await books.values(bob)
    late = int((ann.clock.wall() + 86_400) * 1000)
    await ann.seat.put(seal_value(SPEC, ann.identity, "motd", b"for ever", late, SeededRng(1)).item)
    with pytest.raises(NotFound, match="dated 1,440 min in the future: its author's clock is wrong, or ours"):
        await ours.get(SPEC.group_id, "motd")
    with pytest.raises(Conflict, match="future"):
        await ours.put(SPEC.group_id, "motd", b"mine")


async def test_who_writes_by_a_clock_far_ahead_is_told_and_blocks_nothing(world: World, books: Books) -> None:
    ann, bob = Member(world, 1, ahead=3600.0), Member(world, 2, ahead=AHEAD_LIMIT / 2)
    ours, theirs = await books.values(ann), await books.values(bob)
    await theirs.put(SPEC.group_id, "motd", b"a little early")
    for refused in (ours.put(SPEC.group_id, "motd", b"too early"), ours.remove(SPEC.group_id, "motd")):
        with pytest.raises(Conflict, match="it is about 60 min earlier than by this machine's"):
            await refused
    ann.clock.ahead = 0.0
    await ours.put(SPEC.group_id, "motd", b"set right")
    assert (await theirs.get(SPEC.group_id, "motd")).data == b"set right"


async def test_nobody_is_rolled_back(world: World, books: Books) -> None:
    ann, bob = Member(world, 1), Member(world, 2)
    theirs, ours = await books.values(ann), await books.values(bob)
    old = (await theirs.put(SPEC.group_id, "motd", b"old")).value.item
    await theirs.put(SPEC.group_id, "motd", b"new")
    assert (await ours.get(SPEC.group_id, "motd")).data == b"new"
    bob.seat.old = old
    assert (await ours.get(SPEC.group_id, "motd")).data == b"new"
    books.close()
    again = await books.values(bob)
    assert (await again.get(SPEC.group_id, "motd")).data == b"new", "nor after a restart"


async def test_what_is_used_is_kept_alive_and_nothing_else(books: Books) -> None:
    """By nodes that keep nothing for longer than two hours; the writer is gone."""
    world = World(OPEN)
    ann, bob, eve = Member(world, 1), Member(world, 2), Member(world, 3)
    theirs, ours = await books.values(ann), await books.values(bob)
    for key in ("used", "unused"):
        await theirs.put(SPEC.group_id, key, b"1")
    await ours.get(SPEC.group_id, "used")
    await bob.run(ours, 5 * 3600)
    assert await eve.seat.get_mutable(slot_of(SPEC, "used").public) is not None
    assert await eve.seat.get_mutable(slot_of(SPEC, "unused").public) is None
    assert [kept.value.key for kept in ours.kept()] == ["used"]


async def test_the_newest_is_kept_alive_and_not_ours(world: World, books: Books) -> None:
    ann, bob = Member(world, 1), Member(world, 2)
    theirs, ours = await books.values(ann), await books.values(bob)
    await ours.put(SPEC.group_id, "motd", b"old")
    await theirs.put(SPEC.group_id, "motd", b"new")
    await bob.run(ours, 2 * PUT_PERIOD)
    assert [kept.value.content for kept in ours.kept(SPEC.group_id)] == [b"new"]


async def test_after_a_restart_it_goes_on(world: World, books: Books) -> None:
    bob = Member(world, 2)
    await (await books.values(bob)).put(SPEC.group_id, "motd", b"mine")
    books.close()
    again = await books.values(bob)
    assert [kept.value.content for kept in again.kept()] == [b"mine"]
    assert again.next_job(bob.clock.monotonic() + 3600) is not None


async def test_what_nobody_uses_any_more_is_let_go_and_so_is_a_group_that_was_left(world: World, books: Books) -> None:
    bob = Member(world, 2, SPEC, UNLISTED)
    ours = await books.values(bob)
    await ours.put(SPEC.group_id, "motd", b"mine")
    await ours.put(UNLISTED.group_id, "motd", b"another")
    assert len(ours.kept()) == 2
    del bob.groups[UNLISTED.group_id]
    assert [kept.value.group_id for kept in ours.kept()] == [SPEC.group_id]
    with pytest.raises(NotFound):
        await ours.get(UNLISTED.group_id, "motd")
    bob.clock.ahead += KEPT_PERIOD + 60
    assert ours.kept() == []
    books.close()
    assert (await books.values(bob)).kept() == []


async def test_without_a_network_a_put_says_so(books: Books) -> None:
    alone = World.__new__(World)
    alone.network = Network(3)
    alone.hosts = [alone.network.add(PRIVATE) for _ in range(3)]
    ours = await books.values(Member(alone, 1))
    with pytest.raises(NoPeers):
        await ours.put(SPEC.group_id, "motd", b"x")
    assert ours.kept() == []


async def test_what_is_too_long_is_refused(world: World, books: Books) -> None:
    ours = await books.values(Member(world, 1))
    with pytest.raises(LocalError, match="at most 65,536 bytes"):
        await ours.put(SPEC.group_id, "motd", b"x" * (VALUE_BYTES_LIMIT + 1))
    for size in (SMALL_BYTES_LIMIT, SMALL_BYTES_LIMIT + 1):
        await ours.put(SPEC.group_id, "motd", b"x" * size)
        assert (await ours.get(SPEC.group_id, "motd")).data == b"x" * size


async def test_a_large_one_is_read_by_the_others_and_lasts(books: Books) -> None:
    """Though whoever wrote it is gone, and its nodes keep nothing for longer than two hours."""
    world = World(OPEN)
    ann, bob, eve = Member(world, 1), Member(world, 2), Member(world, 3)
    theirs, ours = await books.values(ann), await books.values(bob)
    data = SeededRng(7).bytes(VALUE_BYTES_LIMIT)
    written = await theirs.put(SPEC.group_id, "map", data)
    assert (written.value.size, written.n_copies >= 8) == (VALUE_BYTES_LIMIT, True)
    assert (await ours.get(SPEC.group_id, "map")).data == data
    books.close()
    ours = await books.values(bob)  # nothing of the pieces is remembered
    await bob.run(ours, 3 * 3600)
    assert (await (await books.values(eve)).get(SPEC.group_id, "map")).data == data


async def test_of_one_whose_pieces_are_gone_or_false_it_is_said(world: World, books: Books) -> None:
    bob, ann = Member(world, 1), Member(world, 2)
    ours, theirs = await books.values(bob), await books.values(ann)
    other = await ours.put(SPEC.group_id, "other", bytes(2000))
    false = replace(Large.decode(other.value.content), digest=bytes(32))
    gone = replace(false, place=b"p" * 20)
    for key, large, why in (
        ("gone", gone, "pieces of it are gone"),
        ("false", false, "not what its author has signed"),
    ):
        time = int(bob.clock.wall() * 1000)
        value = seal_value(SPEC, bob.identity, key, large.encode(), time, SeededRng(1), Kind.LARGE)
        await bob.seat.put(value.item)
        with pytest.raises(NotFound, match=why):
            await theirs.get(SPEC.group_id, key)
    assert theirs.kept() == []


async def test_what_was_removed_is_gone_for_all_until_somebody_writes_again(world: World, books: Books) -> None:
    ann, bob, eve = Member(world, 1), Member(world, 2), Member(world, 3)
    theirs, ours, hers = [await books.values(each) for each in (ann, bob, eve)]
    with pytest.raises(NotFound, match="nobody has put"):
        await ours.remove(SPEC.group_id, "motd")
    await theirs.put(SPEC.group_id, "motd", b"hello")
    await hers.get(SPEC.group_id, "motd")
    await ours.remove(SPEC.group_id, "motd")
    for each in (theirs, ours):
        with pytest.raises(NotFound, match=f"removed by {bob.identity.peer_id.short}"):
            await each.get(SPEC.group_id, "motd")
    with pytest.raises(NotFound, match="removed"):
        await theirs.remove(SPEC.group_id, "motd")
    await eve.run(hers, 2 * PUT_PERIOD)
    assert [kept.value.is_gone for kept in hers.kept()] == [True], "who has used it does not bring it back"
    await theirs.put(SPEC.group_id, "motd", b"again")
    assert (await ours.get(SPEC.group_id, "motd")).data == b"again"
