"""What a node of the DHT takes over a restart: its place, whom it knows, what it keeps for others, and what it has put
there itself and puts again.

All but the own items are a cache, for one network: rows of another (`network`) are as good as none. Times are wall
clock, seconds. Items lie here as they travel: the bencoded value, and of a mutable one key, salt, seq and signature.

Invariant: at most MAX_OWN own items. The cache has no bound of its own: it is what the node held, which is bounded.
A crash loses of the cache what came after the last `save` or `add`, of the own items nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from swarmd.core.errors import Conflict
from swarmd.store.database import Database

MAX_OWN = 2_000
"""Each is put once an hour. A value of 1 MiB is some 1,100."""

_ITEM = "target, encoded, key, salt, seq, signature"


@dataclass(frozen=True, slots=True)
class ItemFields:
    """An item of BEP 44."""

    target: bytes
    encoded: bytes = field(repr=False)
    key: bytes
    salt: bytes
    seq: int
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredRow:
    """Kept for others. `source`: whose share of the room it takes."""

    item: ItemFields
    source: str
    expires_at: float
    put_at: float


@dataclass(frozen=True, slots=True)
class PeerRow:
    """An announcement."""

    info_hash: bytes
    address: str
    source: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Cache:
    network: bytes
    node_id: bytes
    node_id_ipv6: bytes
    contacts: tuple[tuple[bytes, str], ...]
    """Node ID and address."""
    items: tuple[StoredRow, ...]
    peers: tuple[PeerRow, ...]


@dataclass(frozen=True, slots=True)
class OwnRow:
    """One item of a value that was put here: `root` is the value's key, `label` what its owner calls it."""

    root: bytes
    label: str
    size: int
    """Of the whole value."""
    kept_at: float
    item: ItemFields


class DhtTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, cache: Cache) -> None:
        """In place of what was saved before; what has not changed is not written again."""
        with self._database.transaction() as sql:
            self._database.execute("DELETE FROM dht_node")
            self._database.execute("DELETE FROM dht_contacts")
            self._database.execute("DELETE FROM dht_peers")
            self._database.execute(
                "INSERT INTO dht_node (network, node_id, node_id_ipv6) VALUES (?, ?, ?)",
                (cache.network, cache.node_id, cache.node_id_ipv6),
            )
            sql.executemany("INSERT OR REPLACE INTO dht_contacts (address, node_id) VALUES (?2, ?1)", cache.contacts)
            sql.executemany(
                "INSERT OR REPLACE INTO dht_peers (info_hash, address, source, expires_at) VALUES (?, ?, ?, ?)",
                [(row.info_hash, row.address, row.source, row.expires_at) for row in cache.peers],
            )
            self._save_items(cache.items)

    def _save_items(self, items: Iterable[StoredRow]) -> None:
        rows = self._database.query("SELECT target, seq, CAST(expires_at AS INTEGER) FROM dht_items")
        saved = {target: (seq, expires_at) for target, seq, expires_at in rows}
        with self._database.transaction() as sql:
            self._write_items(row for row in items if saved.get(row.item.target) != (row.item.seq, int(row.expires_at)))
            gone = saved.keys() - {row.item.target for row in items}
            sql.executemany("DELETE FROM dht_items WHERE target = ?", [(target,) for target in gone])

    def add(self, network: bytes, items: Iterable[StoredRow]) -> None:
        """Beside what was saved, if that is of this network: what is gone from memory stays until the next `save`."""
        with self._database.transaction():
            if self._database.query("SELECT 1 FROM dht_node WHERE network = ?", (network,)):
                self._write_items(items)

    def _write_items(self, items: Iterable[StoredRow]) -> None:
        with self._database.transaction() as sql:
            sql.executemany(
                f"""INSERT OR REPLACE INTO dht_items ({_ITEM}, source, expires_at, put_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                [(*_values(row.item), row.source, row.expires_at, row.put_at) for row in items],
            )

    def cache(self, network: bytes) -> Cache | None:
        """None when there is none of this network."""
        node = self._database.query("SELECT node_id, node_id_ipv6 FROM dht_node WHERE network = ?", (network,))
        if not node:
            return None
        contacts = self._database.query("SELECT node_id, address FROM dht_contacts")
        items = self._database.query(f"SELECT {_ITEM}, source, expires_at, put_at FROM dht_items")
        peers = self._database.query("SELECT info_hash, address, source, expires_at FROM dht_peers")
        node_id, node_id_ipv6 = node[0]
        return Cache(
            network,
            node_id,
            node_id_ipv6,
            contacts=tuple((node_id, address) for node_id, address in contacts),
            items=tuple(StoredRow(ItemFields(*row[:6]), *row[6:]) for row in items),
            peers=tuple(PeerRow(*row) for row in peers),
        )

    def keep(self, rows: Iterable[OwnRow]) -> None:
        """In place of what is there under the same roots. Conflict when there would be too many."""
        rows = list(rows)
        with self._database.transaction() as sql:
            for root in {row.root for row in rows}:
                self._database.execute("DELETE FROM dht_own WHERE root = ?", (root,))
            n_others = self._database.query("SELECT COUNT(DISTINCT target) FROM dht_own")[0][0]
            if n_others + len(rows) > MAX_OWN:
                raise Conflict(f"{MAX_OWN} items of the DHT are kept already")
            sql.executemany(
                f"INSERT INTO dht_own (root, label, size, kept_at, {_ITEM}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(row.root, row.label, row.size, row.kept_at, *_values(row.item)) for row in rows],
            )

    def own(self) -> list[OwnRow]:
        """The oldest first."""
        rows = self._database.query(f"SELECT root, label, size, kept_at, {_ITEM} FROM dht_own ORDER BY kept_at, root")
        return [OwnRow(root, label, size, kept_at, ItemFields(*item)) for root, label, size, kept_at, *item in rows]

    def forget(self, root: bytes) -> bool:
        return self._database.execute("DELETE FROM dht_own WHERE root = ?", (root,)) > 0


def _values(item: ItemFields) -> tuple[bytes, bytes, bytes, bytes, int, bytes]:
    return item.target, item.encoded, item.key, item.salt, item.seq, item.signature
