"""Tree: it writes where it is told below its root, and nowhere else, whatever it is told and whoever interferes.

These tests hand hostile paths to code that deletes. They must be harmless even where that code is broken, and
even to root: absolute paths lead into the test's own folder, never to "/" or to what is the system's; and a root
that ".." is tried on lies MAX_UPS folders deep in that folder, with at most MAX_UPS components to a path.
"""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmd.core.errors import (
    AlreadyExists,
    InvalidArgument,
    LocalError,
    NotAllowed,
    NotFound,
)
from swarmd.store import tree as tree_module
from swarmd.store.tree import Tree, rename_exclusively
from tests.store.actions import ACTIONS, as_nobody_owning, write
from tests.store.samples import make_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "root", {"folder": {"file": 5}, "file": 3})


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    with Tree.open(str(root)) as opened:
        yield opened


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """That another user than ours can get to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


# What it is for


def test_everything_it_does(tree: Tree, root: Path) -> None:
    tree.mkdir(("new",))
    tree.mkdir(("new", "er"), 0o750)
    write(tree.create_file(("new", "er", "file")))
    write(tree.open_file(("new", "er", "file"), writable=True), b"again, and longer")
    assert (root / "new/er/file").read_bytes() == b"again, and longer"
    assert stat.S_IMODE((root / "new/er/file").stat().st_mode) == 0o600
    tree.symlink(("new", "er", "up"), "../../file")
    assert (root / "new/er/up").read_bytes() == (root / "file").read_bytes()
    tree.chmod(("new", "er", "file"), 0o4444)
    assert stat.S_IMODE((root / "new/er/file").stat().st_mode) == 0o444
    tree.chmod(("new",), 0o555)
    tree.sync()
    tree.sync(("new", "er"))
    with tree.subtree(("new",)) as new:
        assert new.path == str(root / "new")
        assert new.stat(("er",)) == tree.stat(("new", "er"))
        assert os.path.samestat(os.fstat(new.fileno()), (root / "new").stat())
        os.close(new.open_file(("er", "file")))
    tree.chmod(("new",), 0o755)
    tree.rename(("new", "er"), ("moved",))
    tree.remove_file(("moved", "up"))
    assert sorted(os.listdir(root / "moved")) == ["file"]
    tree.remove_tree(("moved",))
    tree.remove_tree(("moved",))
    assert tree.stat(("moved",)) is None
    assert tree.stat(("moved", "file")) is None


def test_a_path_is_not_a_string(tree: Tree) -> None:
    with pytest.raises(TypeError):
        tree.mkdir("folder")


def test_files_are_read_only_unless_asked(tree: Tree) -> None:
    descriptor = tree.open_file(("file",))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(descriptor, b"x")
    os.close(descriptor)


def test_descriptors_are_not_inherited(tree: Tree) -> None:
    for descriptor in (tree.create_file(("new",)), tree.open_file(("file",))):
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


# Nothing is overwritten


def test_nothing_is_made_over_anything(tree: Tree, root: Path) -> None:
    (root / "link").symlink_to("nowhere")
    for name in ("file", "folder", "link"):
        for action in (tree.create_file, tree.mkdir, lambda path: tree.symlink(path, "x")):
            with pytest.raises(AlreadyExists, match=f"{root}/{name} is there already"):
                action((name,))
        with pytest.raises(AlreadyExists, match=f"{root}/{name} is there already"):
            tree.rename(("folder", "file"), (name,))
    assert len((root / "file").read_bytes()) == 3
    assert not (root / "nowhere").exists()


@pytest.mark.parametrize("is_folder", [False, True])
def test_renaming_where_the_file_system_has_no_flag_for_it(tree: Tree, root: Path, is_folder: bool) -> None:
    folder = tree.fileno()
    source = "folder" if is_folder else "file"
    (root / "taken file").write_bytes(b"kept")
    make_folder(root / "taken folder", {"kept": 1})
    (root / "taken link").symlink_to("nowhere")
    for name in ("taken file", "taken folder", "taken link"):
        with pytest.raises(OSError, match=r"."):
            rename_exclusively(folder, source, folder, name)
    before = (root / source).stat().st_ino
    rename_exclusively(folder, source, folder, "new")
    assert (root / "new").stat().st_ino == before
    assert not (root / source).exists()
    assert (root / "taken file").read_bytes() == b"kept"
    assert (root / "taken folder" / "kept").exists()
    assert (root / "taken link").is_symlink()


def test_a_folder_that_cannot_be_renamed_leaves_nothing_behind(tree: Tree, root: Path) -> None:
    with tree.subtree(("folder",)) as inner, pytest.raises(OSError, match="Invalid argument"):
        rename_exclusively(tree.fileno(), "folder", inner.fileno(), "inside itself")
    assert os.listdir(root / "folder") == ["file"]


def test_renaming_what_is_not_there(tree: Tree, root: Path) -> None:
    for action in (tree.rename, tree.replace):
        with pytest.raises(NotFound, match=f"{root}/missing does not exist"):
            action(("missing",), ("new",))
        with pytest.raises(NotFound, match=f"{root}/no folder does not exist"):
            action(("file",), ("no folder", "new"))


@pytest.mark.parametrize("old", ["nothing", "file", "folder", "link"])
@pytest.mark.parametrize("new", ["file", "folder"])
def test_replacing(tree: Tree, root: Path, old: str, new: str) -> None:
    outside = make_folder(root.parent / "outside", {"kept": 1})
    make_folder(root / "new folder", {"a": 1, "b": {"c": 2}})
    (root / "new file").write_bytes(b"new")
    (root / "target link").symlink_to(outside)
    make_folder(root / "target folder", {"old": {"older": 1}})
    (root / "target file").write_bytes(b"old")
    tree.replace((f"new {new}",), (f"target {old}",))
    assert not (root / f"new {new}").exists()
    if new == "file":
        assert (root / f"target {old}").read_bytes() == b"new"
    else:
        assert sorted(os.listdir(root / f"target {old}")) == ["a", "b"]
    assert (outside / "kept").exists()


# Nothing outside changes

MAX_UPS = 4
OWN_ABSOLUTE = "ABSOLUTE"
"""Stands for the absolute path of a folder of the test's own, outside the root."""
BAD_COMPONENTS = ["..", ".", "", "a/b", OWN_ABSOLUTE, "a\0", "a\\b", "a:b", "NUL", "a\x1b", "\udc80", "x" * 256]


