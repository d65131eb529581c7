"""Scanning: what is on a disk becomes a table, or an error that names what cannot."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmd.core.errors import Incomplete, InvalidArgument, LocalError, NotAllowed, NotFound
from swarmd.store.entries import LINK_MODE, Entry, EntryKind
from swarmd.store.scan import scan_tree
from swarmd.store.stamps import NO_STAMP, FileStamp, StampTable
from tests.store.samples import Spec, as_nobody, entries_of, make_folder


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """That another user than ours can get to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_a_folder(tmp_path: Path) -> None:
    spec: Spec = {
        "empty folder": {},
        "файл": 3,
        "文件": {"\U0001f600.txt": 0, "up": "../файл", "here": ".", "nowhere": "no/such/thing"},
        "a": {"b": {"c": {"d": 5}}},
        "a-": 1,
        "a b": 2,
    }
    folder = make_folder(tmp_path / "shared", spec)
    for entry in entries_of(spec):
        if entry.kind is not EntryKind.SYMLINK:
            os.chmod(folder.joinpath(*entry.path), entry.mode)
    scan = scan_tree(str(folder))
    assert list(scan.entries) == list(entries_of(spec))
    assert scan.path == str(folder)
    assert len(scan.stamps) == len(scan.entries)
    for index, entry in enumerate(scan.entries):
        status = folder.joinpath(*entry.path).lstat()
        is_file = entry.kind is EntryKind.FILE
        assert scan.stamps[index] == (FileStamp.of(status) if is_file else NO_STAMP)


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "disk.iso"
    file.write_bytes(b"12345")
    file.chmod(0o640)
    scan = scan_tree(str(file))
    assert list(scan.entries) == [Entry((), EntryKind.FILE, 5, 0o640)]
    assert scan.stamps[0] == FileStamp.of(file.stat())


def test_the_users_own_path_may_be_a_link(tmp_path: Path) -> None:
    make_folder(tmp_path / "real", {"a": 1})
    (tmp_path / "link").symlink_to("real")
    scan = scan_tree(str(tmp_path / "link" / "a"))
    assert scan.path == str(tmp_path / "real" / "a")
    assert len(scan_tree(str(tmp_path / "link")).entries) == 2


def test_modes_are_permissions_with_which_the_owner_can_read(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "shared", {"a": 1, "b": 1, "d": {}})
    (folder / "a").chmod(0o4751)
    (folder / "b").chmod(0o002)
    (folder / "d").chmod(0o1007)
    scan = scan_tree(str(folder))
    assert [oct(entry.mode) for entry in scan.entries][1:] == ["0o751", "0o402", "0o507"]


def test_links_are_written_in_one_way(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "shared", {"d": {}, "a": "./d", "b": "d/", "c": ".//d", "e": "./"})
    assert [entry.target for entry in scan_tree(str(folder)).entries if entry.target] == ["d", "d", "d", "."]


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "shared", {"d": {"a": 1}, "loop": ".", "to d": "d"})
    assert [entry.path for entry in scan_tree(str(folder)).entries] == [
        (),
        ("d",),
        ("d", "a"),
        ("loop",),
        ("to d",),
    ]


@pytest.mark.parametrize("target", ["/etc/passwd", "../other", "d/../../other", "../shared/d", "d/.."])
def test_a_link_that_leaves_the_folder_is_named(tmp_path: Path, target: str) -> None:
    folder = make_folder(tmp_path / "shared", {"d": {}, "leaving": target})
    with pytest.raises(InvalidArgument, match=rf"{folder} cannot be shared: leaving is a link to {target}:"):
        scan_tree(str(folder))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a:b", "d/a:b"),
        (b"back\\slash", r"d/back\\slash"),
        (b"caf\xe9", r"d/caf\\xe9"),
        (b"bell\x07", r"d/bell\\x07"),
        (b"dot.", r"d/dot\."),
        (b"NUL", "d/NUL"),
    ],
)
def test_a_name_that_cannot_travel_is_named(tmp_path: Path, name: bytes, shown: str) -> None:
    folder = make_folder(tmp_path / "shared", {"d": {}})
    Path(os.fsdecode(os.fsencode(folder / "d") + b"/" + name)).write_bytes(b"")
    with pytest.raises(InvalidArgument, match=f"{folder} cannot be shared: {shown} cannot travel: .* Rename"):
        scan_tree(str(folder))


