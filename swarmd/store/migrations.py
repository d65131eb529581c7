"""The schema of the node's database, as numbered steps. A released step is never edited: a change is a new step.

Invariant: a database carries the names of the steps it has been through; one with a step unknown here was written by
a newer swarmd and is refused before anything is changed. A crash during a step leaves the database before it.

The table of names is that of sqlite-utils, which earlier versions used: either reads what the other wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from sqlite3 import Connection

from swarmd.core.errors import LocalError
from swarmd.store.transactions import atomic

_SET = "swarmd"
_TABLE = """CREATE TABLE IF NOT EXISTS _sqlite_migrations (
    id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)"""
_INDEX = """CREATE UNIQUE INDEX IF NOT EXISTS idx__sqlite_migrations_migration_set_name
    ON _sqlite_migrations (migration_set, name)"""


# Paths are BLOBs: a local path is bytes on Unix and need not be UTF-8. IDs are 32-byte BLOBs.
def _first(db: Connection) -> None:
    # What is known of an object, whether its data is here or not. `pages` holds its manifest behind the root.
    db.execute(
        """CREATE TABLE objects (
            content_id BLOB PRIMARY KEY, is_folder INTEGER NOT NULL, root BLOB NOT NULL, size INTEGER NOT NULL,
            chunk_size INTEGER NOT NULL, n_chunks INTEGER NOT NULL)"""
    )
    db.execute("CREATE INDEX objects_by_chunk_size ON objects (chunk_size)")
    db.execute(
        """CREATE TABLE pages (
            content_id BLOB NOT NULL REFERENCES objects ON DELETE CASCADE, kind INTEGER NOT NULL,
            number INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (content_id, kind, number))"""
    )
    # Where a whole object lies. `stamps`: one packed FileStamp for each of its files, in canonical order.
    db.execute(
        """CREATE TABLE copies (
            path BLOB PRIMARY KEY, content_id BLOB NOT NULL REFERENCES objects, name TEXT NOT NULL,
            n_files INTEGER NOT NULL, stamps BLOB NOT NULL)"""
    )
    db.execute("CREATE INDEX copies_by_content_id ON copies (content_id)")
    # `have`: an encoded RangeSet. `part`: device of the target folder, device and inode of NAME.part.
    # `inodes`: of each file in NAME.part, packed; 0 where it is not made yet.
    db.execute(
        """CREATE TABLE downloads (
            id TEXT PRIMARY KEY, content_id BLOB NOT NULL, group_id BLOB, target BLOB NOT NULL, name TEXT NOT NULL,
            pick_order TEXT NOT NULL, overwrite INTEGER NOT NULL, state TEXT NOT NULL, paused INTEGER NOT NULL,
            error TEXT NOT NULL, have BLOB NOT NULL, part BLOB NOT NULL, inodes BLOB NOT NULL)"""
    )
    db.execute("CREATE INDEX downloads_by_content_id ON downloads (content_id)")
    db.execute(
        """CREATE TABLE groups (
            group_id BLOB PRIMARY KEY, spec BLOB NOT NULL, authorisation BLOB NOT NULL, authority BLOB NOT NULL,
            is_listed INTEGER NOT NULL, joined_at REAL NOT NULL)"""
    )
    db.execute(
        """CREATE TABLE members (
            group_id BLOB NOT NULL REFERENCES groups ON DELETE CASCADE, peer_id BLOB NOT NULL,
            addresses BLOB NOT NULL, last_seen REAL NOT NULL, PRIMARY KEY (group_id, peer_id))"""
    )
    db.execute(
        """CREATE TABLE records (
            group_id BLOB NOT NULL REFERENCES groups ON DELETE CASCADE, publisher BLOB NOT NULL,
            name TEXT NOT NULL, record BLOB NOT NULL, PRIMARY KEY (group_id, publisher, name))"""
    )
    # Addresses a user named (`peer add`) or that answered once, before it is known which groups are there.
    db.execute("CREATE TABLE addresses (address TEXT PRIMARY KEY, peer_id BLOB, last_seen REAL NOT NULL)")


def _downloads_begin(db: Connection) -> None:
    # Milliseconds of wall time. Of the downloads that are there it is not known: by now they had begun.
    db.execute("ALTER TABLE downloads ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0")
    db.execute("UPDATE downloads SET created_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000")


def _members_noted(db: Connection) -> None:
    # Wall clock, seconds: when a row was first written. `last_seen` is -infinity for a member that never answered.
    db.execute("ALTER TABLE members ADD COLUMN noted_at REAL NOT NULL DEFAULT 0")
    db.execute("UPDATE members SET noted_at = CAST(strftime('%s', 'now') AS REAL)")


def _background(db: Connection) -> None:
    # Whether it gives way to all other traffic.
    db.execute("ALTER TABLE downloads ADD COLUMN background INTEGER NOT NULL DEFAULT 0")


def _dht(db: Connection) -> None:
    # Of one network: the node's place, whom it knew, what it held for others. Then what it has put there itself.
    item = "encoded BLOB NOT NULL, key BLOB NOT NULL, salt BLOB NOT NULL, seq INTEGER NOT NULL, signature BLOB NOT NULL"
    db.execute("CREATE TABLE dht_node (network BLOB PRIMARY KEY, node_id BLOB NOT NULL, node_id_ipv6 BLOB NOT NULL)")
    db.execute("CREATE TABLE dht_contacts (address TEXT PRIMARY KEY, node_id BLOB NOT NULL)")
    db.execute(
        f"""CREATE TABLE dht_items (
            target BLOB PRIMARY KEY, {item}, source TEXT NOT NULL, expires_at REAL NOT NULL, put_at REAL NOT NULL)"""
    )
    db.execute(
        """CREATE TABLE dht_peers (
            info_hash BLOB NOT NULL, address TEXT NOT NULL, source TEXT NOT NULL, expires_at REAL NOT NULL,
            PRIMARY KEY (info_hash, address))"""
    )
    db.execute(
        f"""CREATE TABLE dht_own (
            root BLOB NOT NULL, target BLOB NOT NULL, label TEXT NOT NULL, size INTEGER NOT NULL,
            kept_at REAL NOT NULL, {item}, PRIMARY KEY (root, target))"""
    )


def _group_values(db: Connection) -> None:
    # What is put into the DHT again and again: the bencoded value, seq and signature of an item of BEP 44.
    db.execute(
        """CREATE TABLE group_values (
            group_id BLOB NOT NULL REFERENCES groups ON DELETE CASCADE, key TEXT NOT NULL, encoded BLOB NOT NULL,
            seq INTEGER NOT NULL, signature BLOB NOT NULL, used_at REAL NOT NULL, PRIMARY KEY (group_id, key))"""
    )


def _left_numbers(db: Connection) -> None:
    # Of share records that gave way to a bound: the digest of publisher and name, and the seq below which nothing comes
    # back under them.
    db.execute(
        """CREATE TABLE left_numbers (
            group_id BLOB NOT NULL REFERENCES groups ON DELETE CASCADE, key BLOB NOT NULL, seq INTEGER NOT NULL,
            PRIMARY KEY (group_id, key))"""
    )
    db.execute("CREATE INDEX left_numbers_by_group ON left_numbers (group_id)")


_STEPS: dict[str, Callable[[Connection], None]] = {
    "0001_first": _first,
    "0002_downloads_begin": _downloads_begin,
    "0003_members_noted": _members_noted,
    "0004_background": _background,
    "0005_dht": _dht,
    "0006_group_values": _group_values,
    "0007_left_numbers": _left_numbers,
}


def upgrade(db: Connection, path: str) -> None:
    """Apply the steps not yet applied. LocalError when the schema is newer than this program."""
    applied = _applied(db)
    unknown = sorted(applied - _STEPS.keys())
    if unknown:
        raise LocalError(
            f"the database {path} was written by a newer swarmd (it knows step {unknown[-1]}): upgrade swarmd, "
            "or use another state folder"
        )
    for name, step in _STEPS.items():
        if name not in applied:
            with atomic(db):
                step(db)
                _record(db, name)


def _applied(db: Connection) -> set[str]:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
        return set()
    return {name for (name,) in db.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (_SET,))}


def _record(db: Connection, name: str) -> None:
    db.execute(_TABLE)
    db.execute(_INDEX)
    db.execute(
        """INSERT INTO _sqlite_migrations (migration_set, name, applied_at)
        VALUES (?, ?, strftime('%Y-%m-%d %H:%M:%f', 'now') || '000+00:00')""",
        (_SET, name),
    )
