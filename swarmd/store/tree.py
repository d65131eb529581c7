"""The only way to write below a user's folder.

A `Tree` is a folder held by descriptor. A path is a sequence of components below it, which may come from a
peer. Each component is checked (core.names) and opened from the descriptor of the one before it, without
following links; what is on the way must be a real folder, what is written a regular file with no second
name elsewhere. Every peer program has had a hole here, several of them twice (a dropped check; a link as
parent), so there is no other door and no raw path.

Invariant: whatever the components are, and whoever swaps folders for links meanwhile, nothing outside the
root changes; nothing that exists is overwritten but by `replace`.

No descriptors of folders on the way are kept: a kept one stays valid when its folder is moved out of the
tree. Walking costs 3 us for each component. Nothing is synced but by `sync`: a name made here may be lost
in a crash before that.

Thread-safe. All errors are LocalErrors that say which component, and as which user: see `faults`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from swarmd.core.errors import AlreadyExists, InvalidArgument, NotAllowed, NotFound, RemoteError
from swarmd.core.names import check_component
from swarmd.core.terminal import escape
from swarmd.store.entries import MAX_DEPTH, check_link_target
from swarmd.store.faults import first_obstacle, local_error

Path = Sequence[str]

_STEP_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_FLAGS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""How a kernel or a file system says that it knows no flags for renaming."""
_NOREPLACE, _EXCHANGE = 1, 2
_MAX_REMOVED_DEPTH = MAX_DEPTH + 28
"""Descriptors that removing a folder may hold: trees of ours are no deeper, NAME.part around them
included."""

_libc = ctypes.CDLL(None, use_errno=True)


