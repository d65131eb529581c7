"""Sharing a path: what is remembered, what is read again, what is refused."""

from __future__ import annotations

import os
import threading
from array import array
from pathlib import Path

import pytest
from blake3 import blake3

from swarmd.core.errors import Incomplete, InvalidArgument, LocalError, NotFound
from swarmd.store.entries import TableBuilder
from swarmd.store.hashing import Hashed
from swarmd.store.manifest import PageKind
from swarmd.store.stamps import StampTable
from swarmd.store.store import Store
from swarmd.store.tables.objects import CopyRow
from tests.store.samples import Spec, filler, make_folder
from tests.store.transfers import CHUNK, KIB, chunk_of, rewrite, shared

FOLDER: Spec = {"big": 3 * CHUNK + 7, "empty": {}, "sub": {"a": 10, "b": 0, "link": "a", "ünï": 5000}}


def test_a_shared_folder_is_described_and_served(seeder: Store, tmp_path: Path) -> None:
    path = make_folder(tmp_path / "data", FOLDER)
    result = seeder.share(str(path))
    assert (result.name, result.path, result.is_folder) == ("data", str(path), True)
    assert (result.size, result.n_files, result.n_chunks, result.chunk_size) == (3 * CHUNK + 5017, 4, 5, CHUNK)
    assert seeder.objects() == [result]
    assert seeder.object(result.content_id) == result
    assert seeder.object_at(str(path)) == result
    source = seeder.open_object(result.content_id)
    assert chunk_of(source, 0) == filler("big", 3 * CHUNK + 7)[:CHUNK]
    assert chunk_of(source, 4) == filler("sub/a", 10) + filler("sub/ünï", 5000)


def test_equal_contents_have_equal_ids_wherever_they_lie(seeder: Store, leecher: Store, tmp_path: Path) -> None:
    one = make_folder(tmp_path / "one", FOLDER)
    other = make_folder(tmp_path / "other", FOLDER)
    assert seeder.share(str(one)).content_id == leecher.share(str(other)).content_id


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were opened for reading or writing since the test began."""
    names: list[str] = []
    really_open = os.open

    def spy(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not flags & os.O_PATH and not flags & os.O_DIRECTORY:
            names.append(os.path.basename(os.fsdecode(path)))
        return really_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", spy)
    return names


def test_an_unchanged_path_is_not_read_again(seeder: Store, tmp_path: Path, opened: list[str]) -> None:
    path = make_folder(tmp_path / "data", FOLDER)
    first = seeder.share(str(path))
    assert {"big", "a", "ünï"} <= set(opened)
    opened.clear()
    assert seeder.share(str(path)) == first
    assert opened == []


def test_of_an_unchanged_path_nothing_is_made_anew(
    seeder: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No name of it is checked or decoded again, when it is shared and when it is opened to be served."""
    path = make_folder(tmp_path / "data", FOLDER)
    first = seeder.share(str(path))
    source = seeder.open_object(first.content_id)
    added: list[object] = []
    monkeypatch.setattr(TableBuilder, "add", lambda *arguments: added.append(arguments))
    assert seeder.share(str(path)) == first
    assert seeder.open_object(first.content_id).entries is source.entries
    assert added == []


def give_other_devices(store: Store, path: Path) -> CopyRow:
    """As if the system had been started since; what was known before."""
    copies = store._library.copies
    copy = copies.at(str(path))
    assert copy is not None
    stamps = StampTable.decode(copy.stamps)
    devices = array("Q", [device + bool(device) for device in stamps.devices()])
    copies.restamp(copy.path, stamps.with_devices(devices).encode())
    return copy


def test_other_numbers_of_devices_are_no_reason_to_read_again(seeder: Store, tmp_path: Path, opened: list[str]) -> None:
    """They are given out anew when the system starts."""
    path = make_folder(tmp_path / "data", FOLDER)
    first = seeder.share(str(path))
    copy = give_other_devices(seeder, path)
    opened.clear()
    assert seeder.share(str(path)) == first
    assert opened == []
    assert seeder._library.copies.at(str(path)) == copy, "else each chunk would be hashed whenever it is served"


def test_a_folder_with_other_devices_and_one_change_is_read_where_it_changed(
    seeder: Store, tmp_path: Path, opened: list[str]
) -> None:
    path = make_folder(tmp_path / "data", {"big": 2 * CHUNK, "other": 2 * CHUNK})
    seeder.share(str(path))
    give_other_devices(seeder, path)
    rewrite(path / "other", filler("new", CHUNK + 1))
    opened.clear()
    seeder.share(str(path))
    assert set(opened) == {"other"}


def test_of_a_changed_folder_only_what_changed_is_read(seeder: Store, tmp_path: Path, opened: list[str]) -> None:
    path = make_folder(tmp_path / "data", {"big": 2 * CHUNK, "other": 2 * CHUNK, "small": 10})
    first = seeder.share(str(path))
    rewrite(path / "other", filler("new", CHUNK + 1))
    opened.clear()
    second = seeder.share(str(path))
    assert second.content_id != first.content_id
    assert set(opened) == {"other"}
    source = seeder.open_object(second.content_id)
    assert [chunk_of(source, index) for index in range(4)] == [
        filler("big", 2 * CHUNK)[:CHUNK],
        filler("big", 2 * CHUNK)[CHUNK:],
        filler("new", CHUNK + 1)[:CHUNK],
        filler("new", CHUNK + 1)[CHUNK:],
    ]


