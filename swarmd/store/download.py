"""One download: from a content ID to a served object in the user's folder.

In: the root and pages of the manifest (`accept_root`, `accept_page`), then, after `prepare`, chunks (`write_chunk`).
Out: what is still missing, what can be served already (it is a `Source`), and the finished object (`finish`).

States (`tables.downloads.State`):
    METADATA   entries known, target free, room enough (`prepare`)  ->  PREPARING
    PREPARING  NAME.part made and synced                            ->  DATA
    DATA       all chunks here and synced (`finish`)                ->  FINISHING
    FINISHING  NAME.part renamed to NAME                            ->  FINISHED
    any        `discard`                                            ->  DISCARDING, then no row

Invariants: `have` holds only chunks whose bytes matched their hash and are written. What the database claims was synced
before (`commit`), so it is true after a kill or a power cut. A chunk is written by one thread at a time.
After a crash what was not committed is fetched again, nothing else; `prepare` compares inodes and sizes of the files,
and reads and verifies only what is not as it was left. Contents that somebody changed in place, keeping the size, are
not noticed here: a peer that is sent them refuses them by their hash.

It decides neither which chunk comes next nor when to commit (a timer of the caller and `uncommitted_bytes` do), and it
does not retry.
"""

from __future__ import annotations

import logging
import threading
from array import array
from collections.abc import Sequence

from blake3 import blake3

from swarmd.core.errors import AlreadyExists, Conflict, Incomplete, LocalError, NotFound
from swarmd.core.ranges import RangeSet
from swarmd.core.terminal import escape
from swarmd.store.entries import EntryTable
from swarmd.store.gate import Gate
from swarmd.store.held import Held, decode_have
from swarmd.store.layout import Layout
from swarmd.store.library import Library
from swarmd.store.part import Part, PartIdentity, check_room, free_bytes, remove_part
from swarmd.store.part_files import Buffer
from swarmd.store.record import DownloadRecord
from swarmd.store.source import ObjectSource, front, read_range
from swarmd.store.tables.downloads import DownloadRow, State
from swarmd.store.tables.objects import CopyRow
from swarmd.store.tree import Tree

_logger = logging.getLogger(__name__)
# Threads that write the same chunk (two peers sent it) wait for each other; those that write different ones rarely do.
# They are of all downloads together: each that is kept would have 6 KiB of them.
_STRIPES = tuple(threading.Lock() for _ in range(64))