class Tree:
    """Owns the descriptor `root` (O_RDONLY, of the folder that is called `path` in messages). Close it, or
    `with`."""

    def __init__(self, root: int, path: str) -> None:
        self._root = root
        self._path = path

    @classmethod
    def open(cls, path: str) -> Self:
        """The folder our own user named: absolute, links in it followed. It must be there and writable."""
        if not os.path.isabs(path):
            raise InvalidArgument(f"{escape(path)} is not an absolute path")
        try:
            root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise first_obstacle(path, error) from None
        try:
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=root, effective_ids=True):
                is_read_only = os.fstatvfs(root).f_flag & os.ST_RDONLY
                raise local_error(OSError(errno.EROFS if is_read_only else errno.EACCES, ""), path)
        except BaseException:
            os.close(root)
            raise
        return cls(root, path)

    def subtree(self, path: Path) -> Tree:
        """The folder at `path` as a tree of its own, from which nothing above it can be reached."""
        with self._at(path, ability="readable") as (parent, name):
            return Tree(os.open(name, _FOLDER_FLAGS, dir_fd=parent), self._join(path))

    def close(self) -> None:
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """For messages; the folder may have been moved since."""
        return self._path

    def fileno(self) -> int:
        """The root's descriptor, for fstatvfs, fsync and syncfs."""
        return self._root

    def stat(self, path: Path) -> os.stat_result | None:
        """Of the thing itself, also if it is a link; None when it is not there."""
        try:
            with self._at(path, ability="accessible") as (parent, name):
                return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except NotFound:
            return None

    def create_file(self, path: Path, mode: int = 0o600) -> int:
        """The descriptor, for reading and writing, of a new empty file. AlreadyExists."""
        with self._at(path, writes=True) as (parent, name):
            return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FILE_FLAGS, mode, dir_fd=parent)

    def open_file(self, path: Path, *, writable: bool = False) -> int:
        """The descriptor of the regular file that is there; to be written to, it must have no other name."""
        with self._at(path, ability="writable" if writable else "readable") as (parent, name):
            # Before opening, since opening a device can do things; and after, since it may have been swapped.
            self._check_file(os.stat(name, dir_fd=parent, follow_symlinks=False), path, writable)
            flags = (os.O_RDWR if writable else os.O_RDONLY) | _FILE_FLAGS
            descriptor = os.open(name, flags, dir_fd=parent)
            try:
                self._check_file(os.fstat(descriptor), path, writable)
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor

    def mkdir(self, path: Path, mode: int = 0o700) -> None:
        """A new folder. AlreadyExists."""
        with self._at(path, writes=True) as (parent, name):
            os.mkdir(name, mode, dir_fd=parent)

    def symlink(self, path: Path, target: str) -> None:
        """A new link that stays inside this tree (see `check_link_target`). AlreadyExists."""
        self._check(path)
        try:
            check_link_target(target, len(path) - 1)
        except RemoteError as error:
            raise InvalidArgument(f"{self._shown(path)} cannot link to {escape(target)}: {error}") from None
        with self._at(path, writes=True) as (parent, name):
            os.symlink(target, name, dir_fd=parent)

    def chmod(self, path: Path, mode: int) -> None:
        """Set the permission bits of a folder, or of a file without other names."""
        with self._at(path, ability="changeable") as (parent, name):
            # fchmod wants a descriptor that can read, which what we are to change may refuse.
            descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISDIR(status.st_mode):
                    self._check_file(status, path, writable=True)
                os.chmod(f"/proc/self/fd/{descriptor}", mode & 0o777)
            finally:
                os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Never over anything: AlreadyExists when `target` is there."""
        self._check_there(source)
        with self._at(source, writes=True) as old, self._at(target, writes=True) as new:
            try:
                _renameat2(*old, *new, _NOREPLACE)
            except OSError as error:
                if error.errno not in _NO_FLAGS:
                    raise
                rename_exclusively(*old, *new)

    def replace(self, source: Path, target: Path) -> None:
        """In one step, `source` takes the place of what `target` is, which is removed after that."""
        is_folder = self._check_there(source)
        there = self.stat(target)
        if there is None:
            self.rename(source, target)
            return
        with self._at(source, writes=True) as old, self._at(target, writes=True) as new:
            if not is_folder and not stat.S_ISDIR(there.st_mode):
                os.rename(old[1], new[1], src_dir_fd=old[0], dst_dir_fd=new[0])
                return
            try:
                _renameat2(*old, *new, _EXCHANGE)
            except OSError as error:
                if error.errno not in _NO_FLAGS:
                    raise
                raise AlreadyExists(
                    f"{self._shown(target)} is there, and its file system cannot replace a folder "
                    "in one step: move it away"
                ) from None
        self.remove_tree(source)

    def remove_file(self, path: Path) -> None:
        """Remove a file or a link."""
        with self._at(path, writes=True) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def remove_tree(self, path: Path) -> None:
        """Remove what is there, if anything is, with everything in it but other mounted file systems."""
        status = self.stat(path)
        if status is not None:
            with self._at(path, writes=True) as (parent, name):
                _remove(parent, name, self._join(path), status.st_dev)

    def sync(self, path: Path = ()) -> None:
        """Put a folder's names on the disk: what was made, renamed or removed in it then stays so."""
        if path:
            with self.subtree(path) as folder:
                folder.sync()
            return
        try:
            os.fsync(self._root)
        except OSError as error:
            raise local_error(error, self._path) from None

    @contextmanager
    def _at(self, path: Path, *, writes: bool = False, ability: str = "writable") -> Iterator[tuple[int, str]]:
        """The descriptor of the folder that `path` lies in, and its name there, for a block that may raise OSError.

        With `writes`, being refused is the folder's fault and not that of the name.
        """
        self._check(path)
        folder = self._open_folder(path[:-1])
        try:
            yield folder, path[-1]
        except OSError as error:
            is_folders_fault = writes and error.errno in _REFUSED
            raise local_error(error, self._join(path[:-1] if is_folders_fault else path), ability) from None
        finally:
            if folder != self._root:
                os.close(folder)

    def _open_folder(self, path: Path) -> int:
        folder = self._root
        for number, name in enumerate(path):
            try:
                inner = os.open(name, _STEP_FLAGS, dir_fd=folder)
            except OSError as error:
                if error.errno in _REFUSED:
                    raise local_error(error, self._join(path[:number]), "accessible") from None
                raise local_error(error, self._join(path[: number + 1])) from None
            finally:
                if folder != self._root:
                    os.close(folder)
            folder = inner
        return folder

    def _check(self, path: Path) -> None:
        if isinstance(path, str):
            raise TypeError("a path is a sequence of components")
        if not path:
            raise InvalidArgument(f"{escape(self._path)} itself is not to be changed")
        try:
            for component in path:
                check_component(component)
        except RemoteError as error:
            raise InvalidArgument(f"refused below {escape(self._path)}: {error}") from None

    def _check_there(self, path: Path) -> bool:
        """Is it a folder? NotFound."""
        status = self.stat(path)
        if status is None:
            raise NotFound(f"{self._shown(path)} does not exist")
        return stat.S_ISDIR(status.st_mode)

    def _check_file(self, status: os.stat_result, path: Path, writable: bool) -> None:
        if stat.S_ISLNK(status.st_mode):
            raise NotAllowed(f"{self._shown(path)} is a link, and is not followed")
        if not stat.S_ISREG(status.st_mode):
            raise NotAllowed(f"{self._shown(path)} is no regular file")
        if writable and status.st_nlink > 1:
            raise NotAllowed(f"{self._shown(path)} has a second name (a hard link) that would change too")

    def _join(self, path: Path) -> str:
        return os.path.join(self._path, *path)

    def _shown(self, path: Path) -> str:
        return escape(self._join(path))


