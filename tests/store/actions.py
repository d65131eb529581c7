"""What a `Tree` can be asked to do, by name, so that tests can ask for anything with any path."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from swarmd.store.tree import Tree
from tests.store.samples import NOBODY, as_nobody


def write(descriptor: int, data: bytes = b"written") -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def as_nobody_owning(folder: Path) -> AbstractContextManager[None]:
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    return as_nobody()


ACTIONS: dict[str, Callable[[Tree, tuple[str, ...], tuple[str, ...]], object]] = {
    "create_file": lambda tree, path, _: write(tree.create_file(path)),
    "open_file": lambda tree, path, _: write(tree.open_file(path, writable=True)),
    "mkdir": lambda tree, path, _: tree.mkdir(path),
    "symlink": lambda tree, path, _: tree.symlink(path, "x"),
    "chmod": lambda tree, path, _: tree.chmod(path, 0o777),
    "rename": lambda tree, path, other: tree.rename(path, other),
    "replace": lambda tree, path, other: tree.replace(path, other),
    "remove_file": lambda tree, path, _: tree.remove_file(path),
    "remove_tree": lambda tree, path, _: tree.remove_tree(path),
    "subtree": lambda tree, path, _: tree.subtree(path).close(),
    "stat": lambda tree, path, _: tree.stat(path),
}
