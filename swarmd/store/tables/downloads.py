"""What a download needs to go on after a restart, and what the list of transfers shows of it.

The row is written when the state changes and at each commit, never for a chunk. `have` only ever claims chunks that
were synced before the row was written; the caller (`store.download`) sees to that order.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum

from swarmd.core.ids import ContentId, GroupId
from swarmd.store.database import Database


class State(StrEnum):
    METADATA = "metadata"
    """The root or entry pages are missing; nothing is on the disk."""
    PREPARING = "preparing"
    """NAME.part is about to be made, or was just made: if one exists it is ours, and empty."""
    DATA = "data"
    """NAME.part is ours; `have` says what is in it."""
    FINISHING = "finishing"
    """Everything is in NAME.part and synced; it is about to be renamed, or just was."""
    FINISHED = "finished"
    """NAME is a served copy; the row is a memory for the list of transfers."""
    DISCARDING = "discarding"
    """NAME.part is being deleted, and the row after it."""


@dataclass(frozen=True, slots=True)
class DownloadRow:
    id: str
    content_id: ContentId
    group_id: GroupId | None
    target: str
    name: str
    order: str
    overwrite: bool
    state: State = State.METADATA
    paused: bool = False
    error: str = ""
    have: bytes = field(default=b"", repr=False)
    part: bytes = field(default=b"", repr=False)
    inodes: bytes = field(default=b"", repr=False)
    created_at: int = 0
    """Milliseconds of wall time."""
    background: bool = False
    """It gives way to all other traffic."""


class DownloadsTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, row: DownloadRow) -> None:
        self._database.execute(
            f"INSERT INTO downloads ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.id,
                row.content_id,
                row.group_id,
                os.fsencode(row.target),
                row.name,
                row.order,
                row.overwrite,
                row.state,
                row.paused,
                row.error,
                row.have,
                row.part,
                row.inodes,
                row.created_at,
                row.background,
            ),
        )

    def rows(self) -> list[DownloadRow]:
        """In the order they were added."""
        return [_row(*values) for values in self._database.query(f"SELECT {_COLUMNS} FROM downloads ORDER BY rowid")]

    def update(self, download_id: str, **columns: str | bytes | int) -> None:
        """Set the named columns (names of this module's own, never a caller's input)."""
        assignments = ", ".join(f"{column} = ?" for column in columns)
        self._database.execute(f"UPDATE downloads SET {assignments} WHERE id = ?", (*columns.values(), download_id))

    def delete(self, download_id: str) -> None:
        self._database.execute("DELETE FROM downloads WHERE id = ?", (download_id,))


_COLUMNS = (
    "id, content_id, group_id, target, name, pick_order, overwrite, state, paused, error, have, part, inodes,"
    " created_at, background"
)


def _row(
    id: str,
    content_id: bytes,
    group_id: bytes | None,
    target: bytes,
    name: str,
    order: str,
    overwrite: int,
    state: str,
    paused: int,
    error: str,
    have: bytes,
    part: bytes,
    inodes: bytes,
    created_at: int,
    background: int,
) -> DownloadRow:
    return DownloadRow(
        id,
        ContentId(content_id),
        None if group_id is None else GroupId(group_id),
        os.fsdecode(target),
        name,
        order,
        bool(overwrite),
        State(state),
        bool(paused),
        error,
        have,
        part,
        inodes,
        created_at,
        bool(background),
    )
