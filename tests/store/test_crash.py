"""The crash contract, with kill -9: what was committed is there, nothing false is claimed, and all goes on from there.

`crash` has the process that is killed: at random moments from outside, and before each single call of the store that
changes a disk. A power cut also takes what was not synced; `test_data_is_synced_before_it_is_claimed` holds the order.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from swarmd.core.clock import SystemClock
from swarmd.core.errors import LocalError
from swarmd.core.ranges import RangeSet
from swarmd.core.rng import SeededRng
from swarmd.store import part, tree
from swarmd.store.download import Download
from swarmd.store.manifest import PageKind
from swarmd.store.share import SharedObject
from swarmd.store.store import DownloadRequest, Store
from swarmd.store.tables.downloads import DownloadsTable, State
from tests.store.crash import CHUNKS_FOR_EACH_COMMIT, begun
from tests.store.samples import Spec, make_folder
from tests.store.transfers import CHUNK, give_chunks, give_metadata, prepared, rewrite, shared, snapshot

FOLDER: Spec = {
    "big": 20 * CHUNK + 1,
    "empty": {},
    "small": {"none": 0, "link": "none", **{f"{number:03}": 4000 for number in range(150)}},
}
TINY: Spec = {"big": CHUNK + 1, "in": {"a": 10, "b": 20, "link": "a", "none": 0}}
LONGEST_WAIT = 0.03
"""Seconds after a line of output at which the process is killed: about what one share of FOLDER takes."""


class Driver:
    """The other end of `tests.store.crash`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.store.crash"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._clock = SystemClock()

    def run(
        self, scenario: str, folder: Path, *, seed: int = 0, die_at: int = -1, lines: int | None = None, wait: float = 0
    ) -> tuple[list[str], int]:
        """What it told, and its wait status. Killed `wait` seconds after so many lines, if it lives that long."""
        self._order({"scenario": scenario, "folder": str(folder), "seed": seed, "die_at": die_at})
        pid = int(self._line().split()[1])
        told: list[str] = []
        while not (line := self._line()).endswith("ended"):  # a kill may leave half a line before it
            told.append(line)
            if len(told) == lines:
                until = self._clock.monotonic() + wait
                while self._clock.monotonic() < until:
                    pass
                os.kill(pid, signal.SIGKILL)
        self._order({})
        return told, int(self._line().split()[1])

    def close(self) -> None:
        self._process.communicate()

    def _order(self, order: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().rstrip()
        assert line, "the driver has ended"
        return line


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


def set_up(folder: Path, spec: Spec) -> None:
    """A seeder that shares `spec`, and an empty target."""
    (folder / "target").mkdir()
    store = Store.open(folder / "seeder")
    store.share(str(make_folder(folder / "data", spec)))
    store.close()


def verified(download: Download) -> bool:
    """Whether every chunk that is claimed is there."""
    buffer = bytearray(CHUNK)
    return all(
        blake3(memoryview(buffer)[: download.read_chunk(index, buffer)]).digest() == download.hash_of(index)
        for index in download.have
    )


def go_on(folder: Path, committed: set[int]) -> None:
    """Open the stores that a killed process left, check what they claim, and take the download to its end."""
    seeder, leecher = Store.open(folder / "seeder"), Store.open(folder / "leecher")
    try:
        source = seeder.open_object(seeder.objects()[0].content_id)
        if not leecher.objects():
            download = begun(leecher, DownloadRequest(source.content_id, str(folder / "target"), "got"))
            assert committed <= set(download.have)
            give_metadata(source, download)
            download.prepare()
            assert download.notice == ""
            assert committed <= set(download.have)
            assert verified(download)
            give_chunks(source, download)
            download.finish()
        assert sorted(os.listdir(folder / "target")) == ["got"]
        assert snapshot(folder / "target/got") == snapshot(folder / "data")
        assert [found.state for found in (row.row for row in leecher.downloads())] == [State.FINISHED]
        assert leecher.share(str(folder / "target/got")).content_id == source.content_id
    finally:
        leecher.close()
        seeder.close()


def last_commit(told: list[str]) -> set[int]:
    commits = [line for line in told if line.startswith("committed")]
    return set(map(int, commits[-1].split()[1:])) if commits else set()


@pytest.mark.parametrize("seed", range(20))
def test_a_download_killed_at_a_random_moment(driver: Driver, tmp_path: Path, seed: int) -> None:
    set_up(tmp_path, FOLDER)
    rng = SeededRng(seed)
    told: list[str] = []
    committed: set[int] = set()
    for round_ in range(3):
        lines, wait = 1 + rng.randrange(24 // (round_ + 1)), rng.random() * LONGEST_WAIT * (rng.randrange(4) == 0)
        told, _ = driver.run("download", tmp_path, seed=seed, lines=lines, wait=wait)
        committed |= last_commit(told)
        written = {int(line.split()[1]) for line in told if line.startswith("wrote")}
        assert len(written - committed) <= CHUNKS_FOR_EACH_COMMIT
    go_on(tmp_path, committed)


def test_a_download_killed_before_every_change_of_a_disk(driver: Driver, tmp_path: Path) -> None:
    for number in range(1000):
        folder = tmp_path / str(number)
        folder.mkdir()
        set_up(folder, TINY)
        told, status = driver.run("download", folder, die_at=number)
        go_on(folder, last_commit(told))
        if status == 0:
            assert told[-1] == "finished"
            assert number > 50
            return
    pytest.fail("it never came to its end")


def test_a_discard_killed_before_every_change_of_a_disk(driver: Driver, tmp_path: Path) -> None:
    for number in range(1000):
        folder = tmp_path / str(number)
        folder.mkdir()
        set_up(folder, TINY)
        driver.run("begin", folder)
        _, status = driver.run("discard", folder, die_at=number)
        store = Store.open(folder / "leecher")
        try:
            check_discarded(store, folder / "target")
        finally:
            store.close()
        if status == 0:
            assert number > 5
            return
    pytest.fail("it never came to its end")


def check_discarded(store: Store, target: Path) -> None:
    """Not at all, or altogether."""
    if store.downloads():
        [download] = store.downloads()
        download.prepare()
        assert download.have == RangeSet.single(0, 1)
        assert verified(download)
    else:
        assert os.listdir(target) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_share_killed_at_a_random_moment(driver: Driver, tmp_path: Path, seed: int) -> None:
    rng = SeededRng(seed)
    make_folder(tmp_path / "data", FOLDER)
    reference = Store.open(tmp_path / "reference")
    expected = [reference.share(str(tmp_path / "data"))]
    driver.run("share", tmp_path, lines=1, wait=rng.random() * LONGEST_WAIT)
    check_shares(tmp_path, [[], expected])
    store = Store.open(tmp_path / "seeder")
    store.share(str(tmp_path / "data"))
    store.close()
    rewrite(tmp_path / "data/big", bytes(30 * CHUNK))
    changed = [reference.share(str(tmp_path / "data"))]
    reference.close()
    driver.run("share", tmp_path, lines=1, wait=rng.random() * LONGEST_WAIT)
    check_shares(tmp_path, [expected, changed])


def check_shares(folder: Path, allowed: Sequence[list[SharedObject]]) -> None:
    """One of these is known, and what of it is given out is true."""
    store = Store.open(folder / "seeder")
    assert store.objects() in allowed
    for found in store.objects():
        source = store.open_object(found.content_id)
        source.check()
        for index in source.have:
            buffer = bytearray(CHUNK)
            length = source.read_chunk(index, buffer)
            page = source.page(PageKind.HASHES, 0) or b""
            assert blake3(memoryview(buffer)[:length]).digest() == page[index * 32 : index * 32 + 32]
    store.close()


class UnsyncedDisk:
    """What a power cut would take now: inodes whose data, or whose names, were changed and not synced since."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inodes: set[int] = set()
        self.claims = 0
        self._patch = monkeypatch
        self._after(os, "pwritev", lambda descriptor, *_: self._changed(descriptor))
        self._after(os, "fchmod", lambda descriptor, *_: self._changed(descriptor))
        self._after(os, "mkdir", lambda *_, dir_fd: self._changed(dir_fd))
        self._after(os, "symlink", lambda *_, dir_fd: self._changed(dir_fd))
        self._after(os, "open", self._opened)
        self._after(tree, "_renameat2", lambda old, _, new, *__: self._changed(old, new))
        self._after(os, "fsync", lambda descriptor: self.inodes.discard(os.fstat(descriptor).st_ino))
        self._after(part, "sync_file_system", lambda _: self.inodes.clear())
        self._before(DownloadsTable, "update", self._claimed)

    def _after(self, owner: Any, name: str, note: Callable[..., object]) -> None:
        call = getattr(owner, name)

        def wrapper(*arguments: Any, **options: Any) -> Any:
            result = call(*arguments, **options)
            note(*arguments, **options)
            return result

        self._patch.setattr(owner, name, wrapper)

    def _before(self, owner: Any, name: str, note: Callable[..., object]) -> None:
        call = getattr(owner, name)

        def wrapper(*arguments: Any, **options: Any) -> Any:
            note(*arguments, **options)
            return call(*arguments, **options)

        self._patch.setattr(owner, name, wrapper)

    def _changed(self, *descriptors: int) -> None:
        self.inodes.update(os.fstat(descriptor).st_ino for descriptor in descriptors)

    def _opened(self, _: object, flags: int, *__: object, dir_fd: int | None = None) -> None:
        if flags & os.O_CREAT and dir_fd is not None:
            self._changed(dir_fd)

    def _claimed(self, *_: object, **columns: object) -> None:
        if columns.keys() & {"have", "part", "state"} and columns.get("state") is not State.PREPARING:
            assert not self.inodes, f"claimed {[*columns]} before it was synced"
            self.claims += 1


@pytest.mark.parametrize("spec", [TINY, FOLDER, {}], ids=["few files", "many files", "no files"])
def test_data_is_synced_before_it_is_claimed(
    seeder: Store, leecher: Store, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, spec: Spec
) -> None:
    source = shared(seeder, make_folder(tmp_path / "data", spec))
    disk = UnsyncedDisk(monkeypatch)
    download = prepared(leecher, source, target)
    for index in range(source.root.n_chunks):
        give_chunks(source, download, [index])
        assert disk.inodes
        if index % 4 == 0:
            download.commit()
    download.finish()
    assert not disk.inodes
    assert disk.claims >= 3 + (source.root.n_chunks + 3) // 4


def test_preparing_again_claims_nothing_that_was_not_synced(
    seeder: Store, leecher: Store, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shared(seeder, make_folder(tmp_path / "data", TINY))
    UnsyncedDisk(monkeypatch)
    download = prepared(leecher, source, target)
    give_chunks(source, download, [0, 1])
    download.prepare()
    assert download.have == RangeSet.single(0, 2)
    give_chunks(source, download, [2])
    target.rename(target.with_name("away"))
    with pytest.raises(LocalError):
        download.prepare()
    target.with_name("away").rename(target)
    download.prepare()
    give_chunks(source, download)
    download.commit()
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))


def test_a_sync_that_fails_takes_back_what_it_should_have_kept(
    seeder: Store, leecher: Store, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error the kernel may have dropped the pages: nothing is known of them."""
    source = shared(seeder, make_folder(tmp_path / "data", TINY))
    download = prepared(leecher, source, target)
    give_chunks(source, download, [0])
    download.commit()
    give_chunks(source, download, [1, 2])

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(LocalError, match="Input/output error"):
            download.commit()
    assert (download.have, download.uncommitted_bytes) == (RangeSet.single(0, 1), 0)
    give_chunks(source, download)
    download.finish()
    assert snapshot(target / "got") == snapshot(Path(source.path))
