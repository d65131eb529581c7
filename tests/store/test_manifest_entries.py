"""EntryTable: what a tree may hold, and what is refused before it can reach a disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.store.entries import (
    LINK_MODE,
    MAX_DEPTH,
    MAX_SIZE,
    Entry,
    EntryKind,
    EntryTable,
    TreeFault,
    check_link_target,
)
from tests.store.samples import Spec, entries_of, table_of, tables

FILE, DIRECTORY, SYMLINK = EntryKind
TOP = Entry((), DIRECTORY)


def file(*path: str, size: int = 1, mode: int = 0o644) -> Entry:
    return Entry(path, FILE, size, mode)


def link(*path: str, target: str) -> Entry:
    return Entry(path, SYMLINK, 0, LINK_MODE, target)


HOSTILE = {
    "dot dot": [file("..")],
    "a folder dot dot": [Entry(("..",), DIRECTORY)],
    "dot": [file(".")],
    "no name": [file("")],
    "a slash": [file("a/b")],
    "absolute": [file("/etc/passwd")],
    "a NUL": [file("a\0b")],
    "a backslash": [file("..\\a")],
    "a drive": [file("C:a")],
    "a device of Windows": [file("NUL.txt")],
    "a trailing dot": [file("a.")],
    "a control character": [file("a\x1b[2J")],
    "half a surrogate": [file("a\ud800")],
    "a long name": [file("ä" * 128)],
    "two equal names": [file("a"), file("a")],
    "a file and a folder of one name": [file("a"), Entry(("a",), DIRECTORY)],
    "names that differ in case": [file("README"), file("readme")],
    "names that differ in case beyond ASCII": [file("STRASSE"), file("straße")],
    "names that differ in Unicode form": [file("e\u0301"), file("\u00e9")],
    "unsorted": [file("b"), file("a")],
    "sorted as letters and not as bytes": [file("a"), file("B")],
    "a missing parent": [file("a", "b")],
    "a file as parent": [file("a"), file("a", "b")],
    "a link as parent": [link("a", target="b"), file("a", "b")],
    "a child that comes late": [Entry(("a",), DIRECTORY), file("b"), file("a", "c")],
    "a second top": [Entry((), DIRECTORY)],
    "a link out of the tree": [link("a", target="../b")],
    "an absolute link": [link("a", target="/etc/passwd")],
    "a link out by a detour": [Entry(("d",), DIRECTORY), link("d", "a", target="x/../../../b")],
    "a link that turns back behind a name": [link("a", target="b/..")],
    "a link with an empty component": [link("a", target="b//c")],
    "a link to nothing": [link("a", target="")],
    "a link with a NUL": [link("a", target="b\0c")],
    "a link with permissions": [Entry(("a",), SYMLINK, 0, 0o644, "b")],
    "a link without a target": [Entry(("a",), SYMLINK, 0, LINK_MODE)],
    "a long link": [link("a", target="/".join(["b" * 200] * 21))],
    "a file with a target": [Entry(("a",), FILE, 1, 0o644, "b")],
    "a folder with a size": [Entry(("a",), DIRECTORY, 1)],
    "set-uid": [file("a", mode=0o4755)],
    "no permission for its owner": [file("a", mode=0o077)],
    "a folder shut to its owner": [Entry(("a",), DIRECTORY, 0, 0o677)],
    "a negative size": [file("a", size=-1)],
    "a size beyond the bound": [file("a", size=MAX_SIZE + 1)],
    "sizes that add up beyond the bound": [file("a", size=MAX_SIZE), file("b", size=1)],
    "a size beyond 64 bits": [file("a", size=2**64)],
    "a depth bomb": [Entry(("d",) * depth, DIRECTORY) for depth in range(1, MAX_DEPTH + 2)],
    "a long path": [Entry(("d" * 250,) * depth, DIRECTORY) for depth in range(1, 14)],
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE.keys())
def test_refused(entries: list[Entry]) -> None:
    EntryTable.of([TOP, *entries[:-1]])
    with pytest.raises(TreeFault):
        EntryTable.of([TOP, *entries])


def test_refused_at_the_top() -> None:
    for entries in ([], [file("a")], [link(target="a")], [file(), file("a")]):
        with pytest.raises(TreeFault):
            EntryTable.of(entries)


def test_a_fault_names_the_path_and_prints_safely() -> None:
    with pytest.raises(TreeFault, match=r"d/a\\x1b cannot travel"):
        EntryTable.of([TOP, Entry(("d",), DIRECTORY), file("d", "a\x1b")])


ALLOWED: list[Spec] = [
    {},
    {"empty folder": {}, "empty file": 0},
    {"файл": 1, "文件": {"\U0001f600": 2}, "naïve": 3, "-rf": 4, "...x": 5, ".hidden": 6},
    {"a": {"up": "../b", "here": ".", "parent": "..", "deep": "c/d", "dangling": "no/such"}, "b": 1},
    {"a": {"b": 1}, "a b": 2, "a-": 3},
]


@pytest.mark.parametrize("spec", ALLOWED)
def test_allowed(spec: Spec) -> None:
    assert list(table_of(spec)) == list(entries_of(spec))


def test_the_deepest_tree() -> None:
    entries = [Entry(("d",) * depth, DIRECTORY) for depth in range(MAX_DEPTH + 1)]
    assert EntryTable.of(entries).depth(MAX_DEPTH) == MAX_DEPTH


@given(tables())
def test_every_way_of_asking_agrees(entries: EntryTable) -> None:
    listed = list(entries)
    assert [entries[index] for index in range(len(entries))] == listed
    assert list(entries.paths()) == [entry.path for entry in listed]
    assert [entries.find(entry.path) for entry in listed] == list(range(len(entries)))
    assert [entries.path(entries.parent(index)) for index in range(1, len(entries))] == [
        entry.path[:-1] for entry in listed[1:]
    ]
    assert [entries.name(index).encode() for index in range(len(entries))] == [
        entries.name_bytes(index) for index in range(len(entries))
    ]
    assert entries.n_files == sum(entry.kind is FILE for entry in listed)
    assert entries.total_size == sum(entry.size for entry in listed)
    assert EntryTable.of(listed) == entries
    assert entries.find(("no", "such")) is None


def test_tables_differ_in_any_value() -> None:
    table = table_of({"a": 1, "l": "a"})
    others: list[Spec] = [
        {"a": 2, "l": "a"},
        {"b": 1, "l": "a"},
        {"a": 1, "l": "b"},
        {"a": {}, "l": "a"},
        {"a": 1},
    ]
    for spec in others:
        assert table_of(spec) != table
    assert EntryTable.of([TOP, file("a", mode=0o600), link("l", target="a")]) != table


def test_out_of_range() -> None:
    with pytest.raises(IndexError):
        table_of({"a": 1})[2]


@given(st.lists(st.sampled_from(["..", ".", "", "a", "l", "\0"]), max_size=6), st.integers(0, 3))
def test_a_link_that_passes_stays_in_the_tree(parts: list[str], depth: int) -> None:
    """However the names in it are links themselves: "l" is taken to lead to the very top."""
    target = "/".join(parts)
    try:
        check_link_target(target, depth)
    except RemoteError:
        return
    level = depth
    for part in target.split("/"):
        level = {"..": level - 1, "l": 0, ".": level}.get(part, level + 1)
        assert level >= 0
