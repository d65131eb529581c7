"""A download after a restart: what was committed is there without being read, and what is no longer true is found."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarmd.core.clock import SystemClock
from swarmd.core.errors import AlreadyExists, LocalError, NotFound
from swarmd.core.ids import GroupId
from swarmd.core.ranges import RangeSet
from swarmd.store.download import Download
from swarmd.store.manifest import PageKind
from swarmd.store.source import ObjectSource
from swarmd.store.store import DownloadRequest, Store
from swarmd.store.tables.downloads import State
from tests.store.samples import Spec, as_nobody, make_folder
from tests.store.transfers import CHUNK, MEMORY, chunk_of, give_chunks, give_metadata, prepared, shared, snapshot

# Chunks: big 0-2, other 3-5, small/a and small/b 6, the rest of small/b and small/c 7.
FOLDER: Spec = {
    "big": 2 * CHUNK + 1,
    "other": 3 * CHUNK,
    "small": {"a": 10, "b": CHUNK - 1, "c": 500, "d": {"l": "../a"}},
}
_PR_SET_DUMPABLE = 4
ALL = RangeSet.single(0, 8)


@pytest.fixture
def source(seeder: Store, tmp_path: Path) -> ObjectSource:
    return shared(seeder, make_folder(tmp_path / "data", FOLDER))


class Node:
    """A store that can be stopped as by a crash (nothing is committed), and started again."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.store = Store.open(state_dir)

    @property
    def download(self) -> Download:
        return self.store.downloads()[0]

    def crash(self) -> None:
        for download in self.store.downloads():
            download.close()
            download.commit = lambda: None  # type: ignore[method-assign]
        self.store.close()

    def restart(self) -> Download:
        self.crash()
        self.store = Store.open(self.state_dir)
        return self.download


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "leecher")
    yield node
    node.store.close()


def test_what_was_committed_is_there_again(
    node: Node, source: ObjectSource, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = prepared(node.store, source, target)
    give_chunks(source, download, [0, 4, 6])
    download.commit()
    assert download.uncommitted_bytes == 0
    give_chunks(source, download, [1, 7])
    assert download.uncommitted_bytes == CHUNK + 509
    download = node.restart()
    assert (download.have, download.is_prepared) == (RangeSet([(0, 1), (4, 5), (6, 7)]), False)
    with monkeypatch.context() as nothing_is_read:
        nothing_is_read.setattr(os, "preadv", None)
        download.prepare()
    assert download.notice == ""
    buffer = bytearray(CHUNK)
    assert buffer[: download.read_chunk(4, buffer)] == chunk_of(source, 4)
    give_chunks(source, download)
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))


def test_a_clean_stop_loses_nothing(node: Node, source: ObjectSource, target: Path) -> None:
    give_chunks(source, prepared(node.store, source, target), [2, 5])
    node.store.close()
    node.store = Store.open(node.state_dir)
    assert node.download.have == RangeSet([(2, 3), (5, 6)])


def test_metadata_and_settings_are_there_again(node: Node, source: ObjectSource, target: Path) -> None:
    group = GroupId(b"g" * 32)
    download = node.store.create_download(
        DownloadRequest(source.content_id, str(target), "got", order="lowest", group_id=group)
    )
    download.set_error("waiting")
    download.set_paused(True)
    row = download.row
    assert abs(row.created_at / 1000 - SystemClock().wall()) < 60
    download = node.restart()
    assert (download.row, download.root) == (row, None)
    download.accept_root(source.root_data)
    download = node.restart()
    assert (download.root, download.missing_entry_pages()) == (source.root, [0])
    give_metadata(source, download)
    download.commit()
    download = node.restart()
    assert (download.missing_entry_pages(), download.verifiable) == ([], ALL)
    assert download.page(PageKind.HASHES, 0) == source.page(PageKind.HASHES, 0)
    download.prepare()


def test_a_finished_download_stays_finished(node: Node, source: ObjectSource, target: Path) -> None:
    download = prepared(node.store, source, target)
    give_chunks(source, download)
    download.finish()
    download = node.restart()
    assert (download.row.state, download.have, download.is_complete) == (State.FINISHED, ALL, True)
    with pytest.raises(LocalError, match="finished"):
        download.prepare()
    assert chunk_of(node.store.open_object(source.content_id), 3) == chunk_of(source, 3)


