"""Reads what is shared and hashes its chunks, on all cores.

`hash_tree` scans, takes over what an earlier reading knows, and reads the rest. Threads share the work in
jobs of a few MiB; each reads into one buffer of its own that stays in its core's cache, and both the
reading and the hashing let go of the interpreter. Files of a few KiB are different: their cost is system
calls, around which threads fight for the interpreter (two are 1.5 x slower than one), so one thread alone
takes those.

Invariant: a hash in the result is of bytes that were there while the file had the stamp beside it. A file
that changes in between is stamped and read again; after ROUNDS of that, an error names it.

Nothing is stored here: a crash or `cancel` loses the work of this call.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from blake3 import blake3

from swarmd.core.clock import Clock
from swarmd.core.errors import Conflict, Incomplete
from swarmd.core.terminal import escape
from swarmd.store.entries import EntryKind, EntryTable
from swarmd.store.faults import local_error
from swarmd.store.layout import Extent
from swarmd.store.manifest import chunk_size_for
from swarmd.store.scan import Scan, scan_tree
from swarmd.store.stamps import SETTLE_PERIOD, StampTable
from swarmd.store.unchanged import Reading

ROUNDS = 3
PIECE_BYTES = 1 << 20
"""What is read at a time: half of a core's second-level cache, so that hashing finds it there."""
JOB_BYTES = 1 << 23
"""What a thread takes at a time: long enough for a disk's read-ahead, short enough to end together."""
FINE_BYTES = 1 << 16
"""Where chunks have less than this for each file, system calls are the cost and not bytes."""
MAX_THREADS = 8
"""Beyond, disks and memory are the limit; and each holds PIECE_BYTES."""
PROGRESS_PERIOD = 0.1
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_REPLACED = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ESTALE, errno.ESPIPE, errno.ENXIO})
"""What the system says of a path that led to a regular file when it was scanned, and does not now."""


_NONE = -1


@dataclass(frozen=True, slots=True)
class Hashed:
    """How far the hashing is; what was known from an earlier reading counts as done. The totals are those of the scan,
    which is over by then: they change only when files change meanwhile and the tree is scanned again."""

    n_bytes: int
    total_bytes: int
    n_files: int
    total_files: int


Progress = Callable[[Hashed], None]
"""Called on the caller's thread: when the hashing begins, at most ten times a second, and once at the end."""


@dataclass(frozen=True, slots=True)
class HashedTree:
    """`path` as in Scan, `stamps` by the index of `entries`, `hashes`: 32 bytes for each chunk of the
    Layout."""

    path: str
    entries: EntryTable
    stamps: StampTable
    chunk_size: int
    hashes: bytes


def hash_tree(
    path: str,
    *,
    clock: Clock,
    known: Sequence[HashedTree] = (),
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    threads: int | None = None,
) -> HashedTree:
    """What is at the absolute `path`, read and hashed; `known` are earlier results for that path.

    Errors as of `scan_tree`; Conflict names a file that does not hold still, NotAllowed one that cannot be
    read.
    """
    cancel = cancel or threading.Event()
    earlier = [_reading_of(tree) for tree in known]
    for _ in range(ROUNDS):
        scan = scan_tree(path, cancel)
        if clock.wall() - scan.stamps.newest_change() < SETTLE_PERIOD:
            cancel.wait(SETTLE_PERIOD)
        reading = Reading(scan.entries, scan.stamps, chunk_size_for(scan.entries.total_size))
        for other in earlier:
            reading.take_over(other)
        _Round(scan, reading, cancel, progress or _silent).run(threads or _default_threads())
        if not reading.distrusted:
            return HashedTree(scan.path, scan.entries, scan.stamps, reading.layout.chunk_size, bytes(reading.hashes))
        earlier.insert(0, reading)
    shown = escape(os.path.join(scan.path, *scan.entries.path(min(reading.distrusted))))
    raise Conflict(f"{shown} changes while it is read: share it again when nothing writes to it")


def _reading_of(tree: HashedTree) -> Reading:
    reading = Reading(tree.entries, tree.stamps, tree.chunk_size)
    reading.hashes[:] = tree.hashes
    reading.is_known[:] = b"\1" * len(reading.is_known)
    return reading


def _default_threads() -> int:
    return min(max(2, len(os.sched_getaffinity(0))), MAX_THREADS)


def _silent(hashed: Hashed) -> None:
    pass


