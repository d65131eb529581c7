"""What others have said is written down in pieces, as it is when its turn comes, and read in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from swarmd.core.clock import ManualClock
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import SeededRng, SystemRng
from swarmd.daemon import chronicle as module
from swarmd.daemon.chronicle import RETRY_PERIOD, Chronicle, Kept
from swarmd.daemon.workers import Workers
from swarmd.groups.group import Group
from swarmd.groups.records import Record
from swarmd.store.store import Store
from swarmd.store.tables.groups import GroupRow, MemberRow, RecordRow
from tests.groups.builders import WALL, identity, record, spec, tombstone

GROUP = spec().group_id


class Ledger:
    """A chronicle over a store, and what a catalogue would hold."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(1000.0, WALL)
        self.store = Store.open(folder, self.clock, SystemRng())
        self.store.groups.put(GroupRow(GROUP, spec().encode(), 0.0))
        self.worker = Workers(asyncio.get_running_loop(), "ledger", 1)
        self.held: dict[tuple[PeerId, str], Record] = {}
        self.left: dict[tuple[PeerId, str], tuple[bytes, int]] = {}
        self.chronicle = Chronicle(self.store, self.worker, self.clock, self.kept)

    def kept(self, group: GroupId, key: tuple[PeerId, str]) -> Kept:
        is_held = group == GROUP and key in self.held
        return Kept(self.held[key].encode() if is_held else None, self.left.get(key))

    def hold(self, *records: Record) -> None:
        for each in records:
            self.held[each.key] = each
            self.chronicle.note(each)

    def drop(self, each: Record) -> None:
        del self.held[each.key]
        self.chronicle.note(each)

    async def save(self, jobs: int = 1) -> None:
        """As many as that, one after the other."""
        self.chronicle.handle_timer(self.clock.monotonic(), dict)
        for _ in range(jobs):
            await self.worker.run(lambda: None)

    def writable(self, is_so: bool) -> None:
        self.store._database.query(f"PRAGMA query_only={int(not is_so)}")

    def stored(self) -> list[bytes]:
        return sorted(row.record for row in self.store.records.rows(GROUP))

    async def close(self) -> None:
        await self.chronicle.stop({})
        self.worker.close()
        self.store.close()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    made = Ledger(tmp_path / "state")
    yield made
    await made.close()


def encoded(*records: Record) -> list[bytes]:
    return sorted(each.encode() for each in records)


MANY = [record(1, name=f"{number}") for number in range(10)]


async def test_a_flood_is_written_in_pieces_and_whole(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_SLICE", 3)
    pieces, put = list[int](), ledger.store.records.put

    def counted(group: GroupId, rows: Iterable[RecordRow]) -> None:
        rows = list(rows)
        pieces.append(len(rows))
        put(group, rows)

    monkeypatch.setattr(ledger.store.records, "put", counted)
    ledger.hold(*MANY)
    await ledger.save(5)
    assert pieces == [3, 3, 3, 1]
    assert ledger.stored() == encoded(*MANY)


async def test_what_is_written_is_what_is_held_by_then(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_SLICE", 1)
    ledger.hold(record(1), record(2))
    ledger.hold(tombstone(1))
    ledger.drop(record(2))
    await ledger.save(3)
    assert ledger.stored() == encoded(tombstone(1))


async def test_what_could_not_be_written_is_tried_again(ledger: Ledger) -> None:
    ledger.writable(False)
    ledger.hold(*MANY)
    await ledger.save()
    ledger.drop(MANY[0])
    ledger.writable(True)
    await ledger.save(2)
    assert ledger.stored() == [], "not at once"
    ledger.clock.advance(RETRY_PERIOD)
    await ledger.save(2)
    assert ledger.stored() == encoded(*MANY[1:])


async def test_of_what_gave_way_the_latest_numbers_are_kept(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LEFT", 3)
    monkeypatch.setattr(module, "SAVE_SLICE", 2)
    ledger.hold(*MANY)
    for number, each in enumerate(MANY[:5]):
        ledger.left[each.key] = (bytes([number]), number)
        ledger.drop(each)
    await ledger.save(6)
    assert ledger.stored() == encoded(*MANY[5:])
    assert ledger.store.numbers.rows(GROUP) == [(bytes([number]), number) for number in (2, 3, 4)]
    await ledger.chronicle.delete_group(GROUP)
    assert ledger.store.numbers.rows(GROUP) == []


async def test_others_are_forgotten_before_anything_newer_is_written(ledger: Ledger) -> None:
    own, other, newer = record(1), record(2, name="old"), record(2, name="new")
    ledger.hold(own, other)
    await ledger.save(2)
    ledger.writable(False)
    del ledger.held[other.key]
    ledger.chronicle.forget_others(GROUP, identity(1).peer_id)
    ledger.hold(newer)
    await ledger.save(2)
    assert ledger.stored() == encoded(own, other)
    ledger.writable(True)
    ledger.clock.advance(RETRY_PERIOD)
    await ledger.save(2)
    assert ledger.stored() == encoded(own, newer)


async def test_what_is_left_is_written_at_the_end(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "state")
    ledger.hold(*MANY)
    await ledger.close()
    store = Store.open(tmp_path / "state", ledger.clock, SystemRng())
    assert sorted(row.record for row in store.records.rows(GROUP)) == encoded(*MANY)
    store.close()


async def test_a_group_is_given_all_its_records_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOAD_SLICE", 4)
    ledger.hold(*MANY, tombstone(3), *(record(2, name=f"{number}") for number in range(5)))
    await ledger.save(2)
    group = Group(spec(), identity(9), SeededRng(1), 1000.0)
    await ledger.chronicle.restore(group, [MemberRow(identity(1).peer_id, b"", WALL - 5)], lambda: False)
    assert len(group.catalogue) == 16
    assert group.next_event() is None
    assert group._exchange._heard_at == WALL - 5
