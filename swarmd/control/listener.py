"""The listening socket: where it lies, who may open it, and what to do with one that is there already.

Invariant: the path appears only when connecting to it works and its mode is right (the socket listens under a
temporary name first and is then renamed), a socket on which somebody answers is never taken away, and
`remove` takes away only the file that we put there.
A socket handed over by systemd is used as it is and never removed.
"""

from __future__ import annotations

import os
import socket
import stat

from swarmd.core.errors import Conflict, InvalidArgument, NotAllowed

_BACKLOG = 64
"""Connections waiting for accept: enough for a burst of scripts started together."""
_MAX_PATH_BYTES = 107
"""sun_path of Linux, less its NUL."""


class Listener:
    """A listening Unix socket and, where we made it, its file."""

    def __init__(self, sock: socket.socket, path: str | None) -> None:
        self.sock = sock
        self._path = path
        self._inode = _inode(path) if path is not None else None

    @classmethod
    def inherited(cls, sock: socket.socket) -> Listener:
        """A socket that listens already (systemd socket activation); InvalidArgument when it is not one."""
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise InvalidArgument("the inherited control socket is not a Unix stream socket (ListenStream=/path)")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise InvalidArgument("the inherited control socket does not listen (Accept=no is needed)")
        return cls(sock, None)

    def remove(self) -> None:
        """Take our file away, if it is still ours."""
        if self._path is not None and _inode(self._path) == self._inode:
            os.unlink(self._path)


def listen(path: str, gid: int | None = None) -> Listener:
    """A new control socket at `path`: mode 0600, or 0660 with group `gid`.

    A socket that nobody answers on any more is replaced. Conflict: somebody answers on it, or it is no
    socket. NotAllowed: the folder cannot be written. Blocks for no longer than a few system calls.
    """
    path = os.path.abspath(path)
    temporary = os.path.join(os.path.dirname(path), f".{os.getpid()}")
    if max(len(os.fsencode(path)), len(os.fsencode(temporary))) > _MAX_PATH_BYTES:
        raise InvalidArgument(
            f"the socket path is longer than {_MAX_PATH_BYTES} bytes, choose another with --socket: {path}"
        )
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        _refuse_if_in_use(path)
        sock = _bound(path, temporary, gid)
    except PermissionError as error:
        raise NotAllowed(f"cannot make the control socket {path} as uid {os.geteuid()}: {error.strerror}") from error
    return Listener(sock, path)


def _bound(path: str, temporary: str, gid: int | None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _unlink(temporary)
        sock.bind(temporary)
        os.chmod(temporary, 0o600)
        if gid is not None:
            os.chown(temporary, -1, gid)
            os.chmod(temporary, 0o660)
        sock.listen(_BACKLOG)
        os.rename(temporary, path)
    except BaseException:
        sock.close()
        _unlink(temporary)
        raise
    sock.setblocking(False)
    return sock


def _refuse_if_in_use(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path} exists and is not a socket; move it away or choose another path with --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except BlockingIOError:  # its backlog is full: somebody has it, however busy
            pass
    raise Conflict(f"another swarmd answers on {path}; stop it or choose another path with --socket")


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
