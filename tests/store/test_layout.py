"""Layout: which bytes of which files are chunk i, held against a plain count of every byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.store.entries import EntryTable
from swarmd.store.layout import Extent, Layout, count_chunks
from tests.store.samples import table_of, tables


def plain_chunks(entries: EntryTable, chunk_size: int) -> list[list[tuple[int, int]]]:
    """Each chunk as its bytes, each byte as (entry, offset): the definition, written down."""
    chunks = []
    packed: list[tuple[int, int]] = []
    for index in range(len(entries)):
        places = [(index, offset) for offset in range(entries.size(index))]
        if len(places) >= chunk_size:
            chunks += [places[at : at + chunk_size] for at in range(0, len(places), chunk_size)]
        else:
            packed += places
    return chunks + [packed[at : at + chunk_size] for at in range(0, len(packed), chunk_size)]


@given(tables(), st.integers(1, 700))
def test_every_byte_is_in_its_chunk(entries: EntryTable, chunk_size: int) -> None:
    layout = Layout(entries, chunk_size)
    expected = plain_chunks(entries, chunk_size)
    assert layout.n_chunks == count_chunks(entries, chunk_size) == len(expected)
    for chunk, places in enumerate(expected):
        extents = layout.extents(chunk)
        assert [(e.entry, e.offset + i) for e in extents for i in range(e.length)] == places
        assert layout.chunk_length(chunk) == len(places)
        assert layout.n_extents(chunk) == len(extents)
        assert all(extent.length for extent in extents)


@given(tables(), st.integers(1, 700))
def test_chunks_of_an_entry_are_those_with_its_bytes(entries: EntryTable, chunk_size: int) -> None:
    layout = Layout(entries, chunk_size)
    found: dict[int, list[int]] = {}
    for chunk in range(layout.n_chunks):
        for extent in layout.extents(chunk):
            found.setdefault(extent.entry, []).append(chunk)
    for entry in range(len(entries)):
        assert list(layout.chunks_of(entry)) == found.get(entry, [])


def test_large_files_come_first_and_on_a_boundary() -> None:
    layout = Layout(table_of({"a": 3, "b": 25, "c": 4, "d": 10}), 10)
    assert [layout.extents(chunk) for chunk in range(layout.n_chunks)] == [
        [Extent(2, 0, 10)],
        [Extent(2, 10, 10)],
        [Extent(2, 20, 5)],
        [Extent(4, 0, 10)],
        [Extent(1, 0, 3), Extent(3, 0, 4)],
    ]
    assert layout.packed_chunks == range(4, 5)


def test_a_renamed_large_file_keeps_its_chunks_whole() -> None:
    before = Layout(table_of({"a": 3, "b": 25}), 10)
    after = Layout(table_of({"a": 7, "sub": {"z": 25}}), 10)
    lengths = [(e.offset, e.length) for chunk in range(3) for e in before.extents(chunk)]
    assert lengths == [(e.offset, e.length) for chunk in range(3) for e in after.extents(chunk)]


@pytest.mark.parametrize("spec", [0, {}, {"empty": 0, "folder": {}}])
def test_what_has_no_bytes_has_no_chunks(spec: int | dict[str, int | dict[str, int]]) -> None:
    assert Layout(table_of(spec), 10).n_chunks == 0


@pytest.mark.parametrize("chunk", [-1, 2])
def test_a_chunk_that_is_not_there(chunk: int) -> None:
    layout = Layout(table_of(15), 10)
    with pytest.raises(IndexError):
        layout.extents(chunk)
    with pytest.raises(IndexError):
        layout.chunk_length(chunk)