def tree_parent(tree: Tree) -> Path:
    return Path(tree.path).parent


@pytest.mark.parametrize("component", BAD_COMPONENTS)
@pytest.mark.parametrize("place", ["first", "inner", "last"])
def test_components_that_are_refused(tree: Tree, component: str, place: str) -> None:
    if component == OWN_ABSOLUTE:
        component = str(make_folder(tree_parent(tree) / "outside", {"x": 1}))
    path = {"first": (component, "x"), "inner": ("folder", component, "x"), "last": ("folder", component)}[place]
    for action in ACTIONS.values():
        with pytest.raises(InvalidArgument, match="refused below"):
            action(tree, path, ("new",))
    for name in ("rename", "replace"):
        with pytest.raises(InvalidArgument, match="refused below"):
            ACTIONS[name](tree, ("file",), path)


def test_the_root_itself_is_not_to_be_changed(tree: Tree) -> None:
    for action in ACTIONS.values():
        with pytest.raises(InvalidArgument, match="is not to be changed"):
            action(tree, (), ("new",))


@pytest.mark.parametrize("target", ["../x", "/nowhere", "a/../../x", "", "a//b", "x\0"])
def test_links_out_are_not_made(tree: Tree, root: Path, target: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot link to"):
        tree.symlink(("link",), target)
    assert not (root / "link").is_symlink()


def test_links_are_not_followed(tree: Tree, root: Path) -> None:
    outside = make_folder(root.parent / "outside", {"file": 5, "sub": {}})
    (root / "to folder").symlink_to(outside)
    (root / "to file").symlink_to(outside / "file")
    for action in ACTIONS.values():
        with pytest.raises(LocalError, match=r"to folder is a link or a file where a folder is expected"):
            action(tree, ("to folder", "file"), ("new",))
    for writable in (False, True):
        with pytest.raises(NotAllowed, match="to file is a link, and is not followed"):
            tree.open_file(("to file",), writable=writable)
    with pytest.raises(NotAllowed, match="is a link"):
        tree.chmod(("to file",), 0o777)
    with pytest.raises(NotAllowed):
        tree.subtree(("to folder",))
    tree.remove_tree(("to folder",))
    assert sorted(os.listdir(outside)) == ["file", "sub"]


def test_what_has_another_name_elsewhere_is_not_written_to(tree: Tree, root: Path) -> None:
    outside = root.parent / "outside"
    outside.write_bytes(b"kept")
    os.link(outside, root / "hard")
    with pytest.raises(NotAllowed, match="hard link"):
        tree.open_file(("hard",), writable=True)
    with pytest.raises(NotAllowed, match="hard link"):
        tree.chmod(("hard",), 0o777)
    os.close(tree.open_file(("hard",)))


def test_what_is_no_file_is_not_opened(tree: Tree, root: Path) -> None:
    os.mkfifo(root / "pipe")
    for name in ("pipe", "folder"):
        for writable in (False, True):
            with pytest.raises(NotAllowed, match="no regular file"):
                tree.open_file((name,), writable=writable)


def test_removing_a_tree_stays_in_it(tree: Tree, root: Path) -> None:
    outside = make_folder(root.parent / "outside", {"file": 5, "sub": {"kept": 1}})
    victim = make_folder(root / "victim", {"a": {"b": {"c": 1}}, "d": 1})
    (victim / "a" / "to folder").symlink_to(outside)
    (victim / "to file").symlink_to(outside / "file")
    os.link(outside / "file", victim / "hard")
    os.mkfifo(victim / "pipe")
    Path(os.fsdecode(os.fsencode(victim) + b"/caf\xe9:\x1b")).write_bytes(b"")
    (victim / "a" / "b").chmod(0o000)
    tree.remove_tree(("victim",))
    assert not victim.exists()
    assert (outside / "sub" / "kept").exists()
    assert len((outside / "file").read_bytes()) == 5


def test_removing_as_a_user_whom_the_modes_shut_out(public_folder: Path) -> None:
    with as_nobody_owning(public_folder):
        make_folder(public_folder / "victim", {"a": {"b": {"c": 1}}})
        for path in ("victim/a/b", "victim/a", "victim"):
            (public_folder / path).chmod(0o000)
        with Tree.open(str(public_folder)) as tree:
            tree.remove_tree(("victim",))
    assert not (public_folder / "victim").exists()


Snapshot = dict[str, tuple[int, int, bytes]]


def snapshot(folder: Path) -> Snapshot:
    """Everything about what is there, but how many names it has."""
    found: Snapshot = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, data)
    return found


