"""systemd's protocols, with the test in systemd's place: real sockets, real processes, and its own tool."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmd.core.clock import SystemClock
from swarmd.core.errors import InvalidArgument, LocalError
from swarmd.daemon.systemd import (
    InheritedFd,
    Notifier,
    encode_notification,
    inherited_fds,
    notify_address,
    socket_group,
    take_control_socket,
    watchdog_period,
)
from tests.daemon.manager import TIMEOUT, Manager, started

ACTIVATED = [sys.executable, "-m", "tests.daemon.activated"]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    abstract = f"@swarmd-test/{os.getpid()}"
    manager = Manager(abstract if request.param == "abstract" else str(tmp_path / "notify"))
    yield manager
    manager.close()


def told_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    assert isinstance(told, dict)
    return told


def ended(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(TIMEOUT)


# --- sd_notify ---


def test_a_life_as_the_manager_sees_it(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000"}
    with started(ACTIVATED, environ) as process:
        told = told_by(process)
        assert told == {"socket": None, "watchdog": 30.0, "left": []}
        assert manager.receive() == {"READY": "1", "STATUS": "listening"}
        assert manager.receive() == {"WATCHDOG": "1"}
        asked_at = SystemClock().monotonic()
        process.send_signal(signal.SIGHUP)
        reloading = manager.receive()
        assert reloading.pop("RELOADING") == "1"
        usec = int(reloading.pop("MONOTONIC_USEC"))
        assert asked_at - 1e-5 <= usec / 1e6 <= SystemClock().monotonic(), "systemd compares it with its own clock"
        assert reloading == {}
        assert manager.receive() == {"READY": "1", "STATUS": "reloaded"}
        assert ended(process) == 0
        assert manager.receive() == {"STOPPING": "1", "STATUS": "bye"}


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier.from_environ({})
    notifier.ready("x")
    assert not notifier.is_active
    notifier.close()


def test_the_variable_is_taken_out(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address}
    notifier = Notifier.from_environ(environ)
    assert environ == {}
    assert notifier.is_active
    notifier.status("two\nlines READY=1\r\n")
    assert manager.receive() == {"STATUS": "two lines READY=1"}
    notifier.close()
    notifier.status("after the end")


def test_a_manager_that_went_away_is_no_error(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))
    notifier.watchdog()
    notifier.close()


def test_a_manager_that_does_not_read_is_not_waited_for(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    for _ in range(100_000 // 8):  # far more than its queue holds
        notifier.status("x" * 1000)
    assert manager.receive() == {"STATUS": "x" * 1000}
    notifier.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [(None, None), ("", None), ("/run/n", "/run/n"), ("@n", "\0n"), ("vsock:2:1234", None), ("relative", None)],
)
def test_addresses(text: str | None, address: str | None) -> None:
    assert notify_address(text) == address


def test_an_assignment_cannot_bring_another() -> None:
    assert encode_notification({"A": "1", "STATUS": "x\nMAINPID=1"}) == b"A=1\nSTATUS=x MAINPID=1"
    assert encode_notification({"STATUS": "\udcff"}) == b"STATUS=\\udcff"


@pytest.mark.parametrize(
    ("environ", "period"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "77"}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdogs_period(environ: dict[str, str], period: float | None) -> None:
    assert watchdog_period(environ, 77) == period


# --- socket activation ---


@pytest.fixture
def control(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.bind(str(tmp_path / "control.sock"))
        control.listen()
        yield control


def greeting(address: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT)
        client.connect(address)
        return client.recv(100)


@pytest.mark.parametrize("name", ["control", "swarmd.socket", ""])
def test_a_process_takes_the_socket_it_was_given(control: socket.socket, name: str) -> None:
    address = control.getsockname()
    with started(ACTIVATED, {}, control, name) as process:
        told = told_by(process)
        assert told.pop("group") is None
        assert told == {"socket": address, "watchdog": None, "left": [], "inheritable": False, "blocking": False}
        assert greeting(address) == b"hello"
        assert greeting(address) == b"hello"
        assert ended(process) == 0
    assert os.path.exists(address), "the socket is the unit's, not ours to remove"


def test_a_client_that_came_first_waits(control: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT)
        client.connect(control.getsockname())
        with started(ACTIVATED, {}, control) as process:
            assert client.recv(100) == b"hello"
            assert ended(process) == 0


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd-socket-activate is not installed")
def test_systemds_own_activator(tmp_path: Path) -> None:
    address = str(tmp_path / "control.sock")
    command = ["systemd-socket-activate", f"--listen={address}", "--fdname=control", *ACTIVATED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "Listening on" in process.stderr.readline()
        assert greeting(address) == b"hello"
        assert told_by(process)["socket"] == address
        assert ended(process) == 0


def test_the_units_group_is_read_from_the_socket(control: socket.socket) -> None:
    os.chmod(control.getsockname(), 0o600)
    assert socket_group(control) is None
    os.chmod(control.getsockname(), 0o660)
    assert socket_group(control) == os.stat(control.getsockname()).st_gid


def test_an_abstract_socket_has_no_group() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract:
        abstract.bind(f"\0swarmd-test-{os.getpid()}")
        assert socket_group(abstract) is None


def listening_tcp() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def unix_stream_not_listening() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def unix_datagram() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (listening_tcp, "systemd passed a AF_INET SOCK_STREAM socket"),
        (unix_stream_not_listening, "systemd passed a AF_UNIX SOCK_STREAM socket that does not listen"),
        (unix_datagram, "systemd passed a AF_UNIX SOCK_DGRAM socket that does not listen"),
    ],
)
def test_another_kind_of_socket_is_an_error_that_says_what_it_is(make: Any, said: str) -> None:
    with make() as wrong, started(ACTIVATED, {}, wrong) as process:
        _, error = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 2
    assert said in error


def test_a_descriptor_that_is_no_socket(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, started(ACTIVATED, {}, file.fileno()) as process:
        _, error = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 2
    assert "descriptor 3, which is no socket" in error


def test_variables_for_another_process_are_ignored_and_removed() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "control", "HOME": "/"}
    assert take_control_socket(environ, 77) is None
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    "environ", [{"LISTEN_FDS": "2", "LISTEN_FDNAMES": "control:peers"}, {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "peers"}]
)
def test_sockets_that_swarmd_does_not_know_are_named(environ: dict[str, str]) -> None:
    with pytest.raises(LocalError, match=r"passed these sockets: .*peers; swarmd takes one"):
        take_control_socket({"LISTEN_PID": "77", **environ}, 77)


@pytest.mark.parametrize(
    ("environ", "fds"),
    [
        ({}, ()),
        ({"LISTEN_PID": "78", "LISTEN_FDS": "1"}, ()),
        ({"LISTEN_PID": "77", "LISTEN_FDS": "0"}, ()),
        ({"LISTEN_PID": "77", "LISTEN_FDS": "1"}, (InheritedFd(3, "unknown"),)),
        (
            {"LISTEN_PID": "77", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b:c"},
            (InheritedFd(3, "a"), InheritedFd(4, "b")),
        ),
    ],
)
def test_what_the_variables_say(environ: dict[str, str], fds: tuple[InheritedFd, ...]) -> None:
    assert inherited_fds(environ, 77) == fds


@pytest.mark.parametrize("count", ["", "many", "-1", "65", "１"])
def test_a_count_that_is_none(count: str) -> None:
    with pytest.raises(InvalidArgument, match="LISTEN_FDS="):
        inherited_fds({"LISTEN_PID": "77", "LISTEN_FDS": count}, 77)