def rename_exclusively(old_folder: int, old_name: str, new_folder: int, new_name: str) -> None:
    """Rename, never over anything, where the file system has no flag for it (NFS, some of FUSE). OSError."""
    status = os.stat(old_name, dir_fd=old_folder, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        # Renaming a folder over an empty one is allowed, over anything else it is not.
        os.mkdir(new_name, 0o700, dir_fd=new_folder)
        try:
            os.rename(old_name, new_name, src_dir_fd=old_folder, dst_dir_fd=new_folder)
        except OSError:
            os.rmdir(new_name, dir_fd=new_folder)
            raise
        return
    os.link(old_name, new_name, src_dir_fd=old_folder, dst_dir_fd=new_folder, follow_symlinks=False)
    os.unlink(old_name, dir_fd=old_folder)


def _renameat2(old_folder: int, old_name: str, new_folder: int, new_name: str, flags: int) -> None:
    """renameat2(2). OSError; ENOSYS where the C library lacks it."""
    function = getattr(_libc, "renameat2", None)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if function(old_folder, old_name.encode(), new_folder, new_name.encode(), flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _remove(parent: int, name: str, path: str, device: int, depth: int = 0) -> None:
    """Remove `name`, which lies in `parent` and is called `path` in messages. LocalError."""
    try:
        folder = _open_to_empty(parent, name)
        if folder is None:
            os.unlink(name, dir_fd=parent)
            return
        try:
            if os.fstat(folder).st_dev != device or depth > _MAX_REMOVED_DEPTH:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            for inner in os.listdir(folder):
                _remove(folder, inner, os.path.join(path, inner), device, depth + 1)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        refusing = os.path.dirname(path) if error.errno in _REFUSED else path
        raise local_error(error, refusing) from None


def _open_to_empty(parent: int, name: str) -> int | None:
    """The descriptor of the folder `name`, made writable by its owner; None for what is no folder."""
    try:
        step = os.open(name, _STEP_FLAGS, dir_fd=parent)
    except NotADirectoryError:
        return None
    try:
        if os.fstat(step).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{step}", 0o700)
        return os.open(".", _FOLDER_FLAGS, dir_fd=step)
    finally:
        os.close(step)
