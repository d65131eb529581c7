"""Rows in, the same rows out, of every table; and what is forgotten together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmd.core.errors import LocalError
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.store.database import Database
from swarmd.store.tables.addresses import MAX_ADDRESSES, AddressesTable, AddressRow
from swarmd.store.tables.downloads import DownloadRow, DownloadsTable, State
from swarmd.store.tables.groups import (
    GroupRow,
    GroupsTable,
    MemberRow,
    MembersTable,
    RecordRow,
    RecordsTable,
)
from swarmd.store.tables.objects import CopiesTable, CopyRow, ObjectRow, ObjectsTable

GROUP, OTHER_GROUP = GroupId(b"g" * 32), GroupId(b"h" * 32)
PEER, OTHER_PEER = PeerId(b"p" * 32), PeerId(b"q" * 32)
CONTENT, OTHER_CONTENT = ContentId(b"c" * 32), ContentId(b"d" * 32)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(str(tmp_path / "swarmd.db"))
    yield opened
    opened.close()


def test_groups_come_back_in_the_order_of_joining(database: Database) -> None:
    groups = GroupsTable(database)
    late = GroupRow(GROUP, b"spec", joined_at=20.5)
    early = GroupRow(OTHER_GROUP, b"other", joined_at=10.0, is_listed=False, authorisation=b"signed", authority=b"key")
    groups.put(late)
    groups.put(early)
    assert groups.rows() == [early, late]
    assert groups.get(GROUP) == late
    assert groups.get(GroupId(bytes(32))) is None
    again = GroupRow(GROUP, b"spec", joined_at=20.5, authorisation=b"now")
    groups.put(again)
    assert groups.get(GROUP) == again


def test_group_secret_is_in_no_repr() -> None:
    assert "sesame" not in repr(GroupRow(GROUP, b"sesame", 0.0, authority=b"sesame"))


def test_leaving_a_group_forgets_its_members_and_records(database: Database) -> None:
    groups, members, records = GroupsTable(database), MembersTable(database), RecordsTable(database)
    member, record = MemberRow(PEER, b"addresses", 5.0), RecordRow(PEER, "name", b"record")
    for group in (GROUP, OTHER_GROUP):
        groups.put(GroupRow(group, b"spec", 0.0))
        members.put(group, [member], 9.0)
        records.put(group, [record])
    assert groups.delete(GROUP)
    assert not groups.delete(GROUP)
    assert (members.rows(GROUP), records.rows(GROUP)) == ([], [])
    assert (members.rows(OTHER_GROUP), records.rows(OTHER_GROUP)) == ([member], [record])
    members.put(GROUP, [member], 9.0)
    records.put(GROUP, [record])
    assert (members.rows(GROUP), records.rows(GROUP)) == ([], [])


def test_members_are_replaced_and_deleted_by_peer(database: Database) -> None:
    GroupsTable(database).put(GroupRow(GROUP, b"spec", 0.0))
    members = MembersTable(database)
    members.put(GROUP, [MemberRow(PEER, b"old", 1.0), MemberRow(OTHER_PEER, b"", 2.0)], 9.0)
    members.put(GROUP, [MemberRow(PEER, b"new", 3.0)], 9.0)
    assert members.rows(GROUP) == [MemberRow(PEER, b"new", 3.0), MemberRow(OTHER_PEER, b"", 2.0)]
    members.delete(GROUP, [OTHER_PEER, PeerId(bytes(32))])
    assert members.rows(GROUP) == [MemberRow(PEER, b"new", 3.0)]


def members_of(database: Database, *last_seen: float, named_at: float = 0.0) -> MembersTable:
    """A group with so many members; the first was heard of at the first of these times."""
    members = MembersTable(database)
    GroupsTable(database).put(GroupRow(GROUP, b"spec", 0.0))
    rows = [MemberRow(PeerId(bytes([number] * 32)), b"", seen) for number, seen in enumerate(last_seen)]
    members.put(GROUP, rows, named_at)
    return members


def seen(members: MembersTable) -> list[float]:
    return [row.last_seen for row in members.rows(GROUP)]


def test_members_that_were_long_unheard_are_forgotten(database: Database) -> None:
    members = members_of(database, 50.0, 149.0, 151.0, 200.0)
    assert members.prune(200.0, 50.0, 10) == 2
    assert seen(members) == [200.0, 151.0]
    assert members.prune(200.0, 50.0, 10) == 0


def test_members_named_of_late_and_never_heard_are_kept(database: Database) -> None:
    """Being written down again does not make them new."""
    members = members_of(database, -math.inf, named_at=100.0)
    members.put(GROUP, members.rows(GROUP), 120.0)
    assert members.prune(150.0, 50.0, 10) == 0
    members.put(GROUP, [MemberRow(PEER, b"", 151.0)], 151.0)
    assert members.prune(151.0, 50.0, 10) == 1
    assert seen(members) == [151.0]


def test_a_clock_that_is_ahead_makes_nobody_forgotten(database: Database) -> None:
    members = members_of(database, 151.0, 200.0)
    assert members.prune(1e9, 50.0, 10) == 0
    assert members_of(database).prune(-1e9, 50.0, 10) == 0


def test_of_too_many_members_those_heard_last_are_kept_in_each_group(database: Database) -> None:
    GroupsTable(database).put(GroupRow(OTHER_GROUP, b"spec", 0.0))
    members = members_of(database, 3.0, -math.inf, 5.0, 4.0)
    members.put(OTHER_GROUP, [MemberRow(PEER, b"", 1.0)], 0.0)
    assert members.prune(10.0, 100.0, 2) == 2
    assert seen(members) == [5.0, 4.0]
    assert len(members.rows(OTHER_GROUP)) == 1


def test_there_may_be_no_members_at_all(database: Database) -> None:
    assert MembersTable(database).prune(0.0, 1.0, 1) == 0


def test_records_are_kept_by_publisher_and_name(database: Database) -> None:
    GroupsTable(database).put(GroupRow(GROUP, b"spec", 0.0))
    records = RecordsTable(database)
    records.put(GROUP, [RecordRow(PEER, "a", b"1"), RecordRow(PEER, "b", b"2"), RecordRow(OTHER_PEER, "a", b"3")])
    records.put(GROUP, [RecordRow(PEER, "a", b"4")])
    records.delete(GROUP, [(PEER, "b")])
    assert records.rows(GROUP) == [RecordRow(PEER, "a", b"4"), RecordRow(OTHER_PEER, "a", b"3")]


def test_records_in_pages_and_without_those_of_others(database: Database) -> None:
    for group in (GROUP, OTHER_GROUP):
        GroupsTable(database).put(GroupRow(group, b"spec", 0.0))
    records = RecordsTable(database)
    rows = [RecordRow(peer, name, b"1") for peer in sorted((PEER, OTHER_PEER)) for name in ("a", "b", "c")]
    records.put(GROUP, rows)
    records.put(OTHER_GROUP, rows)
    assert records.page(GROUP, None, 4) == rows[:4]
    assert records.page(GROUP, (rows[3].publisher, rows[3].name), 4) == rows[4:]
    assert records.page(GROUP, (rows[5].publisher, rows[5].name), 4) == []
    records.delete_others(GROUP, PEER)
    assert records.rows(GROUP) == [row for row in rows if row.publisher == PEER]
    assert records.rows(OTHER_GROUP) == rows


def test_addresses_are_bounded_and_the_last_seen_come_first(database: Database) -> None:
    addresses = AddressesTable(database)
    addresses.put(AddressRow("10.0.0.1:1", None, 0.0))
    addresses.put(AddressRow("10.0.0.2:1", None, 0.0))
    addresses.put(AddressRow("10.0.0.2:1", PEER, 7.0))
    assert addresses.rows() == [AddressRow("10.0.0.2:1", PEER, 7.0), AddressRow("10.0.0.1:1", None, 0.0)]
    assert addresses.delete("10.0.0.1:1")
    assert not addresses.delete("10.0.0.1:1")
    with database.transaction():
        for number in range(1, MAX_ADDRESSES):
            addresses.put(AddressRow(f"[::1]:{number}", None, 0.0))
    with pytest.raises(LocalError, match="remove some"):
        addresses.put(AddressRow("[::1]:65535", None, 0.0))
    addresses.put(AddressRow("[::1]:1", PEER, 9.0))


def test_objects_live_while_a_copy_or_a_download_needs_them(database: Database) -> None:
    objects, copies, downloads = ObjectsTable(database), CopiesTable(database), DownloadsTable(database)
    for content_id in (CONTENT, OTHER_CONTENT):
        objects.put(ObjectRow(content_id, True, b"root", 5, 1 << 18, 1))
        objects.put_pages(content_id, [(1, 1, b"second"), (1, 0, b"first"), (2, 0, b"hashes")])
    copy = CopyRow(CONTENT, "/srv/\udcff/x", "x", 1, b"stamps")
    copies.put(copy)
    row = DownloadRow("abc", OTHER_CONTENT, None, "/srv", "x", "rarest", False)
    downloads.add(row)
    objects.collect()
    assert objects.pages(CONTENT, 1) == [b"first", b"second"]
    assert objects.page_numbers(OTHER_CONTENT, 2) == [0]
    assert objects.page(CONTENT, 2, 0) == b"hashes"
    assert objects.page(CONTENT, 2, 1) is None
    assert objects.copied(1 << 18) == [CONTENT]
    assert objects.copied(1 << 19) == []
    downloads.delete("abc")
    objects.collect()
    assert objects.get(OTHER_CONTENT) is None
    assert objects.pages(OTHER_CONTENT, 1) == []
    assert objects.get(CONTENT) == ObjectRow(CONTENT, True, b"root", 5, 1 << 18, 1)
    assert copies.of(CONTENT) == [copy]


def test_a_path_holds_one_object(database: Database) -> None:
    objects, copies = ObjectsTable(database), CopiesTable(database)
    for content_id in (CONTENT, OTHER_CONTENT):
        objects.put(ObjectRow(content_id, False, b"root", 5, 1 << 18, 1))
        copies.put(CopyRow(content_id, "/srv/x", "x", 1, b"stamps"))
    assert copies.of(CONTENT) == []
    assert [(copy.content_id, row.size) for copy, row in copies.rows()] == [(OTHER_CONTENT, 5)]
    assert copies.at("/srv/x") == CopyRow(OTHER_CONTENT, "/srv/x", "x", 1, b"stamps")
    assert copies.delete("/srv/x")
    assert copies.at("/srv/x") is None


def test_download_rows_come_back_and_change_by_column(database: Database) -> None:
    downloads = DownloadsTable(database)
    row = DownloadRow("abc", CONTENT, GROUP, "/srv", "naïve \U0001f600", "lowest", True, created_at=1_700_000_000_123)
    downloads.add(row)
    downloads.add(DownloadRow("abd", CONTENT, None, "/srv", "other", "rarest", False))
    assert downloads.rows()[0] == row
    downloads.update("abc", state=State.DATA, have=b"\x00\x05", error="stuck", paused=True)
    changed = downloads.rows()[0]
    assert (changed.state, changed.have, changed.error, changed.paused) == (State.DATA, b"\x00\x05", "stuck", True)
    assert [other.id for other in downloads.rows()] == ["abc", "abd"]
