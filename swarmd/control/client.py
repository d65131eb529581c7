"""The blocking client: for the command line, scripts and tests. `async_client` is the same for asyncio.

    with Client(default_socket_path(os.environ)) as client:
        status = client.call(schema.STATUS, schema.NoParams())

Errors come back as the exceptions they were in the daemon (`swarmd.core.errors`); DaemonUnreachable when
there is no daemon or it goes away. One thread at a time. Kept light: the command line pays for every
import.
"""

from __future__ import annotations

import errno
import importlib
import os
import select
import socket
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from swarmd.control import wire
from swarmd.control.failures import DaemonUnreachable as DaemonUnreachable
from swarmd.control.failures import error_of
from swarmd.control.failures import exit_code as exit_code
from swarmd.control.records import Event, Lost, Result, Topic
from swarmd.control.schema import (
    EVENTS,
    MAX_REQUEST_BYTES,
    MAX_RESPONSE_BYTES,
    SUBSCRIBE,
    Method,
    Params,
    SubscribeParams,
)
from swarmd.core.errors import InvalidArgument, LocalError, NotAllowed

if TYPE_CHECKING:
    from swarmd.control.netgroup import NetGroup as NetGroup
    from swarmd.control.netgroup import run as run

P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)

_RECEIVE_BYTES = 256 << 10
_PATIENCE_MS = 2_000
"""So long an answer may take before somebody who watches wonders."""
_SYSTEM_SOCKET = "/run/swarmd/control.sock"
_SYSTEM_UID_LIMIT = 1000


