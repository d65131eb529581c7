"""Chunks that are here already: found by their hash, copied, and never trusted."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from swarmd.core.ranges import RangeSet
from swarmd.store.source import ObjectSource
from swarmd.store.store import DownloadRequest, Store
from tests.store.samples import Spec, filler, make_folder
from tests.store.transfers import CHUNK, give_chunks, give_metadata, prepared, rewrite, shared, snapshot

# Chunks: big 0-2, same 3-4, small 5.
FOLDER: Spec = {"big": 2 * CHUNK + 1, "same": 2 * CHUNK, "small": {"a": 100, "b": 200}}


@pytest.fixture
def source(seeder: Store, tmp_path: Path) -> ObjectSource:
    folder = make_folder(tmp_path / "data", FOLDER)
    (folder / "same").write_bytes(filler("zeros", CHUNK) * 2)
    return shared(seeder, folder)


@pytest.fixture(params=["in the kernel", "through memory"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(18, "files of different file systems")

    if request.param == "through memory":
        monkeypatch.setattr(os, "copy_file_range", refuse)


@pytest.mark.usefixtures("way")
def test_an_object_that_is_here_is_copied(source: ObjectSource, leecher: Store, tmp_path: Path, target: Path) -> None:
    leecher.share(source.path)
    download = prepared(leecher, source, target)
    calls: list[tuple[int, int]] = []
    n_bytes = leecher.reuse_local(download, progress=lambda size, chunks: calls.append((size, chunks)))
    assert (n_bytes, calls[-1]) == (source.root.total_size, (source.root.total_size, 6))
    assert download.is_complete
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))


@pytest.mark.usefixtures("way")
def test_large_files_are_found_in_other_objects_under_other_names(
    source: ObjectSource, leecher: Store, tmp_path: Path, target: Path
) -> None:
    other = make_folder(tmp_path / "other", {"x": {"y": 5 * CHUNK}, "z": 10})
    data = (Path(source.path) / "big").read_bytes()
    (other / "x" / "y").write_bytes(filler("something else", 3 * CHUNK) + data)
    (other / "renamed").write_bytes(data)
    leecher.share(str(other))
    download = prepared(leecher, source, target)
    assert leecher.reuse_local(download) == len(data)
    assert download.have == RangeSet.single(0, 3)
    assert leecher.reuse_local(download) == 0
    give_chunks(source, download)
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))


@pytest.mark.usefixtures("way")
def test_one_chunk_goes_wherever_it_is_wanted(
    source: ObjectSource, leecher: Store, tmp_path: Path, target: Path
) -> None:
    (tmp_path / "other").write_bytes(filler("zeros", CHUNK))
    leecher.share(str(tmp_path / "other"))
    download = prepared(leecher, source, target)
    assert leecher.reuse_local(download) == 2 * CHUNK
    assert download.have == RangeSet.single(3, 5)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("change", ["damaged", "deleted", "shrunk"])
def test_what_is_not_as_it_was_is_not_taken(
    source: ObjectSource, leecher: Store, tmp_path: Path, target: Path, change: str
) -> None:
    other = tmp_path / "other"
    other.write_bytes((Path(source.path) / "big").read_bytes())
    leecher.share(str(other))
    if change == "damaged":
        status = other.stat()
        with other.open("r+b") as file:
            file.write(b"damage")
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "deleted":
        other.unlink()
    else:
        os.truncate(other, CHUNK)
    download = prepared(leecher, source, target)
    leecher.reuse_local(download)
    false = {"damaged": [0], "deleted": [0, 1, 2], "shrunk": [1, 2]}[change]
    assert not set(false) & set(download.have)
    give_chunks(source, download)
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))


def test_an_unfinished_download_is_a_source_too(
    seeder: Store, source: ObjectSource, leecher: Store, tmp_path: Path, target: Path
) -> None:
    give_chunks(source, prepared(leecher, source, target, name="first"), [0, 2, 4])
    whole = tmp_path / "whole"
    whole.write_bytes((Path(source.path) / "big").read_bytes())
    single = shared(seeder, whole)
    download = prepared(leecher, single, target, name="second")
    assert leecher.reuse_local(download) == CHUNK + 1
    assert download.have == RangeSet([(0, 1), (2, 3)])


def test_only_chunks_whose_hashes_are_here_are_looked_for(source: ObjectSource, leecher: Store, target: Path) -> None:
    leecher.share(source.path)
    download = leecher.create_download(DownloadRequest(source.content_id, str(target), "got"))
    give_metadata(source, download)
    download.prepare()
    give_chunks(source, download, [0])
    cancel = threading.Event()
    cancel.set()
    assert leecher.reuse_local(download, cancel=cancel) == 0
    assert leecher.reuse_local(download) == source.root.total_size - CHUNK


def test_objects_with_other_chunk_sizes_are_not_looked_through(
    source: ObjectSource, leecher: Store, tmp_path: Path, target: Path
) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(129 << 20)
    assert leecher.share(str(tmp_path / "sparse")).chunk_size == 2 * CHUNK
    download = prepared(leecher, source, target)
    assert leecher.reuse_local(download) == 0


def test_a_chunk_that_was_reused_survives_like_any_other(source: ObjectSource, tmp_path: Path, target: Path) -> None:
    store = Store.open(tmp_path / "state")
    store.share(source.path)
    download = prepared(store, source, target)
    store.reuse_local(download)
    assert download.uncommitted_bytes == source.root.total_size
    store.close()
    store = Store.open(tmp_path / "state")
    [download] = store.downloads()
    download.prepare()
    assert (download.is_complete, download.notice) == (True, "")
    download.finish()
    store.close()


def test_a_source_that_is_being_rewritten(source: ObjectSource, leecher: Store, tmp_path: Path, target: Path) -> None:
    other = tmp_path / "other"
    data = (Path(source.path) / "big").read_bytes()
    other.write_bytes(data)
    leecher.share(str(other))
    rewrite(other, data[:CHUNK] + bytes(CHUNK + 1))
    download = prepared(leecher, source, target)
    leecher.reuse_local(download)
    assert 1 not in download.have
