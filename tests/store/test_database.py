"""The database file: its mode, its durability settings, its errors, its threads, its schema's age."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database as SqliteUtils
from sqlite_utils import Migrations

from swarmd.core.clock import SystemClock
from swarmd.core.errors import DiskFull, LocalError
from swarmd.store.database import Database
from swarmd.store.migrations import _STEPS, _first
from swarmd.store.tables.downloads import DownloadsTable, State


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(str(tmp_path / "swarmd.db"))
    yield opened
    opened.close()


def _put(database: Database, address: str) -> None:
    database.execute("INSERT INTO addresses (address, last_seen) VALUES (?, 0)", (address,))


def _addresses(database: Database) -> list[str]:
    return [row[0] for row in database.query("SELECT address FROM addresses ORDER BY address")]


def test_file_is_private_and_every_commit_is_synced(database: Database) -> None:
    assert stat.S_IMODE(os.stat(database.path).st_mode) == 0o600
    assert database.query("PRAGMA journal_mode") == [("wal",)]
    assert database.query("PRAGMA synchronous") == [(2,)]
    assert database.query("PRAGMA foreign_keys") == [(1,)]


def test_transaction_is_all_or_nothing(database: Database) -> None:
    with pytest.raises(ValueError, match="half way"), database.transaction():
        _put(database, "a")
        raise ValueError("half way")
    assert _addresses(database) == []


def test_inner_transaction_fails_alone(database: Database) -> None:
    with database.transaction():
        _put(database, "a")
        with pytest.raises(sqlite3.IntegrityError), database.transaction():
            _put(database, "b")
            _put(database, "a")
        _put(database, "c")
    assert _addresses(database) == ["a", "c"]


def test_transactions_of_threads_do_not_mix(database: Database) -> None:
    def add(first: int) -> None:
        for number in range(first, first + 20):
            with database.transaction():
                count = len(_addresses(database))
                _put(database, f"{number:04}")
                assert len(_addresses(database)) == count + 1

    threads = [threading.Thread(target=add, args=(first,)) for first in range(0, 100, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _addresses(database) == [f"{number:04}" for number in range(100)]


def test_committed_rows_survive_kill_9(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from swarmd.store.database import Database
from swarmd.store.migrations import _first
from swarmd.store.tables.downloads import DownloadsTable, State
database = Database(sys.argv[1])
database.execute("INSERT INTO addresses (address, last_seen) VALUES ('kept', 0)")
with database.transaction() as sql:
    sql.execute("INSERT INTO addresses (address, last_seen) VALUES ('lost', 0)")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "swarmd.db"
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == -9
    database = Database(str(path))
    assert _addresses(database) == ["kept"]
    database.close()


def test_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "swarmd.db"
    database = Database(str(path))
    newer = Migrations("swarmd")
    newer(name="9999_of_the_future")(lambda db: None)
    database.close()
    with closing(sqlite3.connect(path)) as connection:
        newer.apply(SqliteUtils(connection))
    before = path.read_bytes()
    with pytest.raises(LocalError, match=r"newer swarmd.*9999_of_the_future.*upgrade"):
        Database(str(path))
    assert path.read_bytes() == before


def test_downloads_of_the_first_schema_get_a_beginning(tmp_path: Path) -> None:
    """When they began was not kept: the time of the upgrade stands for it."""
    path = tmp_path / "swarmd.db"
    connection = sqlite3.connect(path)
    old = SqliteUtils(connection)
    first = Migrations("swarmd")
    first(name="0001_first")(lambda db: _first(db.conn))
    first.apply(old)
    old.execute(
        """INSERT INTO downloads VALUES
        ('abc', zeroblob(32), NULL, CAST('/srv' AS BLOB), 'x', 'rarest', 0, 'data', 0, '', x'00', x'', x'')"""
    )
    connection.commit()
    connection.close()
    before = SystemClock().wall()
    for _ in range(2):
        database = Database(str(path))
        (row,) = DownloadsTable(database).rows()
        assert row.state is State.DATA
        assert int(before) * 1000 <= row.created_at <= SystemClock().wall() * 1000
        database.close()


def test_steps_are_noted_as_sqlite_utils_does(database: Database) -> None:
    """Databases were made by way of it before: either finds what the other has done."""
    steps = Migrations("swarmd")
    for name in _STEPS:
        steps(name=name)(lambda db: pytest.fail("this step has been taken"))
    with closing(sqlite3.connect(database.path)) as connection:
        utils = SqliteUtils(connection)
        before = utils.schema
        steps.apply(utils)
        assert [step.name for step in steps.applied(utils)] == list(_STEPS)
        assert utils.schema == before


def test_a_step_that_fails_leaves_the_database_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE half (a)")
        raise ValueError("half way")

    path = str(tmp_path / "swarmd.db")
    monkeypatch.setitem(_STEPS, "0999_half", half)
    with pytest.raises(ValueError, match="half way"):
        Database(path)
    monkeypatch.delitem(_STEPS, "0999_half")
    with closing(Database(path)) as database:
        assert database.query("SELECT name FROM sqlite_master WHERE name = 'half'") == []
        assert [name for (name,) in database.query("SELECT name FROM _sqlite_migrations")] == list(_STEPS)


def test_reopening_keeps_the_rows(tmp_path: Path) -> None:
    first = Database(str(tmp_path / "swarmd.db"))
    _put(first, "a")
    first.close()
    again = Database(str(tmp_path / "swarmd.db"))
    assert _addresses(again) == ["a"]
    again.close()


def test_file_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "swarmd.db"
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(LocalError, match=r"swarmd\.db is damaged.*move it away"):
        Database(str(path))
    assert path.read_bytes() == b"no database at all" * 1000


def test_full_database_raises_disk_full_and_recovers(database: Database) -> None:
    pages = database.query("PRAGMA page_count")[0][0]
    database.query(f"PRAGMA max_page_count={pages}")
    with pytest.raises(DiskFull, match="no room left"):
        for number in range(1000):
            _put(database, f"{number:0100}")
    held = len(_addresses(database))
    database.query("PRAGMA max_page_count=1000000")
    _put(database, "room again")
    assert len(_addresses(database)) == held + 1


def test_mistakes_of_ours_are_not_hidden(database: Database) -> None:
    with pytest.raises(sqlite3.ProgrammingError):
        database.query("SELECT ?", (1, 2))
