"""Group values as programs here use them: put, got, and kept alive by whoever uses them.

In: commands, what the DHT holds. Out: values (`groups.rendezvous.values`), rows of the store.

A value that was written or read here is put again every PUT_PERIOD, as long as it was used in the last KEPT_PERIOD, in
this run or an earlier one; each time it is read first, so that the newest is kept alive and not ours. At most
MAX_VALUES are, those used last. What is in pieces (`rendezvous_pieces`) is put again with its pieces.

A value that was removed is kept as one that says so, as long as any other: whoever has used what was there before then
has let go of it, or has seen that it is gone.

Invariant: what `get` gives is the newest that this node knows of: a node of the DHT that hands out an older one is not
believed. What is written down is told: a put returns when nodes have taken it.
A crash loses what was not written down: a value read a moment ago is not kept alive for others.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from swarmd.core.errors import Conflict, LocalError, NoPeers, NotFound, RemoteError
from swarmd.core.ids import GroupId
from swarmd.daemon.advice import clock_apart
from swarmd.daemon.rendezvous_pieces import Pieces
from swarmd.daemon.rendezvous_work import Around, Job
from swarmd.daemon.workers import Outcome, Workers
from swarmd.dht.items import Item
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.rendezvous.largevalues import Large
from swarmd.groups.rendezvous.values import (
    AHEAD_LIMIT,
    SMALL_BYTES_LIMIT,
    Kind,
    Value,
    Values,
    checked_key,
    open_value,
    seal_value,
    slot_of,
)
from swarmd.identity.identity import Identity
from swarmd.store.store import Store
from swarmd.store.tables.values import MAX_VALUES, ValueRow

log = logging.getLogger(__name__)

PUT_PERIOD = 3600.0
"""Seconds, give or take a quarter: nodes forget after two hours."""
START_PERIOD = 300.0
"""Within which all are put after a start."""
KEPT_PERIOD = 7 * 86_400.0
TRIES = 3
"""Of a put, while others write the same key."""

_Place = tuple[GroupId, str]


@dataclass(slots=True)
class Kept:
    """used_at: wall time. put_at: monotonic, when it is put the next time."""

    value: Value
    used_at: float
    put_at: float


@dataclass(frozen=True, slots=True)
class Written:
    """A put: on so many nodes."""

    value: Value
    n_copies: int


@dataclass(frozen=True, slots=True)
class Read:
    """A value that is there, and what it is."""

    value: Value
    data: bytes


class GroupValues:
    """A `Part`, and the commands."""

    def __init__(self, around: Around, identity: Identity, store: Store, ledger: Workers) -> None:
        self._around, self._identity, self._store, self._ledger = around, identity, store, ledger
        self._values = Values()
        self._pieces = Pieces(around.dht, around.secrets)
        self._kept: dict[_Place, Kept] = {}
        self.kind, self.n_found = "value", 0

    async def load(self) -> None:
        """What earlier runs have used."""
        wall, now = self._around.wall, self._around.clock.monotonic()
        for row in await self._ledger.run(self._store.values.rows):
            if row.group_id not in self._around.memberships:
                continue
            spec = self._around.memberships.spec(row.group_id)
            item = Item(row.encoded, slot_of(spec, row.key).public, b"", row.seq, row.signature)
            try:
                value = self._values.take(open_value(spec, row.key, item, wall))
            except RemoteError as error:  # the clock was set back, perhaps
                log.info("group %s: the value of %r that was kept: %s", row.group_id.short, row.key, error)
                continue
            self._kept[row.group_id, row.key] = Kept(value, row.used_at, now + START_PERIOD * self._chance())

    # commands

    async def put(self, group: GroupId, key: str, data: bytes) -> Written:
        """Write it for all members. InvalidArgument (too long), NoPeers (nobody took it), Conflict (others write it,
        one that is dated in the future is in the way, or this one would be)."""
        key = checked_key(key)
        spec = self._spec(group)
        if len(data) <= SMALL_BYTES_LIMIT:
            return await self._write_over(spec, key, Kind.VALUE, data)
        return await self._write_over(spec, key, Kind.LARGE, (await self._pieces.put(data)).encode())

    async def remove(self, group: GroupId, key: str) -> Written:
        """It is gone, for all members. NotFound when it is not there; else as `put`."""
        key = checked_key(key)
        spec = self._spec(group)
        _there(*await self._newest(spec, key), key)
        return await self._write_over(spec, key, Kind.GONE, b"")

    async def get(self, group: GroupId, key: str) -> Read:
        """The newest value. NotFound when there is none that holds, or pieces of it are gone."""
        key = checked_key(key)
        spec = self._spec(group)
        newest, flaw = await self._newest(spec, key)
        if newest is not None:
            await self._note(newest)
        value = _there(newest, flaw, key)
        data = value.content
        if value.kind is Kind.LARGE:
            data = await self._pieces.get(Large.decode(value.content))
        await self._keep(value)
        return Read(value, data)

    def kept(self, group: GroupId | None = None) -> list[Kept]:
        """What is put again and again, by group and key."""
        self._forget()
        return [kept for place, kept in sorted(self._kept.items()) if group in (None, place[0])]

    # keeping alive

    def next_job(self, now: float) -> Job | None:
        self._forget()
        for place, kept in self._kept.items():
            if now >= kept.put_at:
                kept.put_at = now + PUT_PERIOD * (0.75 + self._chance() / 2)
                return partial(self._put_again, *place)
        return None

    async def _put_again(self, group: GroupId, key: str) -> None:
        try:
            spec = self._spec(group)
            newest, _ = await self._newest(spec, key)
            if newest is not None:
                await self._note(newest)
                await self._around.dht.put(newest.item)
                if newest.kind is Kind.LARGE:
                    await self._pieces.put_again(Large.decode(newest.content))
        except LocalError as error:
            log.debug("group %s: %r was not put again: %s", group.short, key, error)

    async def _note(self, value: Value) -> None:
        """It is the one that is kept alive now, if any is."""
        kept = self._kept.get((value.group_id, value.key))
        if kept is not None and value.supersedes(kept.value):
            kept.value = value
            await self._write(kept)

    async def _keep(self, value: Value) -> None:
        """A program here uses it."""
        place, now = (value.group_id, value.key), self._around.clock.monotonic()
        known = self._kept.pop(place, None)
        put_at = known.put_at if known is not None else now + PUT_PERIOD * (0.5 + self._chance() / 2)
        kept = self._kept[place] = Kept(value, self._around.wall, put_at)
        if len(self._kept) > MAX_VALUES:
            del self._kept[min(self._kept, key=lambda each: self._kept[each].used_at)]
        await self._write(kept)

    async def _write(self, kept: Kept) -> None:
        value, item = kept.value, kept.value.item
        row = ValueRow(value.group_id, value.key, item.encoded, item.seq, item.signature, kept.used_at)
        await self._ledger.run(partial(self._store.values.put, row))

    def _forget(self) -> None:
        """Groups that were left, and what nobody here has used for long."""
        oldest = self._around.wall - KEPT_PERIOD
        for place, kept in list(self._kept.items()):
            if place[0] not in self._around.memberships:
                del self._kept[place]
                self._values.forget_group(place[0])
            elif kept.used_at < oldest:
                del self._kept[place]
                self._ledger.submit(partial(self._store.values.delete, *place), _deleted)

    # inside

    async def _write_over(self, spec: GroupSpec, key: str, kind: Kind, content: bytes) -> Written:
        """In the place of what is there."""
        for _ in range(TRIES):
            await self._newest(spec, key)
            self._check_clock()
            time = self._values.next_time(spec.group_id, key, self._around.wall)
            value = seal_value(spec, self._identity, key, content, time, self._around.secrets, kind)
            done = await self._around.dht.put(value.item)
            if done.newer is None:
                break
        else:
            raise Conflict(f"others write {key!r} at the same time, or somebody has dated a value in the future")
        if not done.n_copies:
            raise NoPeers("no node of the DHT has taken the value: is anybody there? `swarm dht status` tells")
        await self._keep(self._values.take(value))
        return Written(value, done.n_copies)

    def _check_clock(self) -> None:
        ahead = self._around.dht.clock_ahead
        if ahead is not None and ahead > AHEAD_LIMIT:
            raise Conflict(
                f"{clock_apart(ahead)}: members would refuse what is dated so, and could write nothing else under that"
                " key until then; set the clock that is wrong (`timedatectl` shows it)"
            )

    def _spec(self, group: GroupId) -> GroupSpec:
        if group not in self._around.memberships:
            raise NotFound(f"this node is not in group {group.short} any more")
        return self._around.memberships.spec(group)

    async def _newest(self, spec: GroupSpec, key: str) -> tuple[Value | None, str]:
        """Out of the DHT, or what we knew already if that is newer; and why what lies there does not hold, if so."""
        item = await self._around.dht.get_mutable(slot_of(spec, key).public)
        flaw = ""
        if item is not None:
            self.n_found += 1
            flaw = self._opened(spec, key, item)
        return self._values.newest(spec.group_id, key), flaw

    def _opened(self, spec: GroupSpec, key: str, item: Item) -> str:
        """What is wrong with it."""
        try:
            self._values.take(open_value(spec, key, item, self._around.wall))
        except RemoteError as error:
            log.info("group %s: what lies under %r: %s", spec.group_id.short, key, error)
            return str(error)
        return ""

    def _chance(self) -> float:
        return self._around.chance.random()


def _there(value: Value | None, flaw: str, key: str) -> Value:
    if value is None and flaw:
        raise NotFound(f"what lies under {key!r} in this group does not hold: {flaw}")
    if value is None:
        raise NotFound(f"nobody has put a value under {key!r} in this group, or nobody has kept it alive")
    if value.is_gone:
        raise NotFound(f"what was under {key!r} in this group was removed by {value.author.short}")
    return value


def _deleted(outcome: Outcome[bool]) -> None:
    if outcome.error is not None:
        log.warning("a group's value that nobody uses was not deleted: %s", outcome.error)