class Download(DownloadRecord):
    """Thread-safe. `prepare`, `commit`, `finish`, `discard` and `close` take turns; chunks are written in parallel."""

    def __init__(self, library: Library, row: DownloadRow) -> None:
        """A new download, or one found in the database: nothing on the disk is touched before `prepare`."""
        super().__init__(library, row)
        self._turns = threading.RLock()
        self._gate = Gate(f"download {row.id}", is_open=False)
        self._part: Part | None = None
        self._source: ObjectSource | None = None
        self._entries: EntryTable | None = None
        self._layout: Layout | None = None
        self._held = Held(decode_have(row.have, self.root))
        if row.state is State.FINISHED and self.root is not None:
            self._held = Held(RangeSet.single(0, self.root.n_chunks))
        self.notice = ""
        """What `prepare` found changed since the last time, for the user; empty in the normal case."""

    # What it is

    @property
    def is_prepared(self) -> bool:
        """Whether chunks can be written."""
        return self._gate.is_open and self._source is None

    @property
    def is_complete(self) -> bool:
        """Whether every chunk is here: `finish` is next, if it is not done."""
        return self.root is not None and len(self._held) == self.root.n_chunks

    @property
    def have(self) -> RangeSet:
        return self._held.copy()

    @property
    def entries(self) -> EntryTable:
        """Incomplete before `prepare`."""
        if self._entries is None:
            raise Incomplete(f"download {self.id} is not prepared")
        return self._entries

    @property
    def layout(self) -> Layout:
        """Incomplete before `prepare`."""
        if self._layout is None:
            raise Incomplete(f"download {self.id} is not prepared")
        return self._layout

    @property
    def uncommitted_bytes(self) -> int:
        """What a crash would cost now."""
        return self._held.uncommitted_bytes

    def lacks_room(self) -> bool:
        """Whether the target's file system has less room than the missing chunks need. LocalError: not reachable."""
        if self.root is None or self._source is not None:
            return False
        needed = min(self.root.total_size, (self.root.n_chunks - len(self._held)) * self.root.chunk_size)
        with Tree.open(self._row.target) as target:
            return free_bytes(target) < needed

    # Chunks

    def write_chunk(self, index: int, parts: Sequence[Buffer]) -> bool:
        """Verify and write a chunk. False when the bytes are not that chunk: whoever sent them is to blame.

        DiskFull, or another LocalError, is our own disk's: the chunk can be written later. Conflict when the download
        is not prepared, or is closed. A chunk that is here already is not written again.
        """
        with self._gate:
            if index in self._held:
                return True
            part, expected = self._part, self._manifest().hash_of(index)
            assert part is not None, "the gate is open only with a part behind it, until all chunks are here"
            if expected is None:
                raise Incomplete(f"the hash of chunk {index} is not here yet")
            length = sum(map(len, parts))
            if length != self.layout.chunk_length(index) or _digest(parts) != expected:
                return False
            with _STRIPES[index % len(_STRIPES)]:
                if index not in self._held:
                    part.write(index, parts)
                    self._held.add(index, length)
        return True

    def copy_chunk(self, index: int, source: int, offset: int) -> bool:
        """Take a chunk from `offset` of another open file, sharing its blocks where the file system can; verified.

        False when that is not possible here, or when it is not that chunk: nothing is lost by trying.
        """
        with self._gate, _STRIPES[index % len(_STRIPES)]:
            part = self._part
            if part is None or index in self._held:
                return True
            if not part.copy(index, source, offset) or not self._is_true(part, index):
                return False
            self._held.add(index, self.layout.chunk_length(index))
        return True

    def read_chunk(self, index: int, buffer: bytearray | memoryview) -> int:
        """As `Source.read_chunk`, also after `finish`. Incomplete when the chunk is not here."""
        with self._gate:
            source = self._source
            if source is None:
                part = self._part
                assert part is not None, "the gate is open only with a part behind it"
                if index not in self._held:
                    raise Incomplete(f"chunk {index} is not here yet")
                length = self.layout.chunk_length(index)
                part.read(index, front(buffer, length))
                return length
        return source.read_chunk(index, buffer)

    def read_range(self, offset: int, length: int) -> bytes:
        """Bytes of a single file; Incomplete while they are not here."""
        return read_range(self, offset, length)

    # From state to state

    def prepare(self) -> None:
        """Get ready for chunks: make NAME.part, or find it again after a restart. May be called again after an error.

        Incomplete while entry pages are missing; MalformedObject (a RemoteError) when they can never make a tree;
        AlreadyExists, NotFound, NotAllowed, DiskFull when the target folder is not as it should be.
        """
        with self._turns:
            if self._row.state in (State.FINISHED, State.DISCARDING):
                raise Conflict(f"download {self.id} is {self._row.state}")
            self._load_entries()
            part = self._reopen()
            try:
                self._prepare(part)
            except BaseException:
                self._close_part()
                raise
            self._gate.open()

    def commit(self) -> None:
        """Get what was written onto the disk, then claim it in the database.

        After an error nothing is known of the chunks since the last commit: `have` is back at that one, and they are
        to be fetched again (after `prepare`, when the part itself is gone).
        """
        with self._turns:
            if self._pages is not None:
                self._pages.save()
            if self._part is None or self._source is not None:
                return
            snapshot = self._held.snapshot()
            if snapshot is None:
                return
            inodes = self._part.inodes.tobytes()
            try:
                self._part.sync()
            except LocalError:
                self._held.roll_back()
                raise
            self._claim(snapshot[0], inodes)
            self._held.set_committed(*snapshot)

    def finish(self) -> ObjectSource:
        """Rename NAME.part to NAME, which is served from now on. May be called again after an error.

        Incomplete while chunks are missing, or when some turn out to have been changed from outside (`have` says
        which); AlreadyExists when somebody made NAME meanwhile.
        """
        with self._turns:
            if self._source is not None:
                return self._source
            if self._part is None:
                raise Conflict(f"download {self.id} is not prepared")
            is_published = self._part.is_there(self._row.name)
            if not is_published:
                self._get_ready(self._part)
            with self._gate.held():
                if not is_published:
                    self._publish(self._part)
                return self._complete(self._part)

    def discard(self, delete_data: bool) -> None:
        """Forget the download, and delete NAME.part if asked. A finished object stays where it is, and served.

        For `Store.discard_download`, which also takes it off its list.
        """
        with self._turns:
            if delete_data and self._row.state is not State.FINISHED:
                self._update(state=State.DISCARDING)
                self._delete_part()
            self.close()
            with self._library.database.transaction():
                self._library.downloads.delete(self.id)
                self._library.collect()

    def close(self) -> None:
        """Wait for the threads inside and close its files. `commit` before: the rest is forgotten."""
        with self._turns:
            self._gate.shut()
            if self._source is not None:
                self._source.close()
            self._close_part()

    # The steps of `prepare`

    def _prepare(self, part: Part) -> None:
        if self._row.state is State.METADATA:
            self._check_target(part)
            self._update(state=State.PREPARING)
        if self._row.state is State.PREPARING:
            self._make(part)
        elif part.adopt(PartIdentity.decode(self._row.part), self._row.name):
            self._complete(part)
        else:
            self._find(part)

    def _load_entries(self) -> None:
        if self._entries is None:
            missing = self.missing_entry_pages()
            if missing:
                raise Incomplete(f"{len(missing)} entry pages of {self.content_id.short} are not here yet")
            pages = self._manifest()
            self._entries = pages.entries()
            self._layout = Layout(self._entries, pages.root.chunk_size)
            pages.save()

    def _reopen(self) -> Part:
        """The part, of which nothing is known yet; one that was open is closed, its chunks committed if they can be."""
        self._gate.shut()
        try:
            self.commit()
        except LocalError as error:
            _logger.warning("download %s: its last chunks are fetched again: %s", self.id, error)
        self._close_part()
        target = Tree.open(self._row.target)
        self._part = Part(target, self._row.name, self.entries, self.layout, self._library.descriptors)
        return self._part

    def _check_target(self, part: Part) -> None:
        """Before anything is made: is the name free, and is there room?"""
        part.check_free(self._row.name, self._row.overwrite)
        check_room(part.target, self._manifest().root.total_size)

    def _make(self, part: Part) -> None:
        """Its identity is noted as soon as it is there, so that it can be told from another one ever after."""
        found = part.find()
        if found is not None and self._row.part and found.st_ino != PartIdentity.decode(self._row.part).inode:
            raise AlreadyExists(f"{escape(part.path)} is there and is not ours: move it elsewhere")
        self._update(state=State.PREPARING, part=part.create().encode(), have=b"", inodes=b"")
        part.fill()
        self._update(state=State.DATA, inodes=part.inodes.tobytes())

    def _find(self, part: Part) -> None:
        """NAME.part as it was left; or not as it was left, and then what of it is still true."""
        identity = PartIdentity.decode(self._row.part)
        if part.find() is None:
            if not part.is_mounted(identity):
                raise NotFound(
                    f"{escape(part.path)} is not there, and its folder is on another file system than it was: "
                    "mount the one that holds it"
                )
            self.notice = f"{escape(part.path)} was deleted or moved: the download starts again"
            self._held.clear()
            self._make(part)
            return
        self._update(state=State.DATA, part=part.open().encode())
        part.inodes[:] = array("Q", self._row.inodes)
        self._recheck(part)

    def _recheck(self, part: Part) -> None:
        """Read and verify the chunks of files that are not as we left them; forget the ones that are not true."""
        have = self.have
        strange = part.strange_files(have)
        if not strange:
            return
        part.make_folders()
        false = RangeSet()
        for entry in strange:
            chunks = self.layout.chunks_of(entry)
            for chunk in have & RangeSet.single(chunks.start, chunks.stop):
                if chunk not in false and not self._is_true(part, chunk):
                    false.add(chunk)
            part.accept(entry)
        if false:
            self.notice = f"{len(false)} chunks below {escape(part.path)} were lost and are fetched again"
        self._held.discard(false)
        have -= false
        self._claim(have, part.inodes.tobytes())
        self._held.set_committed(have)

    def _is_true(self, part: Part, chunk: int) -> bool:
        buffer = bytearray(self.layout.chunk_length(chunk))
        try:
            part.read(chunk, memoryview(buffer))
        except LocalError:
            return False
        return blake3(buffer).digest() == self._manifest().hash_of(chunk)

    # The steps of `finish`

    def _get_ready(self, part: Part) -> None:
        """Everything but the renaming, and onto the disk."""
        if not self.is_complete:
            raise Incomplete(f"chunks of download {self.id} are missing")
        self.commit()
        self._recheck(part)
        if not self.is_complete:
            raise Incomplete(self.notice)
        part.complete()
        self._update(state=State.FINISHING)

    def _publish(self, part: Part) -> None:
        try:
            part.publish(self._row.name, self._row.overwrite)
        except LocalError:
            self._update(state=State.DATA)
            raise

    def _complete(self, part: Part) -> ObjectSource:
        """The part has its last name: remember it as a copy, and serve that."""
        stamps = part.stamps()
        copy = CopyRow(self.content_id, self.path, self._row.name, self.entries.n_files, stamps.encode())
        with self._library.database.transaction():
            self._library.copies.put(copy)
            self._update(state=State.FINISHED, error="", have=b"", inodes=b"")
            self._library.collect()
        assert self._root_data is not None, "there is no part without a root"
        self._source = ObjectSource(
            self.path, self._manifest(), self._root_data, self.entries, stamps, self._library.descriptors
        )
        self._close_part()
        return self._source

    # The rest

    def _claim(self, have: RangeSet, inodes: bytes) -> None:
        """Put into the database what is known to be on the disk."""
        if inodes == self._row.inodes:
            self._update(have=have.encode())
        else:
            self._update(have=have.encode(), inodes=inodes)

    def _delete_part(self) -> None:
        """NAME.part if it is ours. NotAllowed and the like: `discard` can be called again."""
        self._gate.shut()
        self._close_part()
        try:
            target = Tree.open(self._row.target)
        except NotFound:
            return
        with target:
            remove_part(target, self._row.name, self._row.part)

    def _close_part(self) -> None:
        """Only the part knows what is not synced: chunks that are not committed are forgotten with it."""
        self._held.roll_back()
        if self._part is not None:
            self._part.close()
            self._part = None


def _digest(parts: Sequence[Buffer]) -> bytes:
    hasher = blake3()
    for part in parts:
        hasher.update(part)
    return hasher.digest()