@pytest.mark.parametrize("state", [State.PREPARING, State.FINISHING])
@pytest.mark.parametrize("with_identity", [False, True])
def test_a_crash_while_the_part_was_made_or_finished(
    node: Node, source: ObjectSource, target: Path, state: State, with_identity: bool
) -> None:
    download = prepared(node.store, source, target)
    if state is State.PREPARING:
        shutil.rmtree(target / "got.part/small")
        part = download.row.part if with_identity else b""
        node.store._library.downloads.update(download.id, state=state, part=part, inodes=b"")
    else:
        give_chunks(source, download)
        download.commit()
        node.store._library.downloads.update(download.id, state=state)
        if with_identity:  # and after the renaming
            (target / "got.part").rename(target / "got")
    download = node.restart()
    download.prepare()
    give_chunks(source, download)
    download.finish()
    assert download.notice == ""
    assert sorted(os.listdir(target)) == ["got"]
    assert [found.content_id for found in node.store.objects()] == [source.content_id]
    assert {path: kind for path, (kind, *_) in snapshot(target / "got").items()} == {
        path: kind
        for path, (kind, *_) in snapshot(Path(source.path)).items()
        if not (with_identity and state is State.FINISHING) or kind != "link"
    }


def test_a_crash_while_it_was_deleted(node: Node, source: ObjectSource, target: Path) -> None:
    download = prepared(node.store, source, target)
    give_chunks(source, download)
    node.store._library.downloads.update(download.id, state=State.DISCARDING)
    shutil.rmtree(target / "got.part/small")
    node.crash()
    node.store = Store.open(node.state_dir)
    assert (node.store.downloads(), os.listdir(target)) == ([], [])


def swap(path: Path) -> None:
    """Another file with the same contents, as after a restore from a backup."""
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    copy.replace(path)


def swap_with_damage(path: Path) -> None:
    swap(path)
    with path.open("r+b") as file:
        file.seek(CHUNK + 100)
        file.write(b"damage")


def replace_by_link(path: Path) -> None:
    """To a file that is not ours, and that would pass for it by size."""
    outside = path.parents[2] / "outside"
    path.rename(outside)
    path.symlink_to(outside)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


CHANGES: dict[str, tuple[Callable[[Path], object], RangeSet]] = {
    "deleted": (Path.unlink, RangeSet([(0, 3), (6, 8)])),
    "shrunk": (lambda path: os.truncate(path, 2 * CHUNK + 1), RangeSet([(0, 5), (6, 8)])),
    "emptied": (lambda path: os.truncate(path, 0), RangeSet([(0, 3), (6, 8)])),
    "grown": (grow, ALL),
    "restored": (swap, ALL),
    "restored with damage": (swap_with_damage, RangeSet([(0, 4), (5, 8)])),
    "replaced by a link": (replace_by_link, RangeSet([(0, 3), (6, 8)])),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("is_running", [False, True], ids=["while stopped", "while running"])
def test_a_part_that_was_changed_from_outside(
    node: Node, source: ObjectSource, target: Path, change: str, is_running: bool
) -> None:
    action, left = CHANGES[change]
    download = prepared(node.store, source, target)
    give_chunks(source, download)
    download.commit()
    if not is_running:
        node.crash()
    action(target / "got.part/other")
    if is_running:
        if left != ALL:
            with pytest.raises(LocalError):
                download.finish()
    else:
        node.store = Store.open(node.state_dir)
        download = node.download
        download.prepare()
    assert download.have == left
    assert bool(download.notice) == (left != ALL)
    if change == "replaced by a link":
        (target / "got.part/other").unlink()
    give_chunks(source, download)
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))
    if change == "replaced by a link":
        assert (target.parent / "outside").read_bytes() == (target / "got/other").read_bytes()


def test_small_files_that_were_restored_get_their_mode(node: Node, source: ObjectSource, target: Path) -> None:
    download = prepared(node.store, source, target)
    give_chunks(source, download)
    download.commit()
    swap(target / "got.part/small/a")
    (target / "got.part/small/a").chmod(0o600)
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))


def test_small_files_and_folders_that_vanished(node: Node, source: ObjectSource, target: Path) -> None:
    download = prepared(node.store, source, target)
    give_chunks(source, download)
    download.commit()
    node.crash()
    shutil.rmtree(target / "got.part/small")
    node.store = Store.open(node.state_dir)
    download = node.download
    download.prepare()
    assert download.have == RangeSet.single(0, 6)
    assert "2 chunks" in download.notice
    give_chunks(source, download)
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))


@pytest.mark.parametrize("is_running", [False, True], ids=["while stopped", "while running"])
def test_a_part_that_vanished_is_begun_again(node: Node, source: ObjectSource, target: Path, is_running: bool) -> None:
    download = prepared(node.store, source, target)
    give_chunks(source, download, range(4))
    download.commit()
    if not is_running:
        node.crash()
    shutil.rmtree(target / "got.part")
    if is_running:
        with pytest.raises(NotFound):  # a small file has nowhere to go
            give_chunks(source, download)
        with pytest.raises(NotFound, match=r"got\.part is gone"):
            download.commit()
    else:
        node.store = Store.open(node.state_dir)
        download = node.download
    download.prepare()
    assert (download.have, download.is_prepared) == (RangeSet(), True)
    assert "starts again" in download.notice
    download = node.restart()
    assert download.have == RangeSet()
    download.prepare()
    give_chunks(source, download)
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))


