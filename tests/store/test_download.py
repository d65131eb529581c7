"""From a content ID to files: the whole way, in any order, from several threads, and what is refused on it."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings

from swarmd.core.errors import AlreadyExists, Conflict, Incomplete, InvalidArgument, LocalError, RemoteError
from swarmd.core.ids import ContentId, GroupId
from swarmd.core.ranges import RangeSet
from swarmd.core.rng import SeededRng
from swarmd.store.download import Download
from swarmd.store.entries import EntryTable
from swarmd.store.manifest import PageKind
from swarmd.store.share import SharedObject
from swarmd.store.source import ObjectSource
from swarmd.store.store import DownloadRequest, Store
from swarmd.store.tables.downloads import State
from tests.store.samples import Spec, filler, make_folder, tables
from tests.store.transfers import CHUNK, MEMORY, chunk_of, give_chunks, give_metadata, prepared, shared, snapshot

FOLDER: Spec = {
    "big": 2 * CHUNK + 1,
    "empty": {},
    "exactly": CHUNK,
    "in": {"a": 1000, "b": 0, "c": CHUNK - 1, "deep": {"er": {"d": 5, "up": "../../a"}}, "link": "deep"},
    "\U0001f600 naïve": 77,
}


@pytest.fixture
def source(seeder: Store, tmp_path: Path) -> ObjectSource:
    folder = make_folder(tmp_path / "data", FOLDER)
    (folder / "in/a").chmod(0o751)
    (folder / "big").chmod(0o400)
    (folder / "in/b").chmod(0o666)
    (folder / "in/deep").chmod(0o500)
    folder.chmod(0o710)
    return shared(seeder, folder)


def test_a_folder_arrives_as_it_was(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = prepared(leecher, source, target)
    assert download.row.state is State.DATA
    give_chunks(source, download)
    assert download.is_complete
    assert sorted(os.listdir(target)) == ["got.part"]
    result = download.finish()
    assert sorted(os.listdir(target)) == ["got"]
    assert snapshot(target / "got") == snapshot(Path(source.path))
    assert (download.row.state, download.have) == (State.FINISHED, RangeSet.single(0, source.root.n_chunks))
    assert [chunk_of(result, index) for index in range(5)] == [chunk_of(source, index) for index in range(5)]


def test_a_finished_download_is_shared_without_reading_it(
    source: ObjectSource, leecher: Store, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = prepared(leecher, source, target)
    give_chunks(source, download)
    download.finish()
    monkeypatch.setattr(os, "preadv", None)
    monkeypatch.setattr(os, "read", None)
    result = leecher.share(str(target / "got"))
    assert result == leecher.object(source.content_id)
    assert result.path == str(target / "got")


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK + 5])
def test_a_single_file(seeder: Store, leecher: Store, tmp_path: Path, target: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(filler("file", size))
    (tmp_path / "file").chmod(0o640)
    source = shared(seeder, tmp_path / "file")
    download = prepared(leecher, source, target)
    assert ((target / "got.part").stat().st_mode & 0o777) == 0o600
    give_chunks(source, download)
    download.finish()
    assert snapshot(target) | {".": ()} == {".": (), "got": ("file", 0o640, filler("file", size))}


@settings(max_examples=30)
@given(tables())
def test_any_tree(entries: EntryTable) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        path = Path(place, "data")
        for entry in entries:
            where = path.joinpath(*entry.path)
            if entry.kind.name == "DIRECTORY":
                where.mkdir()
            else:
                where.write_bytes(filler("/".join(entry.path), entry.size))
        store, other = Store.open(Path(place, "one")), Store.open(Path(place, "two"))
        try:
            source = shared(store, path)
            download = prepared(other, source, Path(place))
            give_chunks(source, download)
            download.finish()
            assert snapshot(Path(place, "got")) == snapshot(path)
        finally:
            store.close()
            other.close()


def test_chunks_come_in_any_order_and_more_than_once(source: ObjectSource, leecher: Store, target: Path) -> None:
    rng = SeededRng(3)
    download = prepared(leecher, source, target)
    order = [*range(source.root.n_chunks)] * 2
    rng.shuffle(order)
    for number, index in enumerate(order):
        give_chunks(source, download, [index])
        if number % 3 == 0:
            download.commit()
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))


def test_many_threads_write_at_once(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = prepared(leecher, source, target)
    chunks = [chunk_of(source, index) for index in range(source.root.n_chunks)]

    def write(seed: int) -> None:
        order = [*range(len(chunks))]
        SeededRng(seed).shuffle(order)
        for index in order:
            assert download.write_chunk(index, [memoryview(chunks[index])])
            download.commit()

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert download.is_complete
    download.finish()
    assert download.notice == ""
    assert snapshot(target / "got") == snapshot(Path(source.path))


def test_a_false_chunk_is_refused_and_leaves_no_trace(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = prepared(leecher, source, target)
    before = snapshot(target)
    good = chunk_of(source, 0)
    for bad in (b"", good[:-1], good + b"x", b"x" + good[1:], chunk_of(source, 1), bytes(CHUNK)):
        assert not download.write_chunk(0, [memoryview(bad)])
    assert not download.write_chunk(0, [])
    assert not download.have
    assert snapshot(target) == before
    assert download.write_chunk(0, [good[:100], bytearray(good[100:])])
    assert (download.have, download.uncommitted_bytes) == (RangeSet.single(0, 1), CHUNK)
    with pytest.raises(IndexError):
        download.write_chunk(source.root.n_chunks, [b"x"])


def test_nothing_can_be_written_before_its_hash_is_here(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = leecher.create_download(DownloadRequest(source.content_id, str(target), "got"))
    with pytest.raises(Incomplete, match="root"):
        download.accept_page(PageKind.ENTRIES, 0, b"")
    with pytest.raises(Incomplete, match="root"):
        download.prepare()
    download.accept_root(source.root_data)
    assert (download.root, download.missing_entry_pages()) == (source.root, [0])
    with pytest.raises(Incomplete, match="entry pages"):
        download.prepare()
    download.accept_page(PageKind.ENTRIES, 0, source.page(PageKind.ENTRIES, 0) or b"")
    with pytest.raises(Conflict, match="closed"):
        download.write_chunk(0, [chunk_of(source, 0)])
    download.prepare()
    assert (download.verifiable, download.has_hash_page(0)) == (RangeSet(), False)
    with pytest.raises(Incomplete, match="hash of chunk 0"):
        download.write_chunk(0, [chunk_of(source, 0)])
    download.accept_page(PageKind.HASHES, 0, source.page(PageKind.HASHES, 0) or b"")
    assert (download.verifiable, download.has_hash_page(0)) == (RangeSet.single(0, 6), True)
    give_chunks(source, download)
    download.finish()


def test_false_metadata_is_the_peers_fault(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = leecher.create_download(DownloadRequest(source.content_id, str(target), "got"))
    for data in (b"", b"x", source.root_data + b"x", source.root_data[:-1]):
        with pytest.raises(RemoteError):
            download.accept_root(data)
    download.accept_root(source.root_data)
    page = source.page(PageKind.ENTRIES, 0) or b""
    for data in (b"", page[:-1], page + b"x", bytes(len(page))):
        with pytest.raises(RemoteError):
            download.accept_page(PageKind.ENTRIES, 0, data)
    assert download.missing_entry_pages() == [0]


def test_an_unfinished_download_serves_what_it_has(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = prepared(leecher, source, target)
    assert download.root_data == source.root_data
    assert download.page(PageKind.HASHES, 0) == source.page(PageKind.HASHES, 0)
    buffer = bytearray(CHUNK)
    for index in (1, 4, 5, 2):
        give_chunks(source, download, [index])
        length = download.read_chunk(index, buffer)
        assert buffer[:length] == chunk_of(source, index)
    with pytest.raises(Incomplete):
        download.read_chunk(0, buffer)
    with pytest.raises(ValueError, match="buffer"):
        download.read_chunk(1, bytearray(1))
    give_chunks(source, download)
    download.finish()
    for index in range(source.root.n_chunks):
        length = download.read_chunk(index, buffer)
        assert buffer[:length] == chunk_of(source, index)
    assert download.write_chunk(0, [b"what comes too late is not looked at"])


def test_readers_are_not_disturbed_by_the_end(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = prepared(leecher, source, target)
    give_chunks(source, download)
    expected = [chunk_of(source, index) for index in range(source.root.n_chunks)]
    stop = threading.Event()
    reads: list[bool] = []

    def read() -> None:
        buffer = bytearray(CHUNK)
        while not stop.is_set():
            for index, chunk in enumerate(expected):
                reads.append(buffer[: download.read_chunk(index, buffer)] == chunk)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    download.finish()
    stop.set()
    for thread in threads:
        thread.join()
    assert all(reads)
    assert reads


def test_a_stream_reads_what_is_here(seeder: Store, leecher: Store, tmp_path: Path, target: Path) -> None:
    data = filler("file", 3 * CHUNK + 5)
    (tmp_path / "file").write_bytes(data)
    source = shared(seeder, tmp_path / "file")
    download = leecher.create_download(DownloadRequest(source.content_id, str(target), "got"))
    with pytest.raises(Incomplete):
        download.read_range(0, 1)
    give_metadata(source, download)
    download.prepare()
    give_chunks(source, download, [0, 1])
    assert download.read_range(CHUNK - 1, 2) == data[CHUNK - 1 : CHUNK + 1]
    with pytest.raises(Incomplete):
        download.read_range(2 * CHUNK - 1, 2)
    give_chunks(source, download)
    download.finish()
    assert download.read_range(0, 10 * CHUNK) == data


# The target folder


def test_what_is_there_is_not_overwritten(source: ObjectSource, leecher: Store, target: Path) -> None:
    (target / "got").write_bytes(b"mine")
    request = DownloadRequest(source.content_id, str(target), "got")
    with pytest.raises(AlreadyExists, match="got is there already"):
        leecher.create_download(request)
    (target / "got").rename(target / "got.part")
    with pytest.raises(AlreadyExists, match=r"got\.part is there and is not ours"):
        leecher.create_download(request)
    with pytest.raises(AlreadyExists, match=r"got\.part is there and is not ours"):
        leecher.create_download(DownloadRequest(source.content_id, str(target), "got", overwrite=True))
    assert leecher.downloads() == []
    assert (target / "got.part").read_bytes() == b"mine"


def test_a_part_that_appears_before_ours_is_left_alone(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = leecher.create_download(DownloadRequest(source.content_id, str(target), "got"))
    give_metadata(source, download)
    (target / "got.part").write_bytes(b"mine")
    with pytest.raises(AlreadyExists, match=r"got\.part"):
        download.prepare()
    assert (download.row.state, (target / "got.part").read_bytes()) == (State.METADATA, b"mine")
    leecher.discard_download(download.id, delete_data=True)
    assert (target / "got.part").read_bytes() == b"mine"


@pytest.mark.parametrize("folder_in_the_way", [False, True])
def test_what_appears_meanwhile_is_not_overwritten(
    source: ObjectSource, leecher: Store, target: Path, folder_in_the_way: bool
) -> None:
    download = prepared(leecher, source, target)
    give_chunks(source, download)
    if folder_in_the_way:
        (target / "got").mkdir()
    else:
        (target / "got").write_bytes(b"mine")
    with pytest.raises(AlreadyExists):
        download.finish()
    assert download.row.state is State.DATA
    (target / "got").rename(target / "mine")
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))
    assert sorted(os.listdir(target)) == ["got", "mine"]


def test_a_file_is_overwritten_when_asked(seeder: Store, leecher: Store, tmp_path: Path, target: Path) -> None:
    (tmp_path / "file").write_bytes(b"new")
    (target / "got").write_bytes(b"old")
    source = shared(seeder, tmp_path / "file")
    old = leecher.share(str(target / "got"))
    download = prepared(leecher, source, target, overwrite=True)
    give_chunks(source, download)
    assert (target / "got").read_bytes() == b"old"
    download.finish()
    assert (target / "got").read_bytes() == b"new"
    assert sorted(os.listdir(target)) == ["got"]
    assert [found.content_id for found in leecher.objects()] == [source.content_id]
    assert old.content_id != source.content_id


def test_a_folder_is_never_overwritten(source: ObjectSource, leecher: Store, target: Path) -> None:
    (target / "got").mkdir()
    download = leecher.create_download(DownloadRequest(source.content_id, str(target), "got", overwrite=True))
    give_metadata(source, download)
    with pytest.raises(AlreadyExists, match="never overwritten"):
        download.prepare()
    (target / "got").rmdir()
    download.prepare()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "a\nb", "x" * 256, "CON", "a\\b"])
def test_names_that_no_file_may_have(source: ObjectSource, leecher: Store, target: Path, name: str) -> None:
    with pytest.raises(InvalidArgument):
        leecher.create_download(DownloadRequest(source.content_id, str(target), name))
    assert os.listdir(target) == []


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "x" * 251])
def test_names_too_long_for_a_suffix(source: ObjectSource, leecher: Store, target: Path, name: str) -> None:
    download = prepared(leecher, source, target, name=name)
    give_chunks(source, download)
    download.finish()
    assert os.listdir(target) == [name]


def test_a_target_that_is_no_folder_of_ours(source: ObjectSource, leecher: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "missing", tmp_path / "file", tmp_path / "leecher", Path("relative")):
        with pytest.raises(LocalError, match=f"{folder.name}"):
            leecher.create_download(DownloadRequest(source.content_id, str(folder), "got"))
    assert leecher.downloads() == []


def test_one_download_for_an_object_and_for_a_path(source: ObjectSource, leecher: Store, target: Path) -> None:
    first = prepared(leecher, source, target)
    other_folder = target / "other"
    other_folder.mkdir()
    with pytest.raises(AlreadyExists, match=f"transfer {first.id} fetches that already"):
        leecher.create_download(DownloadRequest(source.content_id, str(other_folder), "got"))
    with pytest.raises(AlreadyExists):
        leecher.create_download(DownloadRequest(ContentId(bytes(32)), str(target), "got"))
    give_chunks(source, first)
    first.finish()
    second = prepared(leecher, source, other_folder)
    assert [download.id for download in leecher.downloads()] == [first.id, second.id]
    assert leecher.download(second.id) is second


def test_what_the_list_of_transfers_shows(source: ObjectSource, leecher: Store, target: Path) -> None:
    group = GroupId(b"g" * 32)
    download = leecher.create_download(
        DownloadRequest(source.content_id, str(target), "got", order="lowest", group_id=group)
    )
    download.set_paused(True)
    download.set_error("nobody is there")
    row = download.row
    assert (row.group_id, row.order, row.paused, row.error) == (group, "lowest", True, "nobody is there")
    assert (download.path, download.is_complete, download.is_prepared) == (str(target / "got"), False, False)
    assert (len(download.id), download.id.isalnum()) == (8, True)


def test_the_end_waits_for_every_chunk(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = leecher.create_download(DownloadRequest(source.content_id, str(target), "got"))
    with pytest.raises(Conflict, match="not prepared"):
        download.finish()
    give_metadata(source, download)
    download.prepare()
    give_chunks(source, download, range(source.root.n_chunks - 1))
    with pytest.raises(Incomplete, match="missing"):
        download.finish()
    assert sorted(os.listdir(target)) == ["got.part"]
    give_chunks(source, download)
    assert download.finish() is download.finish()


def test_a_download_without_chunks_is_not_made_where_it_may_not_be(
    seeder: Store, leecher: Store, tmp_path: Path, target: Path
) -> None:
    source = shared(seeder, make_folder(tmp_path / "data", {"empty": {}}))
    download = leecher.create_download(DownloadRequest(source.content_id, str(target), "got"))
    give_metadata(source, download)
    assert download.is_complete
    (target / "got").mkdir()
    with pytest.raises(AlreadyExists):
        download.prepare()
    with pytest.raises(Conflict, match="not prepared"):
        download.finish()
    assert os.listdir(target) == ["got"]
    (target / "got").rmdir()
    download.prepare()
    download.finish()
    assert snapshot(target / "got") == snapshot(tmp_path / "data")


# Giving up


def test_discarding_deletes_the_part_or_leaves_it(source: ObjectSource, leecher: Store, target: Path) -> None:
    for delete_data in (True, False):
        download = prepared(leecher, source, target)
        give_chunks(source, download, [0, 4])
        leecher.discard_download(download.id, delete_data)
        assert os.listdir(target) == ([] if delete_data else ["got.part"])
        assert leecher.downloads() == []
        assert leecher._database.query("SELECT COUNT(*) FROM objects") == [(0,)]
        with pytest.raises(Conflict):
            download.write_chunk(1, [chunk_of(source, 1)])


def test_discarding_before_anything_was_made(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = leecher.create_download(DownloadRequest(source.content_id, str(target), "got"))
    target.rmdir()
    leecher.discard_download(download.id, delete_data=True)
    with pytest.raises(LocalError, match="no transfer"):
        leecher.download(download.id)


def finished(leecher: Store, source: ObjectSource, target: Path) -> Download:
    download = prepared(leecher, source, target)
    give_chunks(source, download)
    download.finish()
    return download


def test_a_finished_download_outlives_its_row(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = finished(leecher, source, target)
    leecher.discard_download(download.id, delete_data=False)
    assert [found.path for found in leecher.objects()] == [str(target / "got")]
    assert chunk_of(leecher.open_object(source.content_id), 0) == chunk_of(source, 0)


def test_a_finished_download_is_deleted_when_asked(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = finished(leecher, source, target)
    leecher.discard_download(download.id, delete_data=True)
    assert (os.listdir(target), leecher.objects(), leecher.downloads()) == ([], [], [])


@pytest.mark.parametrize("change", ["added", "changed", "removed", "renamed"])
def test_a_folder_that_was_changed_is_not_deleted(
    source: ObjectSource, leecher: Store, target: Path, change: str
) -> None:
    download = finished(leecher, source, target)
    if change == "added":
        (target / "got/in/mine").write_bytes(b"mine")
    elif change == "changed":
        (target / "got/in/a").write_bytes(b"mine")
    elif change == "renamed":  # which changes no file
        (target / "got/empty").rename(target / "got/empty and mine")
    else:
        (target / "got/in/a").unlink()
    before = snapshot(target)
    with pytest.raises(LocalError, match="left alone"):
        leecher.discard_download(download.id, delete_data=True)
    assert snapshot(target) == before
    assert leecher.downloads() == [download]


def test_deleting_what_is_gone_already(source: ObjectSource, leecher: Store, target: Path) -> None:
    download = finished(leecher, source, target)
    (target / "got").rename(target / "moved")
    leecher.discard_download(download.id, delete_data=True)
    assert (os.listdir(target), leecher.objects()) == (["moved"], [])


def test_results_of_share_and_download_look_alike(
    seeder: Store, source: ObjectSource, leecher: Store, target: Path
) -> None:
    finished(leecher, source, target)
    [given], [got] = seeder.objects(), leecher.objects()
    assert isinstance(got, SharedObject)
    assert (got.size, got.n_files, got.n_chunks) == (given.size, given.n_files, given.n_chunks)
