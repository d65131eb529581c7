"""Serving in place: the right bytes, and never a byte of a file that is not the one that was shared."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from swarmd.core.errors import Incomplete, InvalidArgument, LocalError
from swarmd.core.ranges import RangeSet
from swarmd.store.source import ObjectSource, SourceChanged, read_range
from swarmd.store.store import Store
from tests.store.samples import Spec, as_nobody, filler, make_folder
from tests.store.transfers import CHUNK, MEMORY, chunk_of, rewrite, shared

# Chunks: big 0-2, huge 3-7, then a, b and c in 8 and the rest of c in 9.
FOLDER: Spec = {
    "big": 2 * CHUNK + 1,
    "in": {"a": 1000, "b": 2000, "c": CHUNK - 1},
    "in2": {"huge": 5 * CHUNK},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data", FOLDER)


@pytest.fixture
def source(seeder: Store, folder: Path) -> ObjectSource:
    return shared(seeder, folder)


def test_chunks_are_read_into_the_callers_buffer(source: ObjectSource) -> None:
    buffer = bytearray(b"\xee" * CHUNK)
    assert source.read_chunk(2, buffer) == 1
    assert buffer[:2] == filler("big", 2 * CHUNK + 1)[-1:] + b"\xee"
    assert source.read_chunk(0, memoryview(buffer)) == CHUNK
    assert buffer == filler("big", 2 * CHUNK + 1)[:CHUNK]
    packed = filler("in/a", 1000) + filler("in/b", 2000) + filler("in/c", CHUNK - 1)
    assert chunk_of(source, 8) + chunk_of(source, 9) == packed
    assert source.have == RangeSet.single(0, 10)


def test_a_buffer_that_is_too_small_is_our_own_mistake(source: ObjectSource) -> None:
    with pytest.raises(ValueError, match="buffer"):
        source.read_chunk(0, bytearray(CHUNK - 1))
    with pytest.raises(IndexError):
        source.read_chunk(10, bytearray(CHUNK))


def replace_file(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    other.replace(path)


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def flip_keeping_time(path: Path) -> None:
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(("name", "chunk"), [("in2/huge", 4), ("in/a", 8)])
def test_a_file_that_changes_while_it_is_read_is_not_served(
    source: ObjectSource, folder: Path, name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_read = os.preadv

    def read_and_rewrite(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        count = really_read(descriptor, buffers, offset)
        if os.path.samestat(os.fstat(descriptor), (folder / name).stat()):
            rewrite(folder / name, bytes((folder / name).stat().st_size))
        return count

    monkeypatch.setattr(os, "preadv", read_and_rewrite)
    with pytest.raises(SourceChanged, match="was written to"):
        source.read_chunk(chunk, bytearray(CHUNK))


CHANGES: dict[str, Callable[[Path], object]] = {
    "written to": lambda path: rewrite(path, bytes(path.stat().st_size)),
    "touched": lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns + 1)),
    "shrunk": lambda path: os.truncate(path, path.stat().st_size - 1),
    "emptied": lambda path: os.truncate(path, 0),
    "grown": lambda path: os.truncate(path, path.stat().st_size + 1),
    "deleted": Path.unlink,
    "folder deleted": lambda path: shutil.rmtree(path.parent),
    "folder renamed": lambda path: path.parent.rename(path.parent.with_name("moved")),
    "replaced": replace_file,
    "replaced by a link": replace_by_link,
    "replaced by a pipe": replace_by_pipe,
    "flipped, with the time set back": flip_keeping_time,
}


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("name", "chunk", "lost"), [("in2/huge", 7, (3, 8)), ("in/b", 8, (8, 9)), ("in/c", 9, (8, 10))]
)
def test_a_changed_file_is_not_served(
    source: ObjectSource, folder: Path, name: str, chunk: int, lost: tuple[int, int], change: str, is_open: bool
) -> None:
    if is_open:
        chunk_of(source, chunk)
    CHANGES[change](folder / name)
    if change in ("folder renamed", "replaced by a link"):
        source.close()  # a file that is open is still the one that was shared
    with pytest.raises(SourceChanged) as caught:
        for _ in range(2 if change.startswith("folder") else 1):
            source.read_chunk(chunk, bytearray(CHUNK))
    assert caught.value.lost == RangeSet.single(*lost) or change.startswith("folder")
    assert caught.value.path.startswith(str(folder))
    assert chunk not in source.have
    assert chunk_of(source, 0) == filler("big", 2 * CHUNK + 1)[:CHUNK]
    with pytest.raises(SourceChanged):
        source.read_chunk(chunk, bytearray(CHUNK))


@pytest.mark.parametrize("change", [name for name in CHANGES if "flipped" not in name])
def test_check_finds_what_changed_without_reading(source: ObjectSource, folder: Path, change: str) -> None:
    assert source.check() == RangeSet()
    CHANGES[change](folder / "in2/huge")
    assert source.check() == RangeSet.single(3, 8)
    assert source.check() == RangeSet()
    assert source.have == RangeSet([(0, 3), (8, 10)])
    assert source.lost == RangeSet.single(3, 8)


def chmod(path: Path) -> None:
    path.chmod(0o600)


def link(path: Path) -> None:
    path.with_name("second").hardlink_to(path)


@pytest.mark.parametrize("change", [chmod, link])
@pytest.mark.parametrize(("name", "chunk"), [("in2/huge", 4), ("in/a", 8)])
def test_what_does_not_touch_the_contents_does_no_harm(
    source: ObjectSource, folder: Path, name: str, chunk: int, change: Callable[[Path], object]
) -> None:
    before = chunk_of(source, chunk)
    change(folder / name)
    assert chunk_of(source, chunk) == before
    assert source.check() == RangeSet()


def test_a_changed_file_is_served_again_when_it_is_shared_again(
    seeder: Store, source: ObjectSource, folder: Path
) -> None:
    os.utime(folder / "big", ns=(0, 0))
    with pytest.raises(SourceChanged):
        source.read_chunk(0, bytearray(CHUNK))
    again = shared(seeder, folder)
    assert again.content_id == source.content_id
    assert chunk_of(again, 0) == filler("big", 2 * CHUNK + 1)[:CHUNK]


def test_a_file_that_may_not_be_read_is_named() -> None:
    with as_nobody(), tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = make_folder(Path(place, "data"), FOLDER)
        store = Store.open(Path(place, "state"))
        try:
            source = shared(store, folder)
            (folder / "big").chmod(0)
            with pytest.raises(SourceChanged, match="big may not be read any more"):
                source.read_chunk(0, bytearray(CHUNK))
        finally:
            store.close()


def test_readers_in_many_threads_get_their_own_bytes(source: ObjectSource) -> None:
    expected = [chunk_of(source, index) for index in range(10)]
    wrong: list[int] = []

    def read(start: int) -> None:
        buffer = bytearray(CHUNK)
        for step in range(50):
            index = (start + step * 3) % 10
            length = source.read_chunk(index, buffer)
            if buffer[:length] != expected[index]:
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_range_of_a_single_file(seeder: Store, tmp_path: Path) -> None:
    data = filler("file", 2 * CHUNK + 100)
    (tmp_path / "file").write_bytes(data)
    source = shared(seeder, tmp_path / "file")
    for offset, length in [(0, 10), (CHUNK - 5, 10), (0, len(data)), (2 * CHUNK, 1000), (len(data), 5), (3 * CHUNK, 1)]:
        assert read_range(source, offset, length) == data[offset : offset + length]


def test_a_folder_has_no_ranges(source: ObjectSource) -> None:
    with pytest.raises(InvalidArgument, match="folder"):
        read_range(source, 0, 1)


def test_a_system_that_is_short_of_descriptors_loses_nothing(
    source: ObjectSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    source.close()
    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        with pytest.raises(LocalError, match="Too many open files") as caught:
            source.read_chunk(0, bytearray(CHUNK))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not isinstance(caught.value, SourceChanged | Incomplete)
    assert chunk_of(source, 0) == filler("big", 2 * CHUNK + 1)[:CHUNK]
