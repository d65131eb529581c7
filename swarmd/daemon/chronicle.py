"""What is written down of the groups, and what becomes of it when it cannot be: the disk of the state folder is full.

Two kinds of things are written:
- what a command changes (a group, a record of our own): `found`, `put_group`, `delete_group`, `put_record`. They are
  awaited before the change holds anywhere else, and a LocalError of theirs is the command's: then nothing has changed.
- what others have said (their records, who was there): `note`, `remember`. It is written in batches when it can be.
  That it cannot is a warning, not more often than every COMPLAINT_PERIOD, and it is tried again; at the end `stop`
  says what was not kept.

Of a record that others have said only the key is kept here, and what is held for it is written when its turn comes, at
most SAVE_SLICE at a time: a newcomer's 100,000 records neither lie here twice nor hold up the loop.

Invariant: one batch is under way at a time, so an older record never takes the place of a newer one. The ledger is one
thread: jobs are done in the order in which they were given. What is kept here is bounded by the catalogues: one key
each.

A crash loses at most what came in the last second (of a flood, what has not had its turn), which the neighbours have
still, and who came in the last two.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice

from swarmd.core.clock import Clock
from swarmd.core.errors import LocalError
from swarmd.core.ids import GroupId, PeerId
from swarmd.daemon.workers import Outcome, Workers
from swarmd.groups.catalogue import MAX_LEFT
from swarmd.groups.group import Group
from swarmd.groups.membership import MAX_MEMBERS
from swarmd.groups.records import Record
from swarmd.store.store import Store
from swarmd.store.tables.groups import GroupRow, MemberRow, RecordRow

log = logging.getLogger(__name__)

REMEMBER_PERIOD = 60.0
REMEMBER_SOON_PERIOD = 2.0  # after somebody new: until then it has said where it listens
RETRY_PERIOD = 10.0
COMPLAINT_PERIOD = 600.0
PRUNE_PERIOD = 86_400.0  # between two looks for members to forget; the first is at the start
FORGET_PERIOD = 90 * 86_400.0
"""Seconds unheard of, after which a member's row goes: far beyond the time for which it would be dialed again
(`membership.KEPT_PERIOD`), since what is deleted on the word of a wrong clock does not come back."""

SAVE_SLICE = 300
"""Records written in one transaction: 2 ms on the loop to gather them, and more on the ledger's thread."""
LOAD_SLICE = 150
"""Records read at once at the start: 5 ms on the loop."""

