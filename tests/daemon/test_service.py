"""The whole daemon as a service: started, watched, reloaded and stopped as systemd does it."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from swarmd import __version__
from swarmd.control import schema
from swarmd.control.client import Client
from swarmd.control.records import Status
from swarmd.core.clock import SystemClock
from tests.daemon.manager import TIMEOUT, Manager, started

SWARMD = [sys.executable, "-m", "swarmd"]
STOP_LIMIT = 5.0


class Service:
    """A folder, a configuration and a manager for one daemon."""

    def __init__(self, folder: Path, manager: Manager) -> None:
        self.manager = manager
        self.folder = folder
        self.socket = folder / "control.sock"
        self.file = folder / "config.toml"
        self.file.write_text(self.text())
        self.environ = {"SWARMD_CONFIG": str(self.file), "NOTIFY_SOCKET": manager.address}

    def text(self, limits: str = "", log: str = "") -> str:
        node = f'[node]\nlisten = ["127.0.0.1:0"]\nstate_dir = "{self.folder}/state"\n'
        control = f'[control]\nsocket = "{self.socket}"\n'
        return f"{node}{control}[discovery]\nmdns = false\n[limits]\n{limits}\n[log]\n{log}\n"

    def status(self) -> Status:
        with Client(str(self.socket)) as client:
            return client.call(schema.STATUS, schema.NoParams())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    manager = Manager(str(tmp_path / "notify"))
    yield Service(tmp_path, manager)
    manager.close()


@pytest.fixture
def control(service: Service) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.bind(str(service.socket))
        control.listen()
        yield control


@contextmanager
def ready(service: Service, control: socket.socket | None = None) -> Iterator[subprocess.Popen[str]]:
    """The daemon from READY=1 on; when the body ends it is stopped, and has to end well and in time."""
    with started(SWARMD, service.environ, control) as process:
        assert service.manager.wait_for("READY")["READY"] == "1", process.stderr
        yield process
        if process.poll() is None:
            stop(service, process)


def stop(service: Service, process: subprocess.Popen[str]) -> None:
    asked_at = SystemClock().monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 0
    assert SystemClock().monotonic() - asked_at < STOP_LIMIT
    assert service.manager.wait_for("STOPPING")["STOPPING"] == "1"


def test_ready_means_that_the_socket_answers(service: Service) -> None:
    with ready(service) as process:
        assert service.status().pid == process.pid


def test_the_watchdog_is_fed_by_a_daemon_that_lives(service: Service) -> None:
    service.environ |= {"WATCHDOG_USEC": "300000"}
    with ready(service):
        for _ in range(5):
            assert service.manager.wait_for("WATCHDOG")["WATCHDOG"] == "1"


def test_the_watchdogs_abort_leaves_every_stack(service: Service) -> None:
    with started(SWARMD, service.environ) as process:
        service.manager.wait_for("READY")
        process.send_signal(signal.SIGABRT)
        _, log = process.communicate(timeout=TIMEOUT)
        assert process.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in log
    assert "run_forever" in log


def test_a_reload_applies_limits_and_level_and_says_what_waits(service: Service) -> None:
    with ready(service) as process:
        assert service.status().upload_limit is None
        asked_at = SystemClock().monotonic()
        limits = 'upload = "1 MiB/s"\ndownload = "20 Mbit/s"'
        service.file.write_text(service.text(limits).replace("mdns = false", "mdns = true"))
        process.send_signal(signal.SIGHUP)
        reloading = service.manager.wait_for("RELOADING")
        assert asked_at - 1e-5 <= int(reloading["MONOTONIC_USEC"]) / 1e6 <= SystemClock().monotonic()
        service.manager.wait_for("READY")
        status = service.status()
        assert (status.upload_limit, status.download_limit) == (1 << 20, 2_500_000)
        service.file.write_text(service.text(limits, 'level = "error"'))
        process.send_signal(signal.SIGHUP)
        service.manager.wait_for("RELOADING")
        service.manager.wait_for("READY")
        stop(service, process)
        _, log = process.communicate(timeout=TIMEOUT)
    assert "reloaded: limits.upload, limits.download\n" in log
    assert "need a restart: discovery.mdns" in log
    assert "swarmd stops" not in log, "the level is error since the second reload"


def test_a_reload_of_a_wrong_configuration_changes_nothing(service: Service) -> None:
    service.file.write_text(service.text('upload = "1 MiB/s"'))
    with ready(service) as process:
        service.file.write_text(service.text('uplaod = "2 MiB/s"'))
        process.send_signal(signal.SIGHUP)
        service.manager.wait_for("RELOADING")
        service.manager.wait_for("READY")
        assert service.status().upload_limit == 1 << 20
        stop(service, process)
        _, log = process.communicate(timeout=TIMEOUT)
    assert "unknown key limits.uplaod; did you mean upload?" in log


# --- socket activation ---


def test_the_socket_of_the_unit_is_used_and_left(service: Service, control: socket.socket) -> None:
    inode = os.stat(service.socket).st_ino
    for _ in range(2):  # the second start finds it as the first did
        with ready(service, control) as process:
            assert service.status().pid == process.pid
        assert os.stat(service.socket).st_ino == inode


def test_a_client_that_comes_before_the_daemon_is_answered(service: Service, control: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as early:
        early.settimeout(TIMEOUT)
        early.connect(str(service.socket))
        early.sendall(b'{"jsonrpc":"2.0","id":1,"method":"version"}\n')
        with ready(service, control), early.makefile() as answers:
            assert json.loads(answers.readline())["result"] == {"version": __version__}


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd-socket-activate is not installed")
def test_systemds_own_activator_starts_the_daemon(service: Service) -> None:
    command = ["systemd-socket-activate", f"--listen={service.socket}", "--fdname=control"]
    command += [f"--setenv={name}={value}" for name, value in service.environ.items()]
    with subprocess.Popen([*command, *SWARMD], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "Listening on" in process.stderr.readline()
        assert service.status().pid == process.pid
        stop(service, process)


@pytest.mark.skipif(os.geteuid() != 0, reason="a client of another user needs root")
@pytest.mark.parametrize(("mode", "is_let_in"), [(0o660, True), (0o666, False)])
def test_whom_the_unit_lets_in_the_daemon_lets_in(
    service: Service, control: socket.socket, mode: int, is_let_in: bool
) -> None:
    """A member of the socket's group, as SocketGroup= and SocketMode=0660 have it; but not just anybody."""
    uid, gid = 64321, 64322
    for folder in (service.folder, *service.folder.parents[:-1]):
        if not os.stat(folder).st_mode & 0o001:
            os.chmod(folder, os.stat(folder).st_mode | 0o011)
    os.chown(service.socket, 0, gid)
    os.chmod(service.socket, mode)
    program = f"""
import os, socket, sys
os.setgroups([{gid if is_let_in else gid + 1}]); os.setgid({uid}); os.setuid({uid})
client = socket.socket(socket.AF_UNIX); client.settimeout({TIMEOUT}); client.connect({str(service.socket)!r})
client.sendall(b'{{"jsonrpc":"2.0","id":1,"method":"version"}}\\n')
sys.stdout.write(client.makefile().readline())
"""
    with ready(service, control):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (__version__ in done.stdout) is is_let_in, done.stdout + done.stderr


