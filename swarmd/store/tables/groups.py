"""The groups this node is in, their remembered members, the catalogue records that were held for them, and the numbers
of those that gave way.

Groupspecs hold join secrets, so no row shows them in its repr. Leaving a group forgets its members and records with it.
Bounds are the owner's: `groups.membership` and `groups.catalogue` say how many members and records a group may have.
Members come and go for as long as a group lives, so whoever was not heard of for long is dropped by `prune`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from swarmd.core.ids import GroupId, PeerId
from swarmd.store.database import Database


@dataclass(frozen=True, slots=True)
class GroupRow:
    group_id: GroupId
    spec: bytes = field(repr=False)
    joined_at: float
    """Wall clock, seconds."""
    is_listed: bool = True
    """False for the group made for one share: `group list` leaves it out unless asked."""
    authorisation: bytes = b""
    authority: bytes = field(default=b"", repr=False)
    """The key that gives rights in the group, where this node holds it: a secret."""


@dataclass(frozen=True, slots=True)
class MemberRow:
    peer_id: PeerId
    addresses: bytes
    last_seen: float
    """Wall clock, seconds."""


@dataclass(frozen=True, slots=True)
class RecordRow:
    publisher: PeerId
    name: str
    record: bytes


class GroupsTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, row: GroupRow, members: Iterable[MemberRow] = (), wall: float = 0.0) -> None:
        """Add or replace the group, and add these members as of `wall`: all of it or nothing."""
        with self._database.transaction():
            self._database.execute(
                """INSERT INTO groups (group_id, spec, authorisation, authority, is_listed, joined_at)
                VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (group_id) DO UPDATE SET spec = excluded.spec,
                authorisation = excluded.authorisation, authority = excluded.authority, is_listed = excluded.is_listed,
                joined_at = excluded.joined_at""",
                (row.group_id, row.spec, row.authorisation, row.authority, row.is_listed, row.joined_at),
            )
            MembersTable(self._database).put(row.group_id, members, wall)

    def get(self, group_id: GroupId) -> GroupRow | None:
        return next(iter(self._select("WHERE group_id = ?", (group_id,))), None)

    def rows(self) -> list[GroupRow]:
        """In the order of joining."""
        return self._select("ORDER BY joined_at, rowid", ())

    def delete(self, group_id: GroupId) -> bool:
        """Forget the group, its members and its records. False when it was not there."""
        return self._database.execute("DELETE FROM groups WHERE group_id = ?", (group_id,)) > 0

    def _select(self, rest: str, arguments: tuple[bytes, ...]) -> list[GroupRow]:
        columns = "group_id, spec, joined_at, is_listed, authorisation, authority"
        return [
            GroupRow(GroupId(group), spec, joined_at, bool(listed), authorisation, authority)
            for group, spec, joined_at, listed, authorisation, authority in self._database.query(
                f"SELECT {columns} FROM groups {rest}", arguments
            )
        ]


class MembersTable:
    """Members of a group that answered before, or were named: hints for dialling after a restart."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, group_id: GroupId, rows: Iterable[MemberRow], wall: float) -> None:
        """Add or replace the rows, in one transaction. Rows of a group that was left are dropped."""
        with self._database.transaction() as sql:
            sql.executemany(
                """INSERT INTO members (group_id, peer_id, addresses, last_seen, noted_at)
                SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM groups WHERE group_id = ?1)
                ON CONFLICT (group_id, peer_id) DO UPDATE
                SET addresses = excluded.addresses, last_seen = excluded.last_seen""",
                [(group_id, row.peer_id, row.addresses, row.last_seen, wall) for row in rows],
            )

    def rows(self, group_id: GroupId) -> list[MemberRow]:
        """The ones seen last come first."""
        return [
            MemberRow(PeerId(peer), addresses, last_seen)
            for peer, addresses, last_seen in self._database.query(
                "SELECT peer_id, addresses, last_seen FROM members WHERE group_id = ? ORDER BY last_seen DESC",
                (group_id,),
            )
        ]

    def prune(self, wall: float, period: float, most: int) -> int:
        """Forget who was not heard of for `period` seconds (nor first named in that time), and of each group all but
        the `most` heard of last. How many that were.

        The time is that of the newest row where the clock is ahead of it: a machine that starts in a wrong year, or
        was off for half of one, forgets nobody.
        """
        with self._database.transaction() as sql:
            newest = sql.execute("SELECT MAX(MAX(last_seen, noted_at)) FROM members").fetchone()[0]
            cutoff = min(wall, newest if newest is not None else wall) - period
            old = sql.execute("DELETE FROM members WHERE MAX(last_seen, noted_at) < ?", (cutoff,)).rowcount
            excess = sql.execute(
                """DELETE FROM members WHERE rowid IN (SELECT id FROM (
                SELECT rowid AS id, ROW_NUMBER() OVER (
                    PARTITION BY group_id ORDER BY last_seen DESC, noted_at DESC) AS place
                FROM members) WHERE place > ?)""",
                (most,),
            ).rowcount
        return old + excess

    def delete(self, group_id: GroupId, peers: Iterable[PeerId]) -> None:
        with self._database.transaction() as sql:
            sql.executemany(
                "DELETE FROM members WHERE group_id = ? AND peer_id = ?", [(group_id, peer) for peer in peers]
            )