Key = tuple[PeerId, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a catalogue has under a key: a record as bytes, or none; then perhaps the number that it left behind."""

    record: bytes | None
    number: tuple[bytes, int] | None = None


Held = Callable[[GroupId, Key], Kept]
Batch = list[tuple[GroupId, Key, Kept]]
Members = dict[GroupId, list[MemberRow]]


class Chronicle:
    """Lives on the loop; its jobs run on the ledger's thread."""

    def __init__(self, store: Store, ledger: Workers, clock: Clock, held: Held) -> None:
        """held: what a group's catalogue has now under a key."""
        self._store, self._ledger, self._clock, self._held = store, ledger, clock, held
        self._unsaved: dict[GroupId, dict[Key, None]] = {}
        self._forgetting: dict[GroupId, PeerId] = {}
        """Groups of which the records of all but one publisher are to go, before anything else is written."""
        self._is_saving = False
        self._owed: list[tuple[Record, Callable[[], None]]] = []
        self._remember_at = clock.monotonic() + REMEMBER_PERIOD
        self._retry_at = -math.inf
        self._complain_at = -math.inf
        self._prune_at = -math.inf

    # What a command changes -------------------------------------------------------------------------------------

    async def found(self, row: GroupRow, members: Iterable[MemberRow]) -> None:
        """A new group and those whom its ticket names, both or neither."""
        wall = self._clock.wall()
        await self._ledger.run(lambda: self._store.groups.put(row, members, wall))

    async def put_group(self, row: GroupRow) -> None:
        await self._ledger.run(lambda: self._store.groups.put(row))

    async def delete_group(self, group: GroupId) -> None:
        """With its members and records."""
        await self._ledger.run(lambda: self._store.groups.delete(group))
        self._unsaved.pop(group, None)
        self._forgetting.pop(group, None)

    async def put_record(self, record: Record) -> None:
        await self._ledger.run(lambda: self._store.records.put(record.group_id, [_row(record)]))

    # What is written when it can be -----------------------------------------------------------------------------

    def put_later(self, record: Record, then: Callable[[], None]) -> None:
        """A record of our own that no command waits for: `then`, when it is written; until it is, it is tried again."""

        def done(outcome: Outcome[None]) -> None:
            if self._has_worked(outcome):
                then()
            else:
                self._owed.append((record, then))

        self._ledger.submit(lambda: self._store.records.put(record.group_id, [_row(record)]), done)

    def note(self, record: Record) -> None:
        """What is held under its key has changed: it is this one now, or none."""
        self._unsaved.setdefault(record.group_id, {})[record.key] = None

    def forget_others(self, group: GroupId, publisher: PeerId) -> None:
        """Until now nothing is held but what this publisher has said."""
        self._forgetting[group] = publisher

    def remember_soon(self, now: float) -> None:
        """Somebody has come."""
        self._remember_at = min(self._remember_at, now + REMEMBER_SOON_PERIOD)

    async def remember(self, members: Members) -> None:
        """Who is there, at once; a warning when it cannot be written."""
        job = self._remembering(members)
        try:
            await self._ledger.run(job)
        except LocalError as error:
            self._complain(error)
            self._remember_at = min(self._remember_at, self._retry_at)
        else:
            self._remembered(job)

    # What was written ------------------------------------------------------------------------------------------

    async def restore(self, group: Group, members: Iterable[MemberRow], is_ended: Callable[[], bool]) -> None:
        """Give a group that lets nobody in yet the records that it held, until `is_ended`. members: of whom it had
        heard."""
        wall, damaged = self._clock.wall(), 0
        heard_at = max((row.last_seen for row in members), default=-math.inf)
        after: Key | None = None
        while not is_ended():
            page = partial(self._store.records.page, group.group_id, after, LOAD_SLICE)
            rows = await self._ledger.run(page)
            damaged += group.restore((row.record for row in rows), wall, heard_at if heard_at > -math.inf else None)
            if len(rows) < LOAD_SLICE:
                break
            after = rows[-1].publisher, rows[-1].name
        group.catalogue.restore_numbers(await self._ledger.run(partial(self._store.numbers.rows, group.group_id)))
        if damaged:
            log.warning("%d share records of group %s could not be read", damaged, group.group_id.short)

    # Time -------------------------------------------------------------------------------------------------------

    def handle_timer(self, now: float, members: Callable[[], Members]) -> None:
        """`members`: who is there, asked for when it is time to write that down."""
        if now >= self._retry_at:
            owed, self._owed = self._owed, []
            for record, then in owed:
                self.put_later(record, then)
            self._save()
        if now >= self._remember_at:
            self._remember_at = now + REMEMBER_PERIOD
            job = self._remembering(members())
            self._ledger.submit(job, lambda done: self._remembering_done(job, done))

    def next_deadline(self) -> float:
        if self._owed or ((self._unsaved or self._forgetting) and self._retry_at > self._clock.monotonic()):
            return min(self._remember_at, self._retry_at)
        return self._remember_at

    async def stop(self, members: Members) -> None:
        """Write down what is not written yet; what cannot be is said."""
        await self._ledger.run(lambda: None)  # whatever is under way has ended then
        unsaved = self._take(sum(map(len, self._unsaved.values())))
        count = len(self._owed) + len(unsaved)
        job = self._remembering(members)

        def save() -> None:
            for record, _ in self._owed:
                self._store.records.put(record.group_id, [_row(record)])
            self._write(self._forgetting, unsaved)
            job()

        try:
            await self._ledger.run(save)
        except LocalError as error:
            records = f"{count} share records, and " if count else ""
            log.warning("%swho was in the groups of late could not be saved: %s", records, error)

    # Inside -----------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """The next of what is to be written, and so on until nothing is."""
        if self._is_saving or not (self._unsaved or self._forgetting):
            return
        forgetting, self._forgetting = self._forgetting, {}
        batch = self._take(SAVE_SLICE)
        self._is_saving = True

        def done(outcome: Outcome[None]) -> None:
            self._is_saving = False
            if self._has_worked(outcome):
                self._save()
            else:
                self._forgetting = forgetting | self._forgetting
                for group, key, _ in batch:
                    self._unsaved.setdefault(group, {})[key] = None

        self._ledger.submit(lambda: self._write(forgetting, batch), done)

    def _take(self, limit: int) -> Batch:
        """So many of what is to be written, as it is now."""
        batch: Batch = []
        while self._unsaved and len(batch) < limit:
            group, keys = next(iter(self._unsaved.items()))
            for key in list(islice(keys, limit - len(batch))):
                del keys[key]
                batch.append((group, key, self._held(group, key)))
            if not keys:
                del self._unsaved[group]
        return batch

    def _write(self, forgetting: dict[GroupId, PeerId], batch: Batch) -> None:
        """Of a group that was left the store takes nothing."""
        for group, publisher in forgetting.items():
            self._store.records.delete_others(group, publisher)
        for group in dict.fromkeys(group for group, _, _ in batch):
            mine = [(key, kept) for each, key, kept in batch if each == group]
            rows = [RecordRow(*key, kept.record) for key, kept in mine if kept.record is not None]
            self._store.records.put(group, rows)
            if numbers := [kept.number for _, kept in mine if kept.number is not None]:
                self._store.numbers.put(group, numbers, MAX_LEFT)
            self._store.records.delete(group, [key for key, kept in mine if kept.record is None])

    def _remembering(self, members: Members) -> _Remembering:
        return _Remembering(self._store, members, self._clock.wall(), self._clock.monotonic() >= self._prune_at)

    def _remembering_done(self, job: _Remembering, outcome: Outcome[None]) -> None:
        if self._has_worked(outcome):
            self._remembered(job)
        else:
            self._remember_at = min(self._remember_at, self._retry_at)

    def _remembered(self, job: _Remembering) -> None:
        if job.is_pruning:
            self._prune_at = self._clock.monotonic() + PRUNE_PERIOD

    def _has_worked(self, outcome: Outcome[None]) -> bool:
        """Whether it is written. What is no LocalError is a fault of ours, and raised."""
        if isinstance(outcome.error, LocalError):
            self._complain(outcome.error)
            return False
        outcome.result()
        return True

    def _complain(self, error: LocalError) -> None:
        now = self._clock.monotonic()
        self._retry_at = now + RETRY_PERIOD
        if now >= self._complain_at:
            self._complain_at = now + COMPLAINT_PERIOD
            log.warning("what members said cannot be written down, and is tried again: %s", error)


@dataclass(frozen=True, slots=True)
class _Remembering:
    """A job: write down who was there, and now and then forget who has not been for long."""

    store: Store
    members: Members
    wall: float
    is_pruning: bool

    def __call__(self) -> None:
        for group, members in self.members.items():
            if members:
                self.store.members.put(group, members, self.wall)
        if self.is_pruning:
            self.store.members.prune(self.wall, FORGET_PERIOD, MAX_MEMBERS)


def _row(record: Record) -> RecordRow:
    return RecordRow(record.publisher, record.share.name, record.encode())
