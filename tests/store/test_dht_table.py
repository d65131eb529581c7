"""What a DHT node takes over a restart: rows in, the same rows out, of one network, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from swarmd.core.errors import Conflict
from swarmd.store.database import Database
from swarmd.store.tables.dht import MAX_OWN, Cache, DhtTable, ItemFields, OwnRow, PeerRow, StoredRow

NETWORK, OTHER = b"n" * 16, b"public"
ITEM = ItemFields(b"t" * 20, b"5:value", b"", b"", 0, b"")
MUTABLE = ItemFields(b"u" * 20, b"3:new", b"k" * 32, b"salt", 2**63 - 1, b"s" * 64)
STORED = (StoredRow(ITEM, "192.0.2", 7000.5, 10.25), StoredRow(MUTABLE, "::1", 8000.0, 20.0))
PEERS = (PeerRow(b"h" * 20, "192.0.2.1:5", "192.0.2", 99.0), PeerRow(b"h" * 20, "[2001:db8::1]:6", "x", 98.0))
CACHE = Cache(NETWORK, b"a" * 20, b"b" * 20, ((b"c" * 20, "192.0.2.1:1"), (b"d" * 20, "[::1]:2")), STORED, PEERS)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[DhtTable]:
    opened = Database(str(tmp_path / "swarmd.db"))
    yield DhtTable(opened)
    opened.close()


def test_there_and_back(table: DhtTable) -> None:
    assert table.cache(NETWORK) is None
    table.save(CACHE)
    assert table.cache(NETWORK) == CACHE
    assert table.cache(OTHER) is None, "each network by itself"


def test_the_next_takes_its_place(table: DhtTable) -> None:
    table.save(CACHE)
    newer = replace(STORED[1], item=replace(MUTABLE, encoded=b"5:newer", seq=1), expires_at=9000.0)
    later = replace(STORED[0], expires_at=7600.0, item=replace(ITEM, target=b"v" * 20))
    after = replace(CACHE, node_id=b"e" * 20, contacts=CACHE.contacts[1:], items=(newer, later), peers=PEERS[:1])
    table.save(after)
    assert table.cache(NETWORK) == after
    table.save(replace(after, network=OTHER, contacts=(), items=(), peers=()))
    assert table.cache(NETWORK) is None
    empty = table.cache(OTHER)
    assert empty is not None
    assert (empty.contacts, empty.items, empty.peers) == ((), (), ())


def test_items_are_added_beside_what_is_there(table: DhtTable) -> None:
    table.add(NETWORK, STORED)
    table.save(replace(CACHE, items=STORED[:1]))
    newer = replace(STORED[0], expires_at=9000.0)
    table.add(OTHER, STORED)
    assert table.cache(NETWORK) == replace(CACHE, items=STORED[:1]), "of another network than what is there"
    table.add(NETWORK, [newer, STORED[1]])
    assert table.cache(NETWORK) == replace(CACHE, items=(newer, STORED[1]))


def own(number: int, root: bytes = b"r" * 20) -> OwnRow:
    return OwnRow(root, "label", 5, 10.5, replace(ITEM, target=b"%020d" % number))


def test_own_items_by_their_roots(table: DhtTable) -> None:
    first, second = [own(1), own(2)], [replace(own(2, b"q" * 20), kept_at=11.0)]
    table.keep(first)
    table.keep(second)
    assert table.own() == [*first, *second], "one item may be of two values"
    table.keep(first[:1])
    assert table.own() == [first[0], *second], "in place of what was there"
    assert table.forget(b"r" * 20)
    assert not table.forget(b"r" * 20)
    assert table.own() == second


def test_own_items_are_bounded(table: DhtTable) -> None:
    table.keep([own(number) for number in range(MAX_OWN)])
    with pytest.raises(Conflict):
        table.keep([own(MAX_OWN, b"q" * 20)])
    assert len(table.own()) == MAX_OWN
    table.keep([own(number) for number in range(MAX_OWN)])
    assert len(table.own()) == MAX_OWN, "the same again is no more"
