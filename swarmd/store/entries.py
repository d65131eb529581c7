"""What a shared tree is made of: files, folders and links, in one canonical order, and whether they may be.

An `EntryTable` holds the entries of one object. Entry 0 is the object itself, with the empty path: a file,
or the folder whose contents are the entries that follow. The order is depth first, the names in a folder
sorted by their UTF-8 bytes, which is the order of the paths as tuples of str.

Invariant: a table is valid once built. `TableBuilder.add` refuses what cannot be created below a folder on
every system without leaving it: names that cannot travel, two names in a folder that are equal or differ
only in case or Unicode form, an entry whose parent is missing, is a file or is a link, another order than
the canonical one, a link that leads out of the tree, and more than the bounds below. It raises `TreeFault`,
which the scanner turns into a `LocalError` and the decoder into a `RemoteError`.

Entries are columns, not Python objects: about 35 bytes each, where an `Entry` takes 500. `Entry` objects
are made when asked for. There are no times, owners or chunk hashes here, and no file is touched.
"""

from __future__ import annotations

import enum
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from swarmd.core.errors import RemoteError, SwarmError
from swarmd.core.names import check_component, collision_key
from swarmd.core.terminal import escape

MAX_ENTRIES = 1 << 21
"""Two million; ImageNet has 1.3. Checking that many names in one folder takes 270 MiB, the table 75 after that."""
MAX_DEPTH = 100
"""Folders within folders, as in libtorrent: a walk of a tree holds one descriptor for each."""
MAX_TARGET_BYTES = 4095
"""Of a symbolic link: the limit of Linux (PATH_MAX without its NUL)."""
MAX_SIZE = 1 << 44
"""Bytes of one object, 16 TiB: what the largest manifest can name. Sums of sizes stay far below 64 bits."""
LINK_MODE = 0o777
"""Links have no permissions of their own on Linux; one value keeps equal trees equal."""
MODE_BITS = 9
"""Permissions only: a peer never hands out set-uid, set-gid or sticky bits."""
OWNER_READS = (0o400, 0o500, 0)
"""By kind, permissions that are always set: without them a node could not serve what it has fetched."""
MAX_PATH_BYTES = 3072
"""Of a whole path with its slashes. Linux' limit is 4,096 (PATH_MAX): the rest is for where the tree lies."""
_MODE_MASK = (1 << MODE_BITS) - 1
_SHOWN_CHARACTERS = 200
"""Of a path in an error message, from its end."""