def __getattr__(name: str) -> Any:
    """`NetGroup` and `run`, for programs; with asyncio, which the command line does not pay for."""
    if name in ("NetGroup", "run"):
        return getattr(importlib.import_module("swarmd.control.netgroup"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def default_socket_path(environ: Mapping[str, str]) -> str:
    """Where the daemon of this user, or else the system's, is expected: SWARMD_SOCKET before all.

    When neither is there, the place where one's own would be, for the message. The places are those of
    `swarmd.daemon.paths`: below uid 1000 one's own is the system's.
    """
    if named := environ.get("SWARMD_SOCKET"):
        return named
    own = _SYSTEM_SOCKET if os.geteuid() < _SYSTEM_UID_LIMIT else _user_socket_path(environ)
    return _SYSTEM_SOCKET if not os.path.exists(own) and os.path.exists(_SYSTEM_SOCKET) else own


def _user_socket_path(environ: Mapping[str, str]) -> str:
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):  # a relative one is to be ignored, says the specification
        return os.path.join(runtime, "swarmd.sock")
    state = environ.get("XDG_STATE_HOME", "")
    state = state if state.startswith("/") else os.path.expanduser("~/.local/state")
    return os.path.join(state, "swarmd", "control.sock")


def connect_error(path: str, error: OSError) -> LocalError:
    """Why the daemon cannot be talked to, and what to do."""
    if isinstance(error, PermissionError):
        return NotAllowed(f"uid {os.geteuid()} may not open the control socket {path}")
    reason = error.strerror or str(error)
    return DaemonUnreachable(
        f"no swarmd answers on {path} ({reason}). Start one with `swarmd` (or `systemctl start swarmd`), "
        "or name its socket with --socket or SWARMD_SOCKET"
    )


def gone_error(path: str) -> DaemonUnreachable:
    """The connection ended in the middle."""
    return DaemonUnreachable(f"swarmd on {path} closed the connection before it had answered")


def request_line(request_id: int, method: Method[P, Any], params: P) -> bytes:
    """One encoded call; InvalidArgument when it cannot be said in a line that the server reads."""
    try:
        line = wire.encode_request(request_id, method.name, params)
    except UnicodeEncodeError as error:
        said = wire.sayable(str(error.object))
        raise InvalidArgument(f"{said} is not UTF-8, as every name and path must be: rename it") from error
    if len(line) > MAX_REQUEST_BYTES:
        raise InvalidArgument(f"{method.name}: the parameters are longer than {MAX_REQUEST_BYTES >> 10} KiB")
    return line


def answer_of(message: wire.Incoming, method: Method[Any, R]) -> R:
    """The result in an answer, or its error raised as what it was."""
    if message.error is not None:
        if message.error.code == wire.STOPPING:
            raise DaemonUnreachable(message.error.message)
        raise error_of(message.error.data.code, message.error.message)
    if message.result is msgspec.UNSET:
        raise LocalError(f"{method.name}: an answer with neither result nor error")
    return decode_as(message.result, method.result)


def event_of(message: wire.Incoming) -> Event | Lost:
    """The event, or gap, in a notification."""
    if message.method == "lost":
        return decode_as(message.params, Lost)
    notice = decode_as(message.params, wire.EventNotice)
    return Event(topic=notice.topic, name=notice.name, data=decode_as(notice.data, EVENTS[notice.topic]))


T = TypeVar("T")


def decode_as(raw: msgspec.Raw, kind: type[T]) -> T:
    """Part of a message as the schema types it; LocalError when daemon and client are of different minds."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise LocalError(f"the daemon's answer is not as expected ({error}): are both of one version?") from error


class Client:
    """One connection to the daemon."""

    def __init__(self, path: str, slow: Callable[[], None] | None = None) -> None:
        """Connect; DaemonUnreachable or NotAllowed when that fails.

        slow: called once in each call that brings nothing for two seconds, unless it tells how far it is.
        """
        self._path = path
        self._slow = slow
        self._buffer = bytearray()
        self._searched = 0
        self._last_id = 0
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.connect(path)
        except OSError as error:
            self._sock.close()
            raise connect_error(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Calls that still run in the daemon end with the connection."""
        self._sock.close()

    def call(self, method: Method[P, R], params: P, progress: Callable[[Any], None] | None = None) -> R:
        """Wait for the result; `progress` gets each value of the method's progress type meanwhile."""
        self._last_id += 1
        request_id = self._last_id
        self._send(request_line(request_id, method, params))
        if self._slow is not None and method.progress is None and not self._has_come(_PATIENCE_MS):
            self._slow()
        while True:
            message = self._receive()
            if message.method is None and message.id in (request_id, None):
                return answer_of(message, method)
            if message.method == "progress" and progress is not None and method.progress is not None:
                notice = decode_as(message.params, wire.ProgressNotice)
                if notice.id == request_id:
                    progress(decode_as(notice.value, method.progress))

    def events(self, topics: list[Topic], output: int | None = None) -> Iterator[Event | Lost]:
        """Subscribe, then every event until the daemon ends (DaemonUnreachable); the connection is for
        nothing else then.

        The subscription stands before the first event is asked for. output: the descriptor to which they are written;
        BrokenPipeError as soon as nobody reads there, not only when there is something to write.
        """
        self.call(SUBSCRIBE, SubscribeParams(topics=topics))
        return self._events(output)

    def _events(self, output: int | None) -> Iterator[Event | Lost]:
        while True:
            message = self._receive(output)
            if message.method in ("event", "lost"):
                yield event_of(message)

    def _send(self, line: bytes) -> None:
        try:
            self._sock.sendall(line)
        except ConnectionError:  # why it was closed may still be there to read
            return

    def _has_come(self, timeout_ms: int | None = None, output: int | None = None) -> bool:
        """Wait until something can be received (or the daemon is gone)."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        if output is not None:
            poll.register(output, 0)  # that nobody reads it any more is always reported
        ready = [descriptor for descriptor, _ in poll.poll(timeout_ms)]
        if output in ready:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return bool(ready)

    def _receive(self, output: int | None = None) -> wire.Incoming:
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > MAX_RESPONSE_BYTES + MAX_REQUEST_BYTES:
                raise LocalError("the control socket sends no end of line; is it a swarmd?")
            if output is not None:
                self._has_come(output=output)
            try:
                received = self._sock.recv(_RECEIVE_BYTES)
            except ConnectionError as error:
                raise gone_error(self._path) from error
            if not received:
                raise gone_error(self._path)
            self._buffer += received
        line = bytes(memoryview(self._buffer)[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return wire.decode_incoming(line)