def test_a_part_of_somebody_else_in_its_place_is_left_alone(node: Node, source: ObjectSource, target: Path) -> None:
    download = prepared(node.store, source, target)
    give_chunks(source, download)
    download.commit()
    node.crash()
    (target / "got.part").rename(target / "moved")
    (target / "got.part").write_bytes(b"mine")
    node.store = Store.open(node.state_dir)
    with pytest.raises(AlreadyExists, match="in the way"):
        node.download.prepare()
    node.store.discard_download(node.download.id, delete_data=True)
    assert (target / "got.part").read_bytes() == b"mine"


def test_a_part_that_was_swapped_before_it_was_filled_is_left_alone(
    node: Node, source: ObjectSource, target: Path
) -> None:
    download = prepared(node.store, source, target)
    node.store._library.downloads.update(download.id, state=State.PREPARING)
    (target / "got.part").rename(target / "ours")
    (target / "got.part").mkdir()
    download = node.restart()
    with pytest.raises(AlreadyExists, match="not ours"):
        download.prepare()
    node.store.discard_download(download.id, delete_data=True)
    assert sorted(os.listdir(target)) == ["got.part", "ours"]


def test_a_target_that_is_away_keeps_its_chunks(node: Node, source: ObjectSource, target: Path) -> None:
    give_chunks(source, prepared(node.store, source, target), [0, 3])
    node.download.commit()
    node.crash()
    target.rename(target.with_name("away"))
    node.store = Store.open(node.state_dir)
    with pytest.raises(NotFound, match="target does not exist"):
        node.download.prepare()
    assert len(node.download.have) == 2
    target.with_name("away").rename(target)
    node.download.prepare()
    assert len(node.download.have) == 2


@pytest.mark.root
def test_a_target_that_is_not_mounted_keeps_its_chunks(
    node: Node, source: ObjectSource, target: Path, small_disk: Path
) -> None:
    """An empty mount point must not be taken for a deleted part."""
    subprocess.run(["mount", "--bind", small_disk, target], check=True)
    give_chunks(source, prepared(node.store, source, target), [0, 3])
    node.download.commit()
    node.crash()
    subprocess.run(["umount", target], check=True)
    node.store = Store.open(node.state_dir)
    with pytest.raises(NotFound, match="mount the one that holds it"):
        node.download.prepare()
    node.restart()
    assert len(node.download.have) == 2
    subprocess.run(["mount", "--bind", small_disk, target], check=True)
    try:
        node.download.prepare()
        assert len(node.download.have) == 2
        assert node.download.notice == ""
        node.crash()
    finally:
        subprocess.run(["umount", target], check=True)
    node.store = Store.open(node.state_dir)


def test_folders_that_may_not_be_written_to_are_finished_again() -> None:
    """As a user to whom modes mean something."""
    with as_nobody(), tempfile.TemporaryDirectory(dir=MEMORY) as place:
        allow_proc_self()
        folder = make_folder(Path(place, "data"), {"in": {"file": 10, "none": 0, "link": "file", "big": 2 * CHUNK}})
        for path in (folder / "in/file", folder / "in/none", folder / "in/big"):
            path.chmod(0o400)
        (folder / "in").chmod(0o500)
        folder.chmod(0o500)
        store, node = Store.open(Path(place, "seeder")), Node(Path(place, "leecher"))
        try:
            source = shared(store, folder)
            give_chunks(source, prepared(node.store, source, Path(place)))
            Path(place, "got").mkdir()
            for _ in range(2):
                with pytest.raises(AlreadyExists):
                    node.download.finish()
            node.download.commit()
            node.store._library.downloads.update(node.download.id, state=State.FINISHING)
            node.restart().prepare()
            Path(place, "got").rmdir()
            node.download.finish()
            assert snapshot(Path(place, "got")) == snapshot(folder)
            node.store.discard_download(node.download.id, delete_data=True)
            assert not Path(place, "got").exists()
        finally:
            node.store.close()
            store.close()
            for path in (folder, folder / "in"):
                path.chmod(0o700)


def allow_proc_self() -> None:
    """Changing users hides a process from itself in /proc/self/fd; a daemon that was started as that user sees it."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1)


def test_a_damaged_have_set_claims_nothing(node: Node, source: ObjectSource, target: Path) -> None:
    give_chunks(source, prepared(node.store, source, target))
    node.download.commit()
    node.store._library.downloads.update(node.download.id, have=b"\xff\xff\xff")
    assert node.restart().have == RangeSet()
