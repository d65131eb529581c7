"""The test in systemd's place: a notify socket, and processes that are handed a listening socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

TIMEOUT = 20.0
_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """The receiving end of sd_notify. `address` as in $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(TIMEOUT)

    def receive(self) -> dict[str, str]:
        """The next message."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))

    def wait_for(self, key: str) -> dict[str, str]:
        """The next message that says something of `key`."""
        while key not in (message := self.receive()):
            pass
        return message

    def close(self) -> None:
        self.socket.close()


@contextmanager
def started(
    command: Sequence[str],
    environ: Mapping[str, str],
    control: socket.socket | int | None = None,
    name: str = "control",
) -> Iterator[subprocess.Popen[str]]:
    """A process with `control` as descriptor 3 and LISTEN_PID its own, as sd_listen_fds(3) wants it."""
    fds: list[int] = []
    if control is not None:
        fds = [control if isinstance(control, int) else control.fileno()]
        command = [sys.executable, "-c", _HAND_OVER, str(fds[0]), *command]
        environ = {**environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": name}
    process = subprocess.Popen(
        command,
        env={**os.environ, **environ},
        pass_fds=fds,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
