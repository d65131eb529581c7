"""What `Tree` says when something is in its way: which component, for which user, in words that are safe to print."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmd.core.errors import (
    DiskFull,
    InvalidArgument,
    LocalError,
    NotAllowed,
    NotFound,
)
from swarmd.store.faults import current_user, local_error
from swarmd.store.tree import Tree
from tests.store.actions import ACTIONS, as_nobody_owning
from tests.store.samples import NOBODY, as_nobody, make_folder


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


# What goes wrong is said


@pytest.mark.parametrize("path", ["relative", "./x", ""])
def test_a_target_must_be_absolute(path: str) -> None:
    with pytest.raises(InvalidArgument, match="not an absolute path"):
        Tree.open(path)


def test_a_target_that_is_missing_says_which_component(root: Path) -> None:
    with pytest.raises(NotFound, match=f"^{root}/missing does not exist"):
        Tree.open(str(root / "missing" / "a" / "b"))
    with pytest.raises(InvalidArgument, match=f"^{root}/file is not a folder"):
        Tree.open(str(root / "file"))
    with pytest.raises(InvalidArgument, match=f"^{root}/file is not a folder"):
        Tree.open(str(root / "file" / "below"))
    (root / "dangling").symlink_to("/no/such")
    with pytest.raises(NotFound, match=f"^{root}/dangling is a link to /no/such, which does not exist"):
        Tree.open(str(root / "dangling"))


def test_the_users_own_links_are_followed(root: Path) -> None:
    (root.parent / "link").symlink_to("root")
    with Tree.open(str(root.parent / "link")) as tree:
        tree.mkdir(("new",))
    assert (root / "new").is_dir()


def test_a_target_that_cannot_be_written_says_which_and_as_whom(public_folder: Path) -> None:
    (public_folder / "closed" / "target").mkdir(parents=True)
    (public_folder / "target").mkdir()
    (public_folder / "target").chmod(0o555)
    (public_folder / "closed").chmod(0o600)
    with as_nobody():
        with pytest.raises(NotAllowed) as caught:
            Tree.open(str(public_folder / "target"))
        assert f"{public_folder}/target is not writable for {current_user()}: " in str(caught.value)
        assert "mode 0555" in str(caught.value)
        with pytest.raises(
            NotAllowed, match=f"^{public_folder}/closed is not accessible for {re.escape(current_user())}: "
        ):
            Tree.open(str(public_folder / "closed" / "target"))


def test_a_folder_that_refuses_is_named_and_not_what_was_to_be_in_it(public_folder: Path) -> None:
    make_folder(public_folder / "root", {"refusing": {"file": 1}, "shut": {"in": {"file": 1}}})
    with as_nobody_owning(public_folder / "root"), Tree.open(str(public_folder / "root")) as tree:
        # Made by root, if root runs the tests; closed by its owner, if somebody else does.
        if os.geteuid() != NOBODY:
            (public_folder / "root" / "refusing").chmod(0o555)
        for action in ("create_file", "mkdir", "symlink"):
            with pytest.raises(NotAllowed, match=f"^{public_folder}/root/refusing is not writable for uid "):
                ACTIONS[action](tree, ("refusing", "new"), ())
        for action in ("remove_file", "remove_tree"):
            with pytest.raises(NotAllowed, match=f"^{public_folder}/root/refusing is not writable for uid "):
                ACTIONS[action](tree, ("refusing", "file"), ())


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENOSPC, DiskFull, "no room is left on the file system of /a"),
        (errno.EDQUOT, DiskFull, "the disk quota is used up"),
        (errno.EROFS, NotAllowed, "mounted read-only"),
        (errno.EIO, LocalError, "/a: Input/output error"),
        (errno.ENAMETOOLONG, InvalidArgument, "too long"),
    ],
)
def test_what_the_system_says_becomes_ours(number: int, kind: type[LocalError], message: str) -> None:
    error = local_error(OSError(number, os.strerror(number)), "/a")
    assert type(error) is kind
    assert message in str(error)


def test_remote_names_in_errors_are_safe_to_print(tree: Tree) -> None:
    with pytest.raises(InvalidArgument) as caught:
        tree.mkdir(("a\x1b[2J",))
    assert "\x1b" not in str(caught.value)
    with pytest.raises(NotFound) as missing:
        tree.open_file(("\u202egpj.exe",))
    assert "\u202e" not in str(missing.value)