class EntryKind(enum.IntEnum):
    """Also the kind of an object, which is never SYMLINK."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2


_KINDS = tuple(EntryKind)


class TreeFault(SwarmError):
    """Why an entry cannot be in a tree. Internal to the store: its callers see a LocalError or a
    RemoteError."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or link; `path` is relative to the object, () for the object itself.

    `size` in bytes is 0 for what is no FILE, `mode` is LINK_MODE for a SYMLINK, and only a SYMLINK has a
    `target`.
    """

    path: tuple[str, ...]
    kind: EntryKind
    size: int = 0
    mode: int = 0o755
    target: str | None = None


class EntryTable:
    """The entries of one object by index. Nothing changes it, so threads may share it."""

    __slots__ = (
        "__weakref__",
        "_depths",
        "_metas",
        "_parents",
        "_sizes",
        "_text_at",
        "_texts",
        "n_files",
        "total_size",
    )

    def __init__(self) -> None:
        """An empty table, for TableBuilder alone to fill."""
        self._depths = bytearray()
        self._metas = array("H")
        self._parents = array("I")
        self._sizes = array("Q")
        self._texts = bytearray()
        """The names, each link's target behind its name and a NUL."""
        self._text_at = array("I", [0])
        self.n_files = 0
        self.total_size = 0

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> EntryTable:
        """A table of `entries` in canonical order. TreeFault."""
        builder = TableBuilder()
        for entry in entries:
            builder.add_entry(entry)
        return builder.finish()

    def __len__(self) -> int:
        return len(self._metas)

    def __getitem__(self, index: int) -> Entry:
        return self._entry(range(len(self))[index], self.path(index))

    def __iter__(self) -> Iterator[Entry]:
        return map(self._entry, range(len(self)), self.paths())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EntryTable):
            return NotImplemented
        # The parents follow from these.
        return (
            self._metas == other._metas
            and self._sizes == other._sizes
            and self._depths == other._depths
            and self._text_at == other._text_at
            and self._texts == other._texts
        )

    __hash__ = None  # type: ignore[assignment]

    def name(self, index: int) -> str:
        """The last component of the path; "" for entry 0."""
        return self.name_bytes(index).decode()

    def name_bytes(self, index: int) -> bytes:
        """The name in UTF-8."""
        text = bytes(self._texts[self._text_at[index] : self._text_at[index + 1]])
        return text.partition(b"\0")[0] if self._metas[index] >> MODE_BITS == EntryKind.SYMLINK else text

    def path(self, index: int) -> tuple[str, ...]:
        """Its components below the object."""
        names = []
        index = range(len(self))[index]
        while index:
            names.append(self.name(index))
            index = self._parents[index]
        return tuple(reversed(names))

    def kind(self, index: int) -> EntryKind:
        return _KINDS[self._metas[index] >> MODE_BITS]

    def mode(self, index: int) -> int:
        return self._metas[index] & _MODE_MASK

    def size(self, index: int) -> int:
        return self._sizes[index]

    def target(self, index: int) -> str | None:
        """Where a link points; None for the other kinds."""
        if self._metas[index] >> MODE_BITS != EntryKind.SYMLINK:
            return None
        return self._texts[self._text_at[index] : self._text_at[index + 1]].partition(b"\0")[2].decode()

    def depth(self, index: int) -> int:
        """How many components the path has."""
        return self._depths[index]

    def parent(self, index: int) -> int:
        """The index of the folder it lies in; 0 for entry 0."""
        return self._parents[index]

    @property
    def sizes(self) -> memoryview:
        """The size of every entry, read-only."""
        return memoryview(self._sizes).toreadonly()

    def paths(self) -> Iterator[tuple[str, ...]]:
        """Every path in order, at a fraction of the cost of `path` for each."""
        folder: tuple[str, ...] = ()
        folder_index = 0
        for index, parent in enumerate(self._parents):
            if parent != folder_index:
                folder, folder_index = self.path(parent), parent
            yield (*folder, self.name(index)) if index else ()

    def find(self, path: tuple[str, ...]) -> int | None:
        """The index of the entry with that path."""
        index = bisect_left(range(len(self)), path, key=self.path)
        return index if index < len(self) and self.path(index) == path else None

    def _entry(self, index: int, path: tuple[str, ...]) -> Entry:
        return Entry(path, self.kind(index), self.size(index), self.mode(index), self.target(index))


@dataclass(slots=True)
class _OpenFolder:
    """A folder that the next entry may lie in."""

    index: int
    path_bytes: int
    """Of its path and a slash behind it."""
    last_name: str = ""
    keys: set[str] = field(default_factory=set)
    """Collision keys of the names so far: the only part that grows by more than a column's bytes."""