@pytest.mark.parametrize(("one", "other"), [("README", "readme"), ("\u00e9", "e\u0301")])
def test_names_that_would_collide_elsewhere_are_named(tmp_path: Path, one: str, other: str) -> None:
    folder = make_folder(tmp_path / "shared", {one: 1, other: 1})
    with pytest.raises(InvalidArgument, match="differs from another name in its folder only in case or Unicode form"):
        scan_tree(str(folder))


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "shared", {"d": {}})
    os.mkfifo(folder / "d" / "pipe")
    with pytest.raises(InvalidArgument, match=f"{folder}/d/pipe is a pipe"):
        scan_tree(str(folder))
    with pytest.raises(InvalidArgument, match=f"{folder}/d/pipe is a pipe"):
        scan_tree(str(folder / "d" / "pipe"))
    (folder / "d" / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "d" / "socket"))
        with pytest.raises(InvalidArgument, match=f"{folder}/d/socket is a socket"):
            scan_tree(str(folder))
    with pytest.raises(InvalidArgument, match="/dev/null is a device"):
        scan_tree("/dev/null")


def test_too_many_folders_within_each_other(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "shared", {})
    folder.joinpath(*["d"] * 101).mkdir(parents=True)
    with pytest.raises(InvalidArgument, match="more than 100 folders"):
        scan_tree(str(folder))


def test_a_path_that_is_not_there_says_which_component(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(NotFound, match=f"^{tmp_path}/there/missing does not exist"):
        scan_tree(str(tmp_path / "there" / "missing" / "file"))
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(NotFound, match="nothing"):
        scan_tree(str(tmp_path / "dangling"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidArgument, match=f"^{tmp_path}/file is not a folder"):
        scan_tree(str(tmp_path / "file" / "below"))
    with pytest.raises(InvalidArgument, match="absolute"):
        scan_tree("there")


def test_a_folder_that_cannot_be_read_says_which_and_as_whom(public_folder: Path) -> None:
    make_folder(public_folder / "shared", {"open": {}, "shut": {"inner": {}}})
    (public_folder / "shared" / "shut").chmod(0o000)
    try:
        with as_nobody(), pytest.raises(NotAllowed) as caught:
            scan_tree(str(public_folder / "shared"))
        assert f"{public_folder}/shared/shut is not readable for uid " in str(caught.value)
        assert "mode 0000" in str(caught.value)
        with as_nobody(), pytest.raises(NotAllowed, match=f"^{public_folder}/shared/shut is not accessible"):
            scan_tree(str(public_folder / "shared" / "shut" / "inner"))
    finally:
        (public_folder / "shared" / "shut").chmod(0o700)


def test_no_file_is_opened(public_folder: Path) -> None:
    folder = make_folder(public_folder / "shared", {"secret": 5})
    (folder / "secret").chmod(0o000)
    with as_nobody():
        assert scan_tree(str(folder)).entries.size(1) == 5


def test_cancelled(tmp_path: Path) -> None:
    make_folder(tmp_path / "shared", {"a": 1})
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Incomplete, match="cancelled"):
        scan_tree(str(tmp_path / "shared"), cancel)


def test_an_entry_order_that_equals_the_manifests(tmp_path: Path) -> None:
    """Sorted by bytes: as str, "\U0001f600" sorts like its UTF-8, and a "/" never takes part."""
    names = ["\uffee", "\U0001f600", "a", "a b", "a-b", "B", "ä", "z"]
    folder = make_folder(tmp_path / "shared", {name: {"inner": 1} for name in names})
    tops = [entry.path[0] for entry in scan_tree(str(folder)).entries if len(entry.path) == 1]
    assert tops == sorted(names, key=str.encode)


def test_stamps_are_stored_and_read_back(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "shared", {"a": 1, "d": {"b": 2}})
    os.utime(folder / "a", ns=(-5, -5))
    stamps = scan_tree(str(folder)).stamps
    assert stamps[1].mtime_ns == -5
    assert len(stamps.encode()) == 40 * len(stamps)
    assert StampTable.decode(stamps.encode()) == stamps
    with pytest.raises(LocalError, match="damaged"):
        StampTable.decode(stamps.encode()[:-1])


def test_a_stamp_sees_every_kind_of_change(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    stamps = scan_tree(str(file)).stamps
    assert stamps.matches(0, file.stat())
    file.write_bytes(b"54321")
    os.utime(file, ns=(stamps[0].mtime_ns, stamps[0].mtime_ns))
    assert not stamps.matches(0, file.stat()), "the change time tells, where the time of change was set back"


def test_links_have_one_mode(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "shared", {"l": "a"})
    assert scan_tree(str(folder)).entries.mode(1) == LINK_MODE
