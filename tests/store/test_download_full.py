"""A disk without room: an error that says so, nothing claimed that is not there, and going on when there is room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swarmd.core.errors import DiskFull
from swarmd.core.ranges import RangeSet
from swarmd.store.database import StateFull
from swarmd.store.source import ObjectSource
from swarmd.store.store import DownloadRequest, Store
from swarmd.store.tables.downloads import State
from tests.store.conftest import SMALL_DISK_FILES
from tests.store.samples import make_folder
from tests.store.transfers import CHUNK, chunk_of, give_chunks, give_metadata, prepared, shared, snapshot

pytestmark = pytest.mark.root


@pytest.fixture
def source(seeder: Store, tmp_path: Path) -> ObjectSource:
    """A quarter of the small disk."""
    return shared(seeder, make_folder(tmp_path / "data", {"big": 3 * CHUNK, "small": {"a": 100_000, "b": CHUNK - 1}}))


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        size = os.statvfs(disk).f_bfree * os.statvfs(disk).f_frsize
        file.write(bytes(size))
    assert os.statvfs(disk).f_bfree == 0
    return filler


def test_room_is_looked_at_before_anything_is_made(source: ObjectSource, leecher: Store, small_disk: Path) -> None:
    download = leecher.create_download(DownloadRequest(source.content_id, str(small_disk), "got"))
    give_metadata(source, download)
    filler = fill(small_disk)
    with pytest.raises(DiskFull, match=r"1,148,575 bytes are needed.*0 are free"):
        download.prepare()
    assert (os.listdir(small_disk), download.row.state) == (["filler"], State.METADATA)
    assert download.lacks_room()
    filler.unlink()
    assert not download.lacks_room()
    download.prepare()
    give_chunks(source, download)
    assert not download.lacks_room()
    download.finish()


def test_a_disk_that_fills_up_on_the_way(source: ObjectSource, leecher: Store, small_disk: Path) -> None:
    download = prepared(leecher, source, small_disk)
    give_chunks(source, download, [1])
    filler = fill(small_disk)
    for index in (0, 2, 3, 4, 0):
        with pytest.raises(DiskFull, match="no room is left"):
            download.write_chunk(index, [chunk_of(source, index)])
    assert download.have == RangeSet.single(1, 2)
    download.commit()
    assert download.lacks_room()
    filler.unlink()
    give_chunks(source, download)
    download.finish()
    assert download.notice == ""
    assert snapshot(small_disk / "got") == snapshot(Path(source.path))


def test_a_disk_that_cannot_hold_so_many_files(seeder: Store, leecher: Store, tmp_path: Path, small_disk: Path) -> None:
    names = {f"{number:03}": 10 for number in range(SMALL_DISK_FILES)}
    source = shared(seeder, make_folder(tmp_path / "data", {**names, "big": CHUNK}))
    download = prepared(leecher, source, small_disk)
    give_chunks(source, download, [0])
    with pytest.raises(DiskFull):
        give_chunks(source, download, [1])
    assert download.have == RangeSet.single(0, 1)
    leecher.discard_download(download.id, delete_data=True)
    assert os.listdir(small_disk) == []


def test_a_state_folder_without_room(
    seeder: Store, source: ObjectSource, tmp_path: Path, target: Path, small_disk: Path
) -> None:
    """What cannot be claimed is not lost: it is claimed when there is room."""
    store = Store.open(small_disk / "state")
    download = prepared(store, source, target)
    filler = fill(small_disk)
    give_chunks(source, download)
    with pytest.raises(StateFull, match="no room left for the database"):
        for _ in range(1000):  # the log of the database has some room of its own
            download.set_error("x" * 5000)
    with pytest.raises(DiskFull):
        download.commit()
    assert download.have == RangeSet.single(0, 5)
    assert store.lacks_room() and not download.lacks_room(), "it is not the target that is full"
    filler.unlink()
    assert not store.lacks_room()
    download.commit()
    assert download.uncommitted_bytes == 0
    download.finish()
    store.close()
    store = Store.open(small_disk / "state")
    assert store.object(source.content_id).path == str(target / "got")
    store.close()
