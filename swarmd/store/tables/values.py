"""Group values that this node puts into the DHT again and again, as they lie there: sealed and signed.

Leaving a group forgets its values with it. At most `MAX_VALUES` are kept, those used last.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from swarmd.core.ids import GroupId
from swarmd.store.database import Database

MAX_VALUES = 256
"""Each is put once an hour: a put every fourteen seconds."""


@dataclass(frozen=True, slots=True)
class ValueRow:
    group_id: GroupId
    key: str
    encoded: bytes = field(repr=False)
    """With seq and signature the item of BEP 44; its public key follows from group and key."""
    seq: int
    signature: bytes = field(repr=False)
    used_at: float
    """Wall clock, seconds: when a program here last read or wrote it."""


class ValuesTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, row: ValueRow) -> None:
        """Add or replace; the one that was used longest ago makes room. A row of a group that was left is dropped."""
        with self._database.transaction():
            self._database.execute(
                """INSERT OR REPLACE INTO group_values (group_id, key, encoded, seq, signature, used_at)
                SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM groups WHERE group_id = ?1)""",
                (row.group_id, row.key, row.encoded, row.seq, row.signature, row.used_at),
            )
            self._database.execute(
                """DELETE FROM group_values WHERE rowid NOT IN
                (SELECT rowid FROM group_values ORDER BY used_at DESC LIMIT ?)""",
                (MAX_VALUES,),
            )

    def rows(self) -> list[ValueRow]:
        """Those used last come first."""
        return [
            ValueRow(GroupId(group), key, encoded, seq, signature, used_at)
            for group, key, encoded, seq, signature, used_at in self._database.query(
                "SELECT group_id, key, encoded, seq, signature, used_at FROM group_values ORDER BY used_at DESC"
            )
        ]

    def delete(self, group: GroupId, key: str) -> bool:
        return self._database.execute("DELETE FROM group_values WHERE group_id = ? AND key = ?", (group, key)) > 0
