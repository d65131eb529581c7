"""Real `swarmd` processes for tests and the demo: started, waited for by the notify protocol, stopped by process id.

A `Node` has a folder of its own: state, control socket, log, a folder for downloads. `swarm` runs the command line
against it as a user would. Nothing here sleeps: readiness is the daemon's READY=1, the end is the process's end.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tests.e2e.control import WAIT_TIMEOUT, Control

T = TypeVar("T")

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
COMMAND_TIMEOUT = 40.0
EXTRA_ARGUMENTS = tuple(os.environ.get("E2E_ARGUMENTS", "").split())
"""For every daemon of a run: `E2E_ARGUMENTS=--no-tcp python -m pytest tests/e2e` has all of them talk over UDP.

Not for a daemon that a test gives a transport of its own."""
TRANSPORTS = {"--no-tcp", "--no-udp"}


_PORTS = range(16_384, 32_768)
"""Below those that Linux gives to whoever asks for any port, or calls somebody (`ip_local_port_range`)."""
_next_ports = itertools.cycle(_PORTS)
for _ in range(os.getpid() * 61 % len(_PORTS)):
    next(_next_ports)


def free_port() -> int:
    """A port of loopback that nobody has now, and that nobody gets by chance while a daemon is restarted."""
    while True:
        port = next(_next_ports)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, suppress(OSError):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port


class Node:
    """One daemon. Use as a context manager: leaving kills it if it still runs.

    Started again, it listens on the port that it had the first time: one that the system gives to nobody meanwhile.
    `config` is the text of its configuration file; `listen` nothing leaves the choice to the daemon. `module` is what
    Python runs: a daemon that differs from `swarmd` in what a test needs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        listen: Sequence[str] | None = None,
        arguments: Sequence[str] = ("--no-mdns",),
        prefix: Sequence[str] = (),
        config: str = "",
        module: str = "swarmd",
    ) -> None:
        self.folder, self._module = folder, module
        self.downloads = folder / "downloads"
        self.state_dir = folder / "state"
        self.socket = folder / "control.sock"
        self.log = folder / "swarmd.log"
        self._listen = (f"127.0.0.1:{free_port()}",) if listen is None else tuple(listen)
        self._arguments, self._prefix = arguments, tuple(prefix)
        self._process: subprocess.Popen[bytes] | None = None
        self._notify: socket.socket | None = None
        self._commands: list[subprocess.Popen[str]] = []
        self.downloads.mkdir(parents=True, exist_ok=True)
        self.config_file = folder / "swarmd.toml"
        self.config_file.write_text(config)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    # The daemon -------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def command(self) -> list[str]:
        listen = [word for address in self._listen for word in ("--listen", address)]
        places = ["--config", str(self.config_file), "--state-dir", str(self.state_dir), "--socket", str(self.socket)]
        extra = [each for each in EXTRA_ARGUMENTS if not (each in TRANSPORTS and TRANSPORTS & set(self._arguments))]
        return [*self._prefix, sys.executable, "-m", self._module, *places, *listen, *self._arguments, *extra]

    def spawn(self, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start without waiting for anything."""
        assert not self.is_running, "it runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**clean_environ(), **(environ or {})},
            )
        return self._process

    def start(self) -> Node:
        """Start, and wait until it says that it is ready."""
        self.begin()
        return self.wait_for_ready()

    def begin(self) -> None:
        """Start; `wait_for_ready` is to follow."""
        path = self.folder / "notify.sock"
        path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(path))
        path.chmod(0o666)  # it may run as another user
        self.spawn({"NOTIFY_SOCKET": str(path)})

    def wait_for_ready(self) -> Node:
        assert self._notify is not None
        assert self._process is not None
        ended = os.pidfd_open(self._process.pid)
        try:
            while not self._is_ready(self._notify, ended):
                pass
        finally:
            os.close(ended)
            self._notify.close()
        self._listen = self.call("status")["listen"]
        return self

    def _is_ready(self, notify: socket.socket, ended: int) -> bool:
        readable, _, _ = select.select([notify.fileno(), ended], [], [], START_TIMEOUT)
        assert notify.fileno() in readable, f"swarmd did not start\n{self._tail()}"
        return b"READY=1" in notify.recv(4096).split(b"\n")

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Until it has ended; the exit status."""
        assert self._process is not None
        return self._process.wait(STOP_TIMEOUT)

    def kill_daemon(self) -> None:
        """kill -9, if it still runs. Commands that talk to it see it go."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT)

    def kill(self) -> None:
        """The same, and its commands too."""
        self.kill_daemon()
        for command in self._commands:
            if command.poll() is None:
                command.kill()
            command.communicate(timeout=STOP_TIMEOUT)  # closes its pipes
        self._commands.clear()
        if self._notify is not None:
            self._notify.close()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    # The command line -------------------------------------------------------------------------------------------

    def swarm_command(self, *words: str | Path) -> list[str]:
        return [*self._prefix, sys.executable, "-m", "cli", "--socket", str(self.socket), *map(str, words)]

    def run(
        self, *words: str | Path, stdin: str | None = None, timeout: float = COMMAND_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """`swarm WORDS`, whatever its exit status."""
        return subprocess.run(
            self.swarm_command(*words),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            env=clean_environ(),
            check=False,
        )

    def swarm(self, *words: str | Path, stdin: str | None = None, timeout: float = COMMAND_TIMEOUT) -> str:
        """`swarm WORDS`, which must succeed; its standard output."""
        result = self.run(*words, stdin=stdin, timeout=timeout)
        assert result.returncode == 0, f"swarm {words}: exit {result.returncode}\n{result.stderr}\n{self._tail()}"
        return result.stdout

    def json(self, *words: str | Path, stdin: str | None = None, timeout: float = COMMAND_TIMEOUT) -> dict[str, Any]:
        """`swarm --json WORDS`; the last object that it prints."""
        last = self.swarm("--json", *words, stdin=stdin, timeout=timeout).splitlines()[-1]
        answer: dict[str, Any] = json.loads(last)
        return answer

    def error(self, *words: str | Path, stdin: str | None = None) -> tuple[int, str]:
        """`swarm WORDS`, which must not succeed; its exit status, and what it says on stderr."""
        result = self.run(*words, stdin=stdin)
        assert result.returncode != 0, f"swarm {words} succeeded: {result.stdout}"
        assert "Traceback" not in result.stderr, result.stderr
        return result.returncode, result.stderr

    def popen(self, *words: str | Path) -> subprocess.Popen[str]:
        """`swarm WORDS` in the background; the caller waits for it, with `outcome` for example."""
        command = subprocess.Popen(
            self.swarm_command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environ(),
        )
        self._commands.append(command)
        return command

    def address(self) -> str:
        """Where the daemon listens."""
        return self._listen[0]

    # The control socket -----------------------------------------------------------------------------------------

    def control(self, timeout: float = WAIT_TIMEOUT) -> Control:
        return Control(self.socket, timeout)

    def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        with self.control() as control:
            return control.call(method, **params)

    def wait_until(self, check: Callable[[], T], *topics: str) -> T:
        """Until `check` gives something true; looked at anew whenever an event of these topics comes."""
        with self.control() as control:
            control.subscribe(*topics)
            while not (found := check()):
                control.next_event()
            return found

    def _tail(self) -> str:
        return "\n".join(self.log_text().splitlines()[-30:])


def start_all(*nodes: Node) -> None:
    """All at once."""
    for node in nodes:
        node.begin()
    for node in nodes:
        node.wait_for_ready()


def outcome(command: subprocess.Popen[str], timeout: float = COMMAND_TIMEOUT) -> tuple[int, str, str]:
    """Wait for a command in the background: exit status, stdout, stderr."""
    out, err = command.communicate(timeout=timeout)
    return command.returncode, out, err


def clean_environ() -> dict[str, str]:
    """The environment without what would lead to another daemon."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("SWARMD_", "NOTIFY_", "XDG_"))}