def set_trap(root: Path, outside: Path, name: str, kind: str) -> None:
    """What a user with access to the folder may do between any two steps, by mistake or on purpose."""
    place = root / name
    if kind == "none":
        return
    with suppress(OSError):
        if place.is_dir() and not place.is_symlink():
            place.rename(root / f"was {name}")
        elif place.is_symlink() or place.exists():
            place.unlink()
        if kind == "link to folder":
            place.symlink_to(outside)
        elif kind == "link to file":
            place.symlink_to(outside / "file")
        elif kind == "link up":
            place.symlink_to("..")
        elif kind == "dangling link":
            place.symlink_to(outside / "new")
        elif kind == "hard link":
            os.link(outside / "file", place)
        elif kind == "pipe":
            os.mkfifo(place)
        elif kind == "folder":
            make_folder(place, {"a": {"b": 1}, "file": 2})
        elif kind == "folder with links":
            place.mkdir()
            (place / "a").symlink_to(outside)
            (place / "file").symlink_to(outside / "file")
            (place / "b").symlink_to("../../outside")


TRAPS = [
    "none",
    "link to folder",
    "link to file",
    "link up",
    "dangling link",
    "hard link",
    "pipe",
    "folder",
    "folder with links",
]
NAMES = st.sampled_from(["a", "b", "file"])
PATHS = st.one_of(
    st.tuples(NAMES),
    st.lists(NAMES, min_size=1, max_size=3).map(tuple),
    st.lists(
        st.sampled_from(["a", "..", ".", "", OWN_ABSOLUTE, "../outside", "a/file", "outside", "\0"]),
        max_size=MAX_UPS,
    ).map(tuple),
)
Step = tuple[str, str, str, tuple[str, ...], tuple[str, ...]]
STEPS = st.lists(
    st.tuples(st.sampled_from(TRAPS), NAMES, st.sampled_from(sorted(ACTIONS)), PATHS, PATHS),
    min_size=1,
    max_size=12,
)


def own(path: tuple[str, ...], outside: Path) -> tuple[str, ...]:
    return tuple(str(outside) if component == OWN_ABSOLUTE else component for component in path)


@settings(max_examples=300)
@given(STEPS)
def test_nothing_outside_ever_changes(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as name:
        nest = Path(name, *"1234"[:MAX_UPS])
        nest.mkdir(parents=True)
        outside = make_folder(nest / "outside", {"file": 9, "b": {"file": 9, "a": {"b": 9}}, "a": {"file": 9}})
        root = make_folder(nest / "root", {"a": {"a": {}, "file": 3}})
        before = snapshot(outside)
        with Tree.open(str(root)) as tree:
            for trap, place, action, path, other in steps:
                set_trap(root, outside, place, trap)
                with suppress(LocalError):
                    ACTIONS[action](tree, own(path, outside), own(other, outside))
        assert snapshot(outside) == before
        assert sorted(os.listdir(nest)) == ["outside", "root"]
        assert len(list(Path(name).glob("[!1]*"))) == 0


def test_nothing_outside_changes_while_a_folder_is_swapped_for_a_link_all_the_time(root: Path) -> None:
    outside = make_folder(root.parent / "outside", {"file": 9, "sub": {"file": 9}})
    make_folder(root / "d", {"file": 3, "sub": {"file": 3}})
    (root / "other").symlink_to(outside)
    before = snapshot(outside)
    finished = threading.Event()
    with Tree.open(str(root)) as tree:
        swapper = threading.Thread(target=swap_until, args=(tree, finished))
        swapper.start()
        outcomes: set[str] = set()
        try:
            for number in range(20_000):
                if number >= 500 and {"done", "not_allowed"} <= outcomes:
                    break
                for action in ("create_file", "open_file", "mkdir", "chmod", "remove_tree"):
                    path = ("d", f"{action}{number}" if action in ("create_file", "mkdir") else "file")
                    try:
                        ACTIONS[action](tree, path, ())
                        outcomes.add("done")
                    except LocalError as error:
                        outcomes.add(error.code)
        finally:
            finished.set()
            swapper.join()
    assert snapshot(outside) == before
    assert {"done", "not_allowed"} <= outcomes


def swap_until(tree: Tree, finished: threading.Event) -> None:
    while not finished.is_set():
        tree_module._renameat2(tree.fileno(), "d", tree.fileno(), "other", 2)
