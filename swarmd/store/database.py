"""The one SQLite file of a node: opening it, its lock, its transactions, its errors.

What is kept is decided by `migrations` (the schema) and by the modules under `tables/` (one per subject); this
module knows no table.

Invariants: one connection and one lock, so a transaction sees no other one's half; a transaction that has returned is
on disk (WAL with synchronous=FULL); a schema newer than this program is refused, never touched.
It is not a queue: a caller holds the lock only while SQLite works, and no caller writes per chunk or per file.
A crash loses the transaction under way and nothing else.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from swarmd.core.errors import DiskFull, LocalError
from swarmd.store.migrations import upgrade
from swarmd.store.transactions import atomic

# A reader outside this process (a backup, `sqlite3` in a terminal) may hold the file for a moment.
_BUSY_TIMEOUT_S = 30.0
# SQLite says "full" for the file itself, and an I/O error when the shared-memory index cannot grow.
_FULL_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}


class StateFull(DiskFull):
    """There is no room for the database itself; what a download writes may be on another file system."""


class Database:
    """Safe to use from any thread. Queries give rows as tuples."""

    def __init__(self, path: str) -> None:
        """Open or create `path` (0600: it holds group secrets) and bring its schema up to date.

        LocalError when the file is no database of ours, or was written by a newer swarmd.
        """
        self.path = path
        self._lock = threading.RLock()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        # No isolation level: a statement on its own is a transaction, and all others begin in `transaction`.
        self._sql = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            with self._translated():
                self._sql.execute("PRAGMA journal_mode=WAL")
                self._sql.execute("PRAGMA synchronous=FULL")
                self._sql.execute("PRAGMA foreign_keys=ON")
                upgrade(self._sql, path)
        except BaseException:
            self._sql.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._sql.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing of it; nested blocks are savepoints. StateFull when there is no room."""
        with self._lock, self._translated(), atomic(self._sql):
            yield self._sql

    def query(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._translated():
            return self._sql.execute(sql, tuple(arguments)).fetchall()

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> int:
        """One statement in its own transaction (or in the one under way): how many rows it changed."""
        with self.transaction() as inner:
            return inner.execute(sql, tuple(arguments)).rowcount

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            # Constraint violations and wrong SQL are faults of ours and stay what they are.
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise self._local_error(error) from error

    def _local_error(self, error: sqlite3.DatabaseError) -> LocalError:
        code = getattr(error, "sqlite_errorcode", None)
        if code in _FULL_CODES:
            return StateFull(f"no room left for the database {self.path}: free some space on that file system")
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return LocalError(f"{self.path} is damaged ({error}): move it away and share and join again")
        return LocalError(f"the database {self.path} cannot be used: {error}")
