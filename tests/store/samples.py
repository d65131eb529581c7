"""Trees to test with: as tables, as files on a disk, and as hypothesis finds them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, Union

from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.names import check_component, collision_key
from swarmd.store.entries import LINK_MODE, Entry, EntryKind, EntryTable

Spec: TypeAlias = Mapping[str, Union["Spec", int, str]]
"""What is in a folder, by name: a folder, the size of a file, or the target of a link."""
NOBODY = 65534


def entries_of(spec: Spec, path: tuple[str, ...] = ()) -> Iterator[Entry]:
    yield Entry(path, EntryKind.DIRECTORY)
    for name in sorted(spec, key=str.encode):
        value = spec[name]
        if isinstance(value, int):
            yield Entry((*path, name), EntryKind.FILE, value, 0o644)
        elif isinstance(value, str):
            yield Entry((*path, name), EntryKind.SYMLINK, 0, LINK_MODE, value)
        else:
            yield from entries_of(value, (*path, name))


def table_of(spec: Spec | int) -> EntryTable:
    """Of a folder, or of a single file of that size."""
    return EntryTable.of([Entry((), EntryKind.FILE, spec, 0o644)] if isinstance(spec, int) else entries_of(spec))


def make_folder(folder: Path, spec: Spec) -> Path:
    """Put it on the disk; each file's bytes follow from its path and size, and no two are alike."""
    for entry in entries_of(spec):
        place = folder.joinpath(*entry.path)
        if entry.kind is EntryKind.DIRECTORY:
            place.mkdir()
        elif entry.kind is EntryKind.SYMLINK:
            place.symlink_to(entry.target or "")
        else:
            place.write_bytes(filler("/".join(entry.path), entry.size))
    return folder


def filler(seed: str, size: int) -> bytes:
    pattern = f"<{seed}>".encode()
    block = b"".join(b"%d%b" % (number, pattern) for number in range(1 + min(size, 4096) // len(pattern)))
    return (block * (1 + size // len(block)))[:size]


NAMES = st.one_of(
    st.sampled_from(["a", "b", "A b", "ä", "é", "файл", "文件", "x.tar.gz", "-rf", "~", "zz", "ﬁ", "\U0001f600"]),
    st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\\:. "),
        max_size=8,
        min_size=1,
    ),
)
SPECS: st.SearchStrategy[Spec] = st.recursive(
    st.dictionaries(NAMES, st.integers(0, 3000), max_size=6),
    lambda inner: st.dictionaries(NAMES, st.one_of(inner, st.integers(0, 3000)), max_size=5),
    max_leaves=12,
)
"""Without links, and with names that may collide: see `tables`."""


@st.composite
def tables(draw: st.DrawFn) -> EntryTable:
    """Any valid table of small files."""
    if draw(st.integers(0, 9)) == 0:
        return table_of(draw(st.integers(0, 10_000)))
    return table_of(_without_collisions(draw(SPECS)))


def _without_collisions(spec: Spec) -> Spec:
    kept: dict[str, Spec | int | str] = {}
    keys: set[str] = set()
    for name, value in spec.items():
        try:
            check_component(name)
        except RemoteError:
            continue
        if collision_key(name) not in keys:
            keys.add(collision_key(name))
            kept[name] = _without_collisions(value) if isinstance(value, Mapping) else value
    return kept


@contextmanager
def as_nobody() -> Iterator[None]:
    """As a user who is not root: tests of permissions mean nothing to root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