def test_a_path_shared_again_with_other_contents_replaces_what_it_held(seeder: Store, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    old = seeder.share(str(path))
    rewrite(path, b"newer")
    new = seeder.share(str(path))
    assert seeder.objects() == [new]
    with pytest.raises(NotFound):
        seeder.open_object(old.content_id)


def test_shares_survive_a_restart(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "data", FOLDER)
    store = Store.open(tmp_path / "state")
    before = shared(store, path)
    result = store.objects()
    pages = [before.page(kind, 0) for kind in PageKind]
    store.close()
    store = Store.open(tmp_path / "state")
    assert store.objects() == result
    after = store.open_object(before.content_id)
    assert (after.root, after.root_data) == (before.root, before.root_data)
    assert [after.page(kind, 0) for kind in PageKind] == pages
    assert after.page(PageKind.HASHES, 1) is None
    assert blake3(chunk_of(after, 1)).digest() == (pages[PageKind.HASHES] or b"")[32:64]
    store.close()


def test_an_object_with_two_copies_is_served_from_the_good_one(seeder: Store, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.write_bytes(filler("same", 3 * CHUNK))
    content_id = seeder.share(str(one)).content_id
    assert seeder.share(str(two)).content_id == content_id
    assert [found.name for found in seeder.objects()] == ["one", "two"]
    one.unlink()
    source = seeder.open_object(content_id)
    assert (source.path, len(source.have)) == (str(two), 3)
    seeder.forget(content_id)
    assert seeder.objects() == []
    assert two.exists()
    with pytest.raises(NotFound):
        seeder.forget(content_id)


def test_forgetting_drops_pages_of_no_further_use(seeder: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    content_id = seeder.share(str(tmp_path / "file")).content_id
    seeder.forget(content_id)
    assert seeder._database.query("SELECT COUNT(*) FROM pages") == [(0,)]
    assert seeder._database.query("SELECT COUNT(*) FROM objects") == [(0,)]


def test_a_path_that_is_not_utf8_can_be_shared_from(seeder: Store, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(folder)
    path = os.fsdecode(folder + b"/file")
    Path(path).write_bytes(b"contents")
    result = seeder.share(path)
    assert (result.name, seeder.objects()[0].path) == ("file", path)
    assert chunk_of(seeder.open_object(result.content_id), 0) == b"contents"


def test_a_share_through_a_link_is_of_what_the_link_leads_to(seeder: Store, tmp_path: Path) -> None:
    make_folder(tmp_path / "real", FOLDER)
    (tmp_path / "link").symlink_to("real")
    first = seeder.share(str(tmp_path / "link"))
    assert (first.name, first.path) == ("real", str(tmp_path / "real"))
    assert seeder.share(str(tmp_path / "real")) == first


def test_the_state_folder_is_not_shared(seeder: Store, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "seeder", tmp_path / "seeder" / "swarmd.db"):
        with pytest.raises(InvalidArgument, match="own state"):
            seeder.share(str(path))


def test_nothing_is_remembered_of_a_cancelled_share(seeder: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(4 * CHUNK))
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Incomplete):
        seeder.share(str(tmp_path / "file"), cancel=cancel)
    assert seeder.objects() == []


def test_progress_is_told(seeder: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(4 * CHUNK))
    calls: list[Hashed] = []
    seeder.share(str(tmp_path / "file"), progress=calls.append)
    assert calls[0] == Hashed(0, 4 * CHUNK, 0, 1), "the totals are known before anything is read"
    assert calls[-1] == Hashed(4 * CHUNK, 4 * CHUNK, 1, 1)
    calls.clear()
    seeder.share(str(tmp_path / "file"), progress=calls.append)
    assert calls == [Hashed(4 * CHUNK, 4 * CHUNK, 1, 1)]


@pytest.mark.parametrize("path", ["relative", "/", "/nowhere/at/all"])
def test_paths_that_cannot_be_shared(seeder: Store, path: str) -> None:
    with pytest.raises(LocalError):
        seeder.share(path)


def test_an_empty_file_and_an_empty_folder(seeder: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder"):
        result = seeder.share(str(tmp_path / name))
        source = seeder.open_object(result.content_id)
        assert (result.size, result.n_chunks, len(source.have), source.page(PageKind.HASHES, 0)) == (0, 0, 0, None)


def test_two_threads_may_share_at_once(seeder: Store, tmp_path: Path) -> None:
    paths = [make_folder(tmp_path / name, {"a": 300 * KIB, "b": number}) for number, name in enumerate("xyz")]
    threads = [threading.Thread(target=seeder.share, args=(str(path),)) for path in [*paths, *paths]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.path for result in seeder.objects()) == sorted(map(str, paths))