# --- how it starts, and does not ---


def test_logs_for_the_journal_when_stderr_is_the_journal(service: Service) -> None:
    with (service.folder / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        environ = {**os.environ, **service.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        with subprocess.Popen(SWARMD, env=environ, stderr=journal) as process:
            service.manager.wait_for("READY")
            process.terminate()
            assert process.wait(TIMEOUT) == 0
        lines = (service.folder / "journal").read_text().splitlines()
    assert any(line.startswith("<6>daemon.main: swarmd ") for line in lines)
    assert all(line[0] == "<" and line[2] == ">" for line in lines)


def run(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **service.environ}
    return subprocess.run(
        [*SWARMD, *arguments], env=environ, capture_output=True, text=True, check=False, timeout=TIMEOUT
    )


def test_a_wrong_configuration_ends_it_with_status_2(service: Service) -> None:
    service.file.write_text(service.text("uplaod = 1\nmax_sessions = 0"))
    done = run(service)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"swarmd: {service.file}: unknown key limits.uplaod; did you mean upload?",
        f"swarmd: {service.file}: limits.max_sessions: 0 is not a whole number from 1 to 65536",
    ]


def test_check_config_starts_nothing(service: Service) -> None:
    done = run(service, "--check-config", "--log-level", "error")
    assert done.returncode == 0
    assert f'socket = "{service.socket}"  # {service.file}' in done.stdout
    assert 'level = "error"  # --log-level' in done.stdout
    assert not (service.folder / "state").exists()


def test_a_second_daemon_on_the_same_state_is_refused(service: Service) -> None:
    with ready(service) as process:
        done = run(service, "--socket", str(service.folder / "second.sock"))
        assert done.returncode == 1
        assert f"pid {process.pid}" in done.stderr
        assert "Traceback" not in done.stderr
        assert service.status().pid == process.pid


def test_a_wrong_socket_of_the_unit_ends_it_with_a_reason(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, started(SWARMD, service.environ, tcp) as process:
        _, log = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 1
    assert "systemd passed a AF_INET SOCK_STREAM socket" in log
    assert "Traceback" not in log


def test_the_daemon_runs_without_writable_code(service: Service) -> None:
    """MemoryDenyWriteExecute=, in the kernel's own form (Linux 6.3), for the whole daemon."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(66, 0, 0, 0, 0) < 0:  # PR_GET_MDWE
        pytest.skip("this kernel has no PR_SET_MDWE")
    # PR_SET_MDWE does not end with exec, as systemd's filter does not.
    forbid = """
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
    with started([sys.executable, "-c", forbid, *SWARMD], service.environ) as process:
        service.manager.wait_for("READY")
        share = service.folder / "shared"
        share.write_bytes(bytes(1 << 20))
        with Client(str(service.socket)) as client:
            assert client.call(schema.SHARE, schema.ShareParams(path=str(share))).size == 1 << 20
        stop(service, process)