class RecordsTable:
    """The catalogue of each group as it was held: the newest signed record of each (publisher, name)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, group_id: GroupId, rows: Iterable[RecordRow]) -> None:
        """Add or replace the rows, in one transaction. Rows of a group that was left are dropped."""
        with self._database.transaction() as sql:
            sql.executemany(
                """INSERT OR REPLACE INTO records (group_id, publisher, name, record)
                SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM groups WHERE group_id = ?1)""",
                [(group_id, row.publisher, row.name, row.record) for row in rows],
            )

    def rows(self, group_id: GroupId) -> list[RecordRow]:
        return [
            RecordRow(PeerId(publisher), name, record)
            for publisher, name, record in self._database.query(
                "SELECT publisher, name, record FROM records WHERE group_id = ? ORDER BY publisher, name", (group_id,)
            )
        ]

    def page(self, group_id: GroupId, after: tuple[PeerId, str] | None, limit: int) -> list[RecordRow]:
        """The next of the rows beyond this publisher and name, at most `limit`: to read many without holding all."""
        rows = self._database.query(
            """SELECT publisher, name, record FROM records WHERE group_id = ? AND (publisher, name) > (?, ?)
            ORDER BY publisher, name LIMIT ?""",
            (group_id, *(after or (b"", "")), limit),
        )
        return [RecordRow(PeerId(publisher), name, record) for publisher, name, record in rows]

    def delete_others(self, group_id: GroupId, publisher: PeerId) -> None:
        """All but the rows of this publisher."""
        self._database.execute("DELETE FROM records WHERE group_id = ? AND publisher != ?", (group_id, publisher))

    def delete(self, group_id: GroupId, keys: Iterable[tuple[PeerId, str]]) -> None:
        with self._database.transaction() as sql:
            sql.executemany(
                "DELETE FROM records WHERE group_id = ? AND publisher = ? AND name = ?",
                [(group_id, publisher, name) for publisher, name in keys],
            )


class NumbersTable:
    """What share records that gave way to a bound have left behind: the seq below which nothing comes back, by the
    digest of publisher and name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, group_id: GroupId, numbers: Iterable[tuple[bytes, int]], most: int) -> None:
        """Add or replace these, and keep the `most` that were put last. Those of a group that was left are dropped."""
        with self._database.transaction() as sql:
            sql.executemany(
                """INSERT OR REPLACE INTO left_numbers (group_id, key, seq)
                SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM groups WHERE group_id = ?1)""",
                [(group_id, key, seq) for key, seq in numbers],
            )
            sql.execute(
                """DELETE FROM left_numbers WHERE group_id = ?1 AND rowid <= (
                SELECT rowid FROM left_numbers WHERE group_id = ?1 ORDER BY rowid DESC LIMIT 1 OFFSET ?2)""",
                (group_id, most),
            )

    def rows(self, group_id: GroupId) -> list[tuple[bytes, int]]:
        """In the order in which they were put."""
        return [
            (key, seq)
            for key, seq in self._database.query(
                "SELECT key, seq FROM left_numbers WHERE group_id = ? ORDER BY rowid", (group_id,)
            )
        ]
