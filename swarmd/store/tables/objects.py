"""What is known of objects: the manifest of each, and where whole copies of it lie.

An object stays known while a copy or a download refers to it; `collect` drops the others with their pages.
A path holds one object: sharing it again with other content moves the path to the new object.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from swarmd.core.ids import ContentId
from swarmd.store.database import Database


@dataclass(frozen=True, slots=True)
class ObjectRow:
    content_id: ContentId
    is_folder: bool
    root: bytes = field(repr=False)
    size: int
    chunk_size: int
    n_chunks: int


@dataclass(frozen=True, slots=True)
class CopyRow:
    content_id: ContentId
    path: str
    name: str
    n_files: int
    stamps: bytes = field(repr=False)
    """One packed stamp for each file, in canonical order."""


_OBJECT = "content_id, is_folder, root, size, chunk_size, n_chunks"
_COPY = "content_id, path, name, n_files, stamps"


class ObjectsTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, row: ObjectRow) -> None:
        self._database.execute(
            f"INSERT OR IGNORE INTO objects ({_OBJECT}) VALUES (?, ?, ?, ?, ?, ?)",
            (row.content_id, row.is_folder, row.root, row.size, row.chunk_size, row.n_chunks),
        )

    def get(self, content_id: ContentId) -> ObjectRow | None:
        rows = self._database.query(f"SELECT {_OBJECT} FROM objects WHERE content_id = ?", (content_id,))
        return next((_object_row(*row) for row in rows), None)

    def put_pages(self, content_id: ContentId, pages: Iterable[tuple[int, int, bytes]]) -> None:
        """Pages as (kind, number, data); ones already there are left as they are."""
        with self._database.transaction() as sql:
            sql.executemany(
                "INSERT OR IGNORE INTO pages (content_id, kind, number, data) VALUES (?, ?, ?, ?)",
                [(content_id, kind, number, data) for kind, number, data in pages],
            )

    def page(self, content_id: ContentId, kind: int, number: int) -> bytes | None:
        rows = self._database.query(
            "SELECT data FROM pages WHERE content_id = ? AND kind = ? AND number = ?", (content_id, kind, number)
        )
        return rows[0][0] if rows else None

    def pages(self, content_id: ContentId, kind: int) -> list[bytes]:
        """All pages of that kind that are here, in order."""
        rows = self._database.query(
            "SELECT data FROM pages WHERE content_id = ? AND kind = ? ORDER BY number", (content_id, kind)
        )
        return [row[0] for row in rows]

    def page_numbers(self, content_id: ContentId, kind: int) -> list[int]:
        rows = self._database.query(
            "SELECT number FROM pages WHERE content_id = ? AND kind = ? ORDER BY number", (content_id, kind)
        )
        return [row[0] for row in rows]

    def copied(self, chunk_size: int) -> list[ContentId]:
        """The objects of that chunk size that are somewhere here as a whole."""
        rows = self._database.query(
            "SELECT DISTINCT content_id FROM objects JOIN copies USING (content_id) WHERE chunk_size = ?", (chunk_size,)
        )
        return [ContentId(row[0]) for row in rows]

    def collect(self) -> None:
        """Drop what neither a copy nor a download refers to."""
        self._database.execute(
            """DELETE FROM objects WHERE content_id NOT IN (SELECT content_id FROM copies)
            AND content_id NOT IN (SELECT content_id FROM downloads)"""
        )


class CopiesTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, row: CopyRow) -> None:
        """Add, or replace what the path held. The object must be there."""
        self._database.execute(
            f"INSERT OR REPLACE INTO copies ({_COPY}) VALUES (?, ?, ?, ?, ?)",
            (row.content_id, os.fsencode(row.path), row.name, row.n_files, row.stamps),
        )

    def restamp(self, path: str, stamps: bytes) -> None:
        """The same files have other stamps."""
        self._database.execute("UPDATE copies SET stamps = ? WHERE path = ?", (stamps, os.fsencode(path)))

    def at(self, path: str) -> CopyRow | None:
        rows = self._database.query(f"SELECT {_COPY} FROM copies WHERE path = ?", (os.fsencode(path),))
        return next((_copy_row(*row) for row in rows), None)

    def of(self, content_id: ContentId) -> list[CopyRow]:
        rows = self._database.query(f"SELECT {_COPY} FROM copies WHERE content_id = ? ORDER BY rowid", (content_id,))
        return [_copy_row(*row) for row in rows]

    def rows(self) -> Iterator[tuple[CopyRow, ObjectRow]]:
        """Every copy with its object, in the order they came; neither stamps nor roots are loaded."""
        rows = self._database.query(
            """SELECT copies.content_id, path, name, n_files, is_folder, size, chunk_size, n_chunks
            FROM copies JOIN objects USING (content_id) ORDER BY copies.rowid"""
        )
        for content_id, path, name, n_files, *rest in rows:
            is_folder, size, chunk_size, n_chunks = rest
            yield (
                _copy_row(content_id, path, name, n_files, b""),
                _object_row(content_id, is_folder, b"", size, chunk_size, n_chunks),
            )

    def delete(self, path: str) -> bool:
        return self._database.execute("DELETE FROM copies WHERE path = ?", (os.fsencode(path),)) > 0


def _object_row(content_id: bytes, is_folder: int, root: bytes, size: int, chunk_size: int, n_chunks: int) -> ObjectRow:
    return ObjectRow(ContentId(content_id), bool(is_folder), root, size, chunk_size, n_chunks)


def _copy_row(content_id: bytes, path: bytes, name: str, n_files: int, stamps: bytes) -> CopyRow:
    return CopyRow(ContentId(content_id), os.fsdecode(path), name, n_files, stamps)
