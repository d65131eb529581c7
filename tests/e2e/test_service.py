"""The daemon under a service manager, which the test plays: notifications, watchdog, reload, activation, and the end.

The protocols themselves are tried on a small process in tests/daemon/test_systemd.py; this is swarmd.
"""

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

import pytest

from swarmd.core.clock import SystemClock
from tests.daemon.manager import TIMEOUT, Manager, started
from tests.e2e.control import Control
from tests.e2e.farm import MIB, Farm, wait_for_bytes
from tests.e2e.nodes import Node, clean_environ
from tests.e2e.privileges import AS_NOBODY, NOBODY, needs

STOP_PERIOD = 5.0


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


def test_a_life(manager: Manager, farm: Farm) -> None:
    node = farm.node()
    node.spawn({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "900000"})
    ready = manager.wait_for("READY")
    assert node.call("status")["pid"] == node.pid, "ready means that calls are answered"
    assert ready["STATUS"].startswith("0 groups, 0 peers, 0 transfers")
    clock = SystemClock()
    begun_at = clock.monotonic()
    for _ in range(4):
        manager.wait_for("WATCHDOG")
    assert clock.monotonic() - begun_at < 4 * 0.9 / 2, "at least twice as often as it must be"
    asked_at = clock.monotonic()
    node.signal(signal.SIGHUP)
    reloading = manager.wait_for("RELOADING")
    assert int(reloading["MONOTONIC_USEC"]) / 1e6 >= asked_at - 1e-5
    manager.wait_for("READY")
    node.call("group.create", name="films")
    node.config_file.write_text("[limits]\nupload = true\n")
    node.signal(signal.SIGHUP)
    manager.wait_for("RELOADING")
    assert manager.wait_for("READY")["STATUS"].startswith("1 groups"), "a broken file is refused, and it goes on"
    assert "not reloaded" in node.log_text()
    node.log.write_text("")  # that was the only error
    node.signal(signal.SIGTERM)
    assert manager.wait_for("STOPPING")["STATUS"] == "stopping"
    assert node.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_in_the_middle_of_everything(farm: Farm, number: signal.Signals) -> None:
    """A transfer each way, a share that is being read, a client that waits and one that is deaf."""
    seeder, leecher = farm.start(2, config='[limits]\nupload = "4 MiB/s"')
    ticket = seeder.call("share", path=str(farm.file("disk.iso", 20 * MIB)))["ticket"]
    leecher.call("get", source=ticket, target_dir=str(leecher.downloads))
    wait_for_bytes(leecher, MIB)
    sparse = farm.folder / "sparse"
    sparse.touch()
    os.truncate(sparse, 3 << 30)
    with leecher.control() as sharing, leecher.control() as waiting, leecher.control() as deaf:
        sharing.ask("share", path=str(sparse))
        assert sharing.receive()["method"] == "progress"
        waiting.ask("transfer.wait", id=leecher.call("transfers")["transfers"][0]["id"])
        for _ in range(2000):
            deaf.ask("ls")
        begun_at = SystemClock().monotonic()
        leecher.signal(number)
        assert leecher.wait() == 0
        assert SystemClock().monotonic() - begun_at < STOP_PERIOD
        while "error" not in (answer := waiting.receive()):
            pass
        assert "stopping" in answer["error"]["message"]
    leecher.start()
    assert leecher.call("transfers")["transfers"][0]["have_bytes"] >= MIB


def test_sigterm_before_it_is_ready(farm: Farm) -> None:
    node = farm.node()
    process = node.spawn()
    node.signal(signal.SIGTERM)
    assert process.wait(STOP_PERIOD) in (0, -signal.SIGTERM)
    node.start()


def test_a_configuration_that_is_none(farm: Farm) -> None:
    node = farm.node(config='[limits]\nupload = "fast"\n[limit]\n')
    assert node.spawn().wait(TIMEOUT) == 2, "the unit does not restart what cannot start"
    checked = subprocess.run([*node.command, "--check-config"], capture_output=True, text=True, check=False)
    assert checked.returncode == 2
    for said in (node.log_text(), checked.stderr):
        assert "limits.upload" in said
        assert "did you mean limits?" in said, "all mistakes at once"


# --- socket activation ---


@pytest.fixture
def control(tmp_path: Path) -> Iterator[socket.socket]:
    """What swarmd.socket would hold."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.bind(str(tmp_path / "control.sock"))
        control.listen()
        yield control


def command_of(node: Node) -> list[str]:
    return [sys.executable, *node.command[1:]]


def test_a_client_that_came_before_the_daemon(control: socket.socket, manager: Manager, farm: Farm) -> None:
    node = farm.node()
    path = Path(control.getsockname())
    with Control(path) as early:
        early.ask("version")
        for _ in range(2):
            with started(command_of(node), {**clean_environ(), "NOTIFY_SOCKET": manager.address}, control) as process:
                assert "result" in early.receive()
                manager.wait_for("READY")
                with Control(path) as late:
                    assert late.call("status")["pid"] == process.pid
                early.ask("id")
                assert "result" in early.receive()
                process.terminate()
                assert process.wait(STOP_PERIOD) == 0
            assert path.exists(), "the socket is the unit's"
            early.close()
            early = Control(path)  # waits in the backlog for the next one
            early.ask("version")
        early.close()
    assert not node.socket.exists(), "it made none of its own"


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd-socket-activate is not installed")
def test_systemds_own_activator(farm: Farm) -> None:
    node = farm.node()
    command = ["systemd-socket-activate", f"--listen={node.socket}", "--fdname=control"]
    command += [f"--setenv={name}" for name in ("PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ]
    activator = subprocess.Popen([*command, *command_of(node)], stderr=subprocess.PIPE, text=True, env=clean_environ())
    with activator:
        assert activator.stderr is not None
        assert "Listening on" in activator.stderr.readline()
        assert json.loads(node.swarm("status", "--json"))["pid"] == activator.pid, "it became swarmd"
        activator.terminate()
        assert activator.wait(STOP_PERIOD) == 0


@needs("setpriv")
@pytest.mark.root
def test_the_units_group_may_use_it(control: socket.socket, manager: Manager, farm: Farm) -> None:
    node = farm.node()
    node.socket = Path(control.getsockname())
    member = farm.node(prefix=AS_NOBODY)
    member.socket = node.socket
    for group, code in ((NOBODY, 0), (1, 5)):
        os.chown(node.socket, 0, group)
        os.chmod(node.socket, 0o660)
        with started(command_of(node), {**clean_environ(), "NOTIFY_SOCKET": manager.address}, control) as process:
            manager.wait_for("READY")
            assert member.run("status").returncode == code
            process.terminate()
            assert process.wait(STOP_PERIOD) == 0
