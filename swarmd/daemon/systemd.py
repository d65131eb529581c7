"""What a service manager and swarmd tell each other: sd_notify(3), the watchdog, sd_listen_fds(3).

In: environment variables and inherited descriptors. Out: datagrams to `$NOTIFY_SOCKET`. It links to no
library; both protocols are a few lines and stable by promise. Without systemd every call does nothing.

Invariant: telling systemd something never fails and never waits. An inherited socket is used only when it is
what it should be (a listening Unix stream socket); anything else is an error that says what it is, since a
wrong socket unit would otherwise be a daemon that nobody can talk to.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from swarmd.core.errors import InvalidArgument, LocalError

CONTROL_NAME = "control"
"""FileDescriptorName= of swarmd.socket."""
FIRST_FD = 3
MAX_FDS = 64
"""swarmd uses one; more than this is a broken environment, not a socket unit."""
_log = logging.getLogger(__name__)


# --- towards systemd ---


class Notifier:
    """Tells the service manager how we are. `close` when done."""

    def __init__(self, address: str | None) -> None:
        self._address = notify_address(address)
        self._socket: socket.socket | None = None
        if self._address is not None:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_UNIX, kind)

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Takes the variable out, so that no child speaks in our name."""
        return cls(environ.pop("NOTIFY_SOCKET", None))

    @property
    def is_active(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """Started, or done with reloading."""
        self.send({"READY": "1", "STATUS": status})

    def reloading(self, now: float) -> None:
        """`now`: the monotonic clock in seconds; systemd ignores readiness that was sent earlier than it."""
        self.send({"RELOADING": "1", "MONOTONIC_USEC": str(int(now * 1_000_000))})

    def stopping(self, status: str) -> None:
        self.send({"STOPPING": "1", "STATUS": status})

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self.send({"STATUS": status})

    def watchdog(self) -> None:
        """Alive."""
        self.send({"WATCHDOG": "1"})

    def send(self, fields: Mapping[str, str]) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto(encode_notification(fields), self._address)
        except OSError as error:
            # A full queue, or a manager that is being replaced. The next ping or status gets through.
            _log.debug("the service manager did not take a message: %s", error)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def notify_address(text: str | None) -> str | None:
    """The address to send to: `@name` is abstract (unix(7)); whatever is no Unix address is nobody."""
    if text and text.startswith("@"):
        return "\0" + text[1:]
    return text if text and text.startswith("/") else None


def encode_notification(fields: Mapping[str, str]) -> bytes:
    """One assignment a line; a line break in a value would start another assignment."""
    lines = (f"{key}={' '.join(value.splitlines())}" for key, value in fields.items())
    return "\n".join(lines).encode("utf-8", "backslashreplace")


def watchdog_period(environ: Mapping[str, str], pid: int) -> float | None:
    """Seconds within which systemd wants a ping, or None when it does not (sd_watchdog_enabled(3))."""
    period = environ.get("WATCHDOG_USEC", "")
    if not (period.isascii() and period.isdigit()) or int(period) == 0:
        return None
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(period) / 1_000_000


# --- from systemd ---


@dataclass(frozen=True, slots=True)
class InheritedFd:
    """A descriptor that was handed to this process."""

    fd: int
    name: str


def inherited_fds(environ: Mapping[str, str], pid: int) -> tuple[InheritedFd, ...]:
    """What `LISTEN_FDS` and `LISTEN_FDNAMES` say, if `LISTEN_PID` is us."""
    if environ.get("LISTEN_PID") != str(pid):
        return ()
    count = environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdigit()) or int(count) > MAX_FDS:
        raise InvalidArgument(f"LISTEN_FDS={count!r} is not a number of at most {MAX_FDS}; unset it or fix the unit")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    return tuple(
        InheritedFd(FIRST_FD + i, names[i] if i < len(names) and names[i] else "unknown") for i in range(int(count))
    )


def take_control_socket(environ: MutableMapping[str, str], pid: int) -> socket.socket | None:
    """The listening control socket of swarmd.socket, non-blocking, or None when there is none.

    One unnamed descriptor is taken for it. LocalError when something else was passed. The variables are
    removed: they are for this process alone, and for once.
    """
    try:
        fds = inherited_fds(environ, pid)
    finally:
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            environ.pop(name, None)
    if not fds:
        return None
    if len(fds) > 1 or not _may_be_control(fds[0].name):
        names = ", ".join(each.name for each in fds)
        raise LocalError(
            f"systemd passed these sockets: {names}; swarmd takes one, with FileDescriptorName={CONTROL_NAME}"
        )
    return _adopted(fds[0].fd)


def socket_group(control: socket.socket) -> int | None:
    """The group whose members its socket unit lets in (SocketGroup=, SocketMode=), or None.

    The daemon checks its callers itself, and must let in whom the admin let in with the unit alone.
    """
    path = control.getsockname()
    if not isinstance(path, str) or not path.startswith("/"):
        return None
    status = os.stat(path)
    return status.st_gid if status.st_mode & stat.S_IWGRP else None


def _may_be_control(name: str) -> bool:
    """Without FileDescriptorName= systemd gives the unit's name; other supervisors give none."""
    return name in (CONTROL_NAME, "unknown") or name.endswith(".socket")


def _adopted(fd: int) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        taken = socket.socket(fileno=fd)
    except OSError as error:
        raise LocalError(f"systemd passed descriptor {fd}, which is no socket ({error.strerror})") from None
    is_listening = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if taken.family != socket.AF_UNIX or taken.type != socket.SOCK_STREAM or not is_listening:
        kind = f"{socket.AddressFamily(taken.family).name} {socket.SocketKind(taken.type).name}"
        taken.detach()  # not ours to close
        raise LocalError(
            f"systemd passed a {kind} socket{'' if is_listening else ' that does not listen'};"
            " the control socket is a listening Unix stream: ListenStream=/run/swarmd/control.sock"
        )
    taken.setblocking(False)
    return taken
