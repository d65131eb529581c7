"""A tree is visited again: what is as it was, and every kind of change."""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from swarmd.core.errors import Incomplete
from swarmd.store.revisit import revisit
from swarmd.store.scan import Scan, scan_tree
from swarmd.store.stamps import StampTable
from tests.store.samples import Spec, as_nobody, make_folder
from tests.store.transfers import rewrite

FOLDER: Spec = {
    "a": {"deep": {"er": {"x": 10}}, "y": 0},
    "b": 300,
    "empty": {},
    "link": "a/deep",
    "z": {"last": 7, "ünï": 5000},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data", FOLDER)


def again(scan: Scan) -> StampTable | None:
    return revisit(scan.path, scan.entries, scan.stamps, threading.Event())


def test_an_untouched_folder_is_the_same(folder: Path) -> None:
    scan = scan_tree(str(folder))
    assert again(scan) is scan.stamps


@pytest.mark.parametrize("place", ["b", "a/y"])
def test_so_is_an_untouched_file(folder: Path, place: str) -> None:
    scan = scan_tree(str(folder / place))
    assert again(scan) is scan.stamps
    rewrite(folder / place, b"other")
    assert again(scan) is None


def _replace(folder: Path) -> None:
    status = (folder / "b").stat()
    (folder / "new").write_bytes((folder / "b").read_bytes())
    os.utime(folder / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (folder / "new").rename(folder / "b")


def _turn_into_link(folder: Path) -> None:
    (folder / "z").rename(folder.parent / "moved")
    (folder / "z").symlink_to(folder.parent / "moved")


def _point_elsewhere(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to("a")


def _swap_kinds(folder: Path) -> None:
    (folder / "empty").rmdir()
    (folder / "empty").symlink_to("a")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file is written to": lambda folder: rewrite(folder / "a/deep/er/x", b"0123456789"),
    "a file grows": lambda folder: os.truncate(folder / "z/last", 8),
    "a file is replaced by an equal one": _replace,
    "permissions of a file": lambda folder: (folder / "b").chmod(0o755),
    "permissions of a folder": lambda folder: (folder / "a/deep").chmod(0o700),
    "permissions of the top": lambda folder: folder.chmod(0o700),
    "a file in front": lambda folder: (folder / "0").touch(),
    "a file in between": lambda folder: (folder / "a/e").touch(),
    "a file behind": lambda folder: (folder / "zz").touch(),
    "a file in an empty folder": lambda folder: (folder / "empty/0").touch(),
    "a file in the deepest folder": lambda folder: (folder / "a/deep/er/y").touch(),
    "a name that is no UTF-8": lambda folder: open(os.fsencode(folder / "z") + b"/\xff", "wb").close(),
    "a folder": lambda folder: (folder / "a/f").mkdir(),
    "a link": lambda folder: (folder / "a/l").symlink_to("y"),
    "one file less": lambda folder: (folder / "b").unlink(),
    "the last file less": lambda folder: (folder / "z/ünï").unlink(),
    "the last of a folder less": lambda folder: (folder / "a/deep/er/x").unlink(),
    "a folder less": lambda folder: (folder / "empty").rmdir(),
    "a link less": lambda folder: (folder / "link").unlink(),
    "a link that leads elsewhere": _point_elsewhere,
    "a folder that is a link now": _turn_into_link,
    "an empty folder that is a link now": _swap_kinds,
    "another name": lambda folder: (folder / "b").rename(folder / "c"),
    "a file one folder up": lambda folder: (folder / "a/deep/er/x").rename(folder / "a/deep/x"),
    "all of it gone": lambda folder: folder.rename(folder.parent / "elsewhere"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_change_is_seen(folder: Path, change: Callable[[Path], object]) -> None:
    scan = scan_tree(str(folder))
    change(folder)
    assert again(scan) is None


def test_other_devices_are_noted_and_no_change(folder: Path) -> None:
    scan = scan_tree(str(folder))
    strange = scan.stamps.with_devices(array("Q", [7] * len(scan.stamps)))
    stamps = revisit(scan.path, scan.entries, strange, threading.Event())
    assert stamps is not None
    b = scan.entries.find(("b",))
    assert b is not None
    assert (stamps[b], strange[b].device) == (scan.stamps[b], 7)


def test_stamps_that_do_not_fit_are_those_of_something_else(folder: Path) -> None:
    scan = scan_tree(str(folder))
    assert revisit(scan.path, scan.entries, StampTable(), threading.Event()) is None


def test_a_folder_that_cannot_be_read_is_for_the_scan_to_name(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "data", {"shut": {"a": 1}})
    tmp_path.chmod(0o755)
    scan = scan_tree(str(folder))
    (folder / "shut").chmod(0)
    with as_nobody():
        assert again(scan) is None
    (folder / "shut").chmod(0o755)


def test_cancelled(folder: Path) -> None:
    scan = scan_tree(str(folder))
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Incomplete, match="cancelled"):
        revisit(scan.path, scan.entries, scan.stamps, cancel)