class _Round:
    """Fills in the chunks of `reading` that are not known, and notes which files have changed since the
    scan."""

    def __init__(self, scan: Scan, reading: Reading, cancel: threading.Event, progress: Progress) -> None:
        self.scan = scan
        self.reading = reading
        self.folder = -1
        self.is_stopped = False
        self._cancel = cancel
        self._progress = progress
        self._bytes_known, self._files_known = reading.known_totals()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._jobs = {is_fine: self._make_jobs(is_fine) for is_fine in (True, False)}

    def run(self, n_threads: int) -> None:
        if not all(self.reading.is_known):
            is_file = self.scan.entries.kind(0) is EntryKind.FILE
            folder = os.path.dirname(self.scan.path) if is_file else self.scan.path
            try:
                self.folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise local_error(error, folder, "readable") from None
            try:
                self._report()
                with ThreadPoolExecutor(n_threads, "hashing") as pool:
                    self._workers = [_Worker(self) for _ in range(n_threads)]
                    self._watch([pool.submit(worker.run, worker is self._workers[0]) for worker in self._workers])
            finally:
                os.close(self.folder)
        self._report()

    def next_job(self, is_fine: bool) -> range | None:
        """Chunks for a worker to hash one after the other; None when no more are to be given out."""
        with self._lock:
            return None if self.is_stopped else next(self._jobs[is_fine], None)

    def _make_jobs(self, is_fine: bool) -> Iterator[range]:
        layout, is_known = self.reading.layout, self.reading.is_known
        most = JOB_BYTES // layout.chunk_size
        start = 0
        for chunk in range(layout.n_chunks):
            fits = not is_known[chunk] and is_fine == (
                layout.n_extents(chunk) * FINE_BYTES > layout.chunk_length(chunk)
            )
            if chunk > start and (not fits or chunk - start == most):
                yield range(start, chunk)
                start = chunk
            if not fits:
                start = chunk + 1
        if start < layout.n_chunks:
            yield range(start, layout.n_chunks)

    def _watch(self, futures: list[Future[None]]) -> None:
        """Report until all are done; stop them when one fails or the caller has had enough."""
        try:
            while True:
                done, running = wait(futures, PROGRESS_PERIOD, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                if self._cancel.is_set():
                    raise Incomplete(f"sharing {escape(self.scan.path)} was cancelled")
                if not running:
                    return
                self._report()
        finally:
            self.is_stopped = True

    def _report(self) -> None:
        entries = self.scan.entries
        n_bytes = self._bytes_known + sum(worker.bytes_done for worker in self._workers)
        n_files = self._files_known + sum(worker.files_done for worker in self._workers)
        self._progress(Hashed(n_bytes, entries.total_size, n_files, entries.n_files))


class _Worker:
    """One thread's buffer, and the file it reads at present."""

    def __init__(self, round_: _Round) -> None:
        self.bytes_done = 0
        self.files_done = 0
        self._round = round_
        self._entries = round_.scan.entries
        self._stamps = round_.scan.stamps
        self._buffer = memoryview(bytearray(PIECE_BYTES))
        self._entry = self._descriptor = _NONE
        self._parent = _NONE
        self._prefix = b""

    def run(self, takes_fine: bool) -> None:
        try:
            for is_fine in (True, False) if takes_fine else (False,):
                while (job := self._round.next_job(is_fine)) is not None:
                    for chunk in job:
                        self._hash_chunk(chunk)
                    self._close()
        finally:
            self._close()

    def _hash_chunk(self, chunk: int) -> None:
        reading = self._round.reading
        try:
            digest = self._digest(reading.layout.extents(chunk))
        except OSError as error:
            self._refused(error)
            return
        if digest is not None:
            reading.put(chunk, digest)

    # 7 us for a file of 4 KiB, of which 5 are system calls: python -m tests.bench.hashing
    def _digest(self, extents: list[Extent]) -> bytes | None:
        """The hash of the chunk that lies there; None when a file is shorter than it was."""
        hasher = blake3()
        buffer = self._buffer
        filled = 0
        for entry, offset, length in extents:
            if self._entry != entry:
                self._open(entry)
            while length:
                stop = min(filled + length, PIECE_BYTES)
                count = os.preadv(self._descriptor, (buffer[filled:stop],), offset)
                if not count or self._round.is_stopped:
                    self._round.reading.distrusted.add(entry)
                    return None
                filled += count
                offset += count
                length -= count
                self.bytes_done += count
                if filled == PIECE_BYTES:
                    hasher.update(buffer)
                    filled = 0
            self.files_done += offset == self._entries.size(entry)
        return hasher.update(buffer[:filled]).digest()

    def _open(self, entry: int) -> None:
        self._close()
        entries = self._entries
        if entry:
            parent = entries.parent(entry)
            if parent != self._parent:
                self._prefix = b"".join(name.encode() + b"/" for name in entries.path(parent))
                self._parent = parent
            path = self._prefix + entries.name_bytes(entry)
        else:
            path = os.path.basename(os.fsencode(self._round.scan.path))
        self._entry = entry
        self._descriptor = os.open(path, _FLAGS, dir_fd=self._round.folder)

    def _close(self) -> None:
        """Done with a file: was it the one that was scanned, and has nobody written to it?"""
        entry, descriptor = self._entry, self._descriptor
        self._entry = self._descriptor = _NONE
        if descriptor == _NONE:
            return
        try:
            is_same = self._stamps.matches(entry, os.fstat(descriptor))
        except OSError:
            is_same = False
        finally:
            os.close(descriptor)
        if not is_same:
            self._round.reading.distrusted.add(entry)

    def _refused(self, error: OSError) -> None:
        """The file in hand could not be opened or read: gone since the scan, or a fault of the system?"""
        entry = self._entry
        if error.errno not in _REPLACED:
            path = os.path.join(self._round.scan.path, *self._entries.path(entry))
            raise local_error(error, path, "readable") from None
        self._round.reading.distrusted.add(entry)
        self._close()
