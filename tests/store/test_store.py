"""The store as a whole: one process at a time, private files, and what `open` says when it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from swarmd.core.errors import Conflict, LocalError
from swarmd.core.ids import ContentId, GroupId
from swarmd.core.rng import SeededRng
from swarmd.store.store import DownloadRequest, Store
from swarmd.store.tables.groups import GroupRow
from tests.store.samples import as_nobody, filler
from tests.store.transfers import CHUNK, MEMORY, chunk_of, shared

HOLD = """
import sys
from swarmd.store.store import Store
store = Store.open(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_swarmd_is_told_who_the_first_is(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "state")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(Conflict, match=rf"another swarmd runs on this state folder.*pid {holder.pid}\)"):
            Store.open(tmp_path / "state")
        holder.send_signal(signal.SIGKILL)
    Store.open(tmp_path / "state").close()


def test_one_process_cannot_open_it_twice_but_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a/b/state")
    with pytest.raises(Conflict, match=f"pid {os.getpid()}"):
        Store.open(tmp_path / "a/b/state")
    store.close()
    Store.open(tmp_path / "a/b/state").close()


def test_the_pid_of_an_earlier_one_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4194304000\n")
    store = Store.open(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    store.close()


def test_its_files_are_private(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "state")
    store.groups.put(GroupRow(GroupId(bytes(32)), b"secret", 0.0))
    modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "state").iterdir()}
    assert modes == {"lock": 0, "swarmd.db": 0, "swarmd.db-wal": 0, "swarmd.db-shm": 0}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    store.close()


def test_a_state_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="file"):
        Store.open(tmp_path / "file")
    with as_nobody(), tempfile.TemporaryDirectory(dir=MEMORY) as place:
        os.chmod(place, 0o500)
        with pytest.raises(LocalError, match=f"{place}.* is not writable for uid"):
            Store.open(Path(place, "state"))


def test_a_damaged_database_does_not_keep_the_lock(tmp_path: Path) -> None:
    (tmp_path / "swarmd.db").write_bytes(b"damaged" * 1000)
    for _ in range(2):
        with pytest.raises(LocalError, match="damaged"):
            Store.open(tmp_path)
    (tmp_path / "swarmd.db").unlink()
    Store.open(tmp_path).close()


class OneByteRng(SeededRng):
    """Draws the same bytes three times before others."""

    def __init__(self) -> None:
        super().__init__(1)
        self._left = 3

    def bytes(self, n: int) -> bytes:
        self._left -= 1
        return bytes(n) if self._left >= 0 else super().bytes(n)


def test_no_two_downloads_have_the_same_id(tmp_path: Path, target: Path) -> None:
    store = Store.open(tmp_path / "state", rng=OneByteRng())
    for number in range(4):
        store.create_download(DownloadRequest(ContentId(bytes([number]) * 32), str(target), f"{number}"))
    ids = [download.id for download in store.downloads()]
    assert ids[0] == "aaaaaaaa"
    assert len(set(ids)) == 4
    store.close()


def test_idle_files_are_closed(seeder: Store, tmp_path: Path) -> None:
    """So that a drive can be unmounted, and a deleted file's room is free again."""
    path = tmp_path / "file"
    path.write_bytes(filler("file", 2 * CHUNK))
    source = shared(seeder, path)
    chunk_of(source, 0)

    def is_open() -> bool:
        return any(os.path.exists(fd) and os.path.samefile(fd, path) for fd in Path("/proc/self/fd").iterdir())

    assert is_open()
    seeder.close_idle()
    assert is_open()
    seeder.close_idle()
    assert not is_open()
    assert chunk_of(source, 1) == filler("file", 2 * CHUNK)[CHUNK:]


@pytest.mark.parametrize(("mode", "is_told"), [(0o777, True), (0o703, True), (0o1777, False), (0o775, False)])
def test_a_state_folder_that_others_may_write_in_is_spoken_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, is_told: bool
) -> None:
    tmp_path.chmod(mode)
    Store.open(tmp_path).close()
    tmp_path.chmod(0o700)
    assert (f"chmod 700 {tmp_path}" in caplog.text) == is_told
