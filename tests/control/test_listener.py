"""Where the socket lies, who may open it, and what was there before."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from swarmd.control.listener import Listener, listen
from swarmd.core.errors import Conflict, InvalidArgument


@contextmanager
def listening(path: Path, gid: int | None = None) -> Iterator[Listener]:
    listener = listen(str(path), gid)
    with closing(listener.sock):
        yield listener


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True


def test_only_the_owner_may_open_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "control.sock"
    with listening(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert os.listdir(path.parent) == ["control.sock"]
        assert _connects(path)


def test_with_a_group_its_members_may(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    gid = os.getgroups()[-1] if os.getgroups() else os.getgid()
    with listening(path, gid):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert path.stat().st_gid == gid


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with listening(path):
        pass
    assert path.exists()
    assert not _connects(path)
    with listening(path):
        assert _connects(path)


def test_a_socket_that_somebody_answers_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with listening(path):
        with pytest.raises(Conflict, match=f"another swarmd answers on {path}"):
            listen(str(path))
        assert _connects(path)
        assert os.listdir(tmp_path) == ["control.sock"]


def test_a_busy_socket_is_left_alone_too(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with closing(socket.socket(socket.AF_UNIX)) as busy, closing(socket.socket(socket.AF_UNIX)) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))  # fills the backlog: a further connect would have to wait
        with pytest.raises(Conflict):
            listen(str(path))


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "control.sock"
    match kind:
        case "file":
            path.write_text("mine")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to(tmp_path / "elsewhere")
    before = path.lstat()
    with pytest.raises(Conflict, match="is not a socket"):
        listen(str(path))
    assert path.lstat() == before


def test_remove_takes_only_what_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with listening(path) as first:
        path.unlink()
        with listening(path) as second:
            first.remove()
            assert _connects(path)
            second.remove()
            assert not path.exists()
            second.remove()


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="longer than 107 bytes"):
        listen(str(tmp_path / ("x" * 107)))


def test_an_inherited_socket_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.bind(str(path))
        with pytest.raises(InvalidArgument, match="does not listen"):
            Listener.inherited(sock)
        sock.listen()
        Listener.inherited(sock).remove()
        assert path.exists()
    with closing(socket.socket(socket.AF_INET)) as sock, pytest.raises(InvalidArgument, match="not a Unix stream"):
        Listener.inherited(sock)