class TableBuilder:
    """Takes entries in canonical order and checks each against all before it. A TreeFault ends it."""

    __slots__ = ("_folders", "_table")

    def __init__(self) -> None:
        self._table = EntryTable()
        self._folders: list[_OpenFolder] = []
        """The folders on the way to the last entry, which may itself be the last of them."""

    def add_entry(self, entry: Entry) -> None:
        """TreeFault when `entry` may not come next."""
        path = entry.path
        if path and tuple(self._open_path()[: len(path) - 1]) != path[:-1]:
            raise TreeFault(f"{_shown(path)} does not follow its folder")
        self.add(len(path), entry.kind, entry.mode, entry.size, path[-1] if path else "", entry.target)

    # 1.8 us an entry: python -m tests.bench.hashing
    def add(self, depth: int, kind: EntryKind, mode: int, size: int, name: str, target: str | None = None) -> None:
        """The next entry lies `depth` deep in the last folder of depth - 1. TreeFault when it may not."""
        folders = self._folders
        if depth:
            del folders[depth:]
            self._check_place(depth, name)
        elif name or len(self._table) or kind is EntryKind.SYMLINK:
            raise TreeFault("a tree has one file or folder at its top, without a name")
        self._check_values(kind, mode, size, name, target)
        table = self._table
        index = len(table)
        table._depths.append(depth)
        table._metas.append(kind << MODE_BITS | mode)
        table._parents.append(folders[-1].index if depth else 0)
        table._sizes.append(size)
        name_bytes = name.encode()
        path_bytes = (folders[-1].path_bytes if depth else 0) + len(name_bytes)
        if path_bytes > MAX_PATH_BYTES:
            raise self._fault(name, f"has a path of more than {MAX_PATH_BYTES} bytes")
        table._texts += name_bytes if target is None else b"%b\0%b" % (name_bytes, target.encode())
        table._text_at.append(len(table._texts))
        table.total_size += size
        if kind is EntryKind.FILE:
            table.n_files += 1
        elif kind is EntryKind.DIRECTORY:
            folders.append(_OpenFolder(index, path_bytes + 1 if depth else 0))

    def finish(self) -> EntryTable:
        """The table; the builder takes no more. TreeFault when it is empty."""
        if not len(self._table):
            raise TreeFault("a tree without even a top")
        self._folders = []
        return self._table

    def _check_place(self, depth: int, name: str) -> None:
        if depth > len(self._folders):
            raise TreeFault(f"{_shown((name,))} lies {depth} folders deep in what is no folder")
        if depth > MAX_DEPTH:
            raise TreeFault(f"more than {MAX_DEPTH} folders within each other")
        folder = self._folders[-1]
        try:
            check_component(name)
        except RemoteError as error:
            raise self._fault(name, f"cannot travel: {error}") from None
        if name <= folder.last_name:
            raise self._fault(name, "occurs twice" if name == folder.last_name else "is out of order")
        key = collision_key(name)
        if key in folder.keys:
            raise self._fault(name, "differs from another name in its folder only in case or Unicode form")
        folder.keys.add(key)
        folder.last_name = name

    def _check_values(self, kind: EntryKind, mode: int, size: int, name: str, target: str | None) -> None:
        if len(self._table) >= MAX_ENTRIES:
            raise TreeFault(f"more than {MAX_ENTRIES} files, folders and links")
        if not 0 <= mode <= _MODE_MASK or OWNER_READS[kind] & ~mode:
            raise self._fault(name, f"has the mode {mode:o}, which is no mode or shuts its owner out")
        if kind is EntryKind.FILE:
            if not 0 <= size <= MAX_SIZE - self._table.total_size:
                raise self._fault(name, f"makes the tree larger than {MAX_SIZE} bytes")
        elif size:
            raise self._fault(name, "is no file and has a size")
        if (kind is EntryKind.SYMLINK) != (target is not None):
            raise self._fault(name, "has a target if it is no link, or is a link without one")
        if target is not None:
            if mode != LINK_MODE:
                raise self._fault(name, "is a link with permissions")
            try:
                check_link_target(target, len(self._folders) - 1)
            except RemoteError as error:
                shown = escape(target)[:_SHOWN_CHARACTERS]
                raise self._fault(name, f"is a link to {shown}: {error}") from None

    def _open_path(self) -> list[str]:
        return [self._table.name(folder.index) for folder in self._folders[1:]]

    def _fault(self, name: str, reason: str) -> TreeFault:
        return TreeFault(f"{_shown((*self._open_path(), name))} {reason}")


def check_link_target(target: str, depth: int) -> None:
    """RemoteError unless a link `depth` folders below the top stays in the tree, whatever is there.

    Only this form passes: "../" at most `depth` times, then names. A ".." behind a name is refused even
    where it counts as staying inside, since that name may be a link, and then ".." starts from where the
    link leads.
    """
    parts = target.split("/")
    if target == ".":
        return
    if len(target.encode(errors="surrogatepass")) > MAX_TARGET_BYTES:
        raise RemoteError(f"longer than {MAX_TARGET_BYTES} bytes")
    if parts[0] == "":
        raise RemoteError("only relative links travel", penalty=10)
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    if ups > depth:
        raise RemoteError("it leads out of the tree", penalty=10)
    for part in parts[ups:]:
        check_component(part)


def _shown(path: tuple[str, ...]) -> str:
    text = escape("/".join(path))
    return text if len(text) <= _SHOWN_CHARACTERS else "..." + text[-_SHOWN_CHARACTERS:]
