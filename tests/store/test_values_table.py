"""Group values that are kept alive: rows in, the same rows out, those used last stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from swarmd.core.ids import GroupId
from swarmd.store.database import Database
from swarmd.store.tables.groups import GroupRow, GroupsTable
from swarmd.store.tables.values import MAX_VALUES, ValueRow, ValuesTable

GROUP, OTHER = GroupId(b"g" * 32), GroupId(b"h" * 32)
ROW = ValueRow(GROUP, "motd", b"5:value", 2**62, b"s" * 64, 5.5)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(str(tmp_path / "swarmd.db"))
    for group in (GROUP, OTHER):
        GroupsTable(opened).put(GroupRow(group, b"spec", 0.0))
    yield opened
    opened.close()


def test_there_and_back(database: Database) -> None:
    values, later = ValuesTable(database), replace(ROW, key="é", used_at=6.0)
    values.put(ROW)
    values.put(later)
    assert values.rows() == [later, ROW]
    again = replace(ROW, encoded=b"3:new", used_at=7.0)
    values.put(again)
    assert values.rows() == [again, later]
    assert values.delete(GROUP, "é")
    assert not values.delete(OTHER, "motd")
    assert values.rows() == [again]


def test_leaving_a_group_forgets_its_values(database: Database) -> None:
    values, other = ValuesTable(database), replace(ROW, group_id=OTHER)
    values.put(ROW)
    values.put(other)
    GroupsTable(database).delete(GROUP)
    assert values.rows() == [other]
    values.put(ROW)
    assert values.rows() == [other], "what comes too late is dropped"


def test_what_was_used_longest_ago_makes_room(database: Database) -> None:
    values = ValuesTable(database)
    for number in range(MAX_VALUES + 3):
        values.put(replace(ROW, key=str(number), used_at=float(number)))
    kept = values.rows()
    assert len(kept) == MAX_VALUES
    assert {"0", "1", "2"}.isdisjoint(row.key for row in kept)
