"""The control server: accepts on the Unix socket, lets the allowed in, gives each a `Connection`.

Invariant: a caller who is not allowed learns that and nothing else; at most `Bounds.connections` clients are
served at once; after `close` no task, socket or socket file of ours is left. State: none of its own, so a
crash loses nothing but the connections.

It accepts by itself, since with `asyncio.start_unix_server` a client that has been accepted is unknown to us until
some turns of the loop later, and would outlive a `close` in between.
"""

from __future__ import annotations

import asyncio
import logging
import socket

from swarmd.control import wire
from swarmd.control.access import credentials_of, is_allowed
from swarmd.control.connection import Bounds, Connection
from swarmd.control.dispatch import Credentials, Dispatcher, Handlers
from swarmd.control.events import EventHub
from swarmd.control.listener import Listener
from swarmd.control.schema import MAX_REQUEST_BYTES
from swarmd.core.errors import Conflict, NotAllowed

log = logging.getLogger(__name__)

_ACCEPT_RETRY_S = 1.0
"""Pause when the system has no descriptors left: the listener stays readable, and asking on would spin."""


class Server:
    """Serves one table of handlers on one socket; `missing` are the schema's methods that the table lacks."""

    def __init__(
        self, handlers: Handlers, hub: EventHub, *, gid: int | None = None, bounds: Bounds | None = None
    ) -> None:
        self._dispatcher = Dispatcher(handlers)
        self._hub = hub
        self._gid = gid
        self._bounds = bounds or Bounds()
        self._opening: set[asyncio.Task[None]] = set()
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._listener: Listener | None = None
        self._retry: asyncio.TimerHandle | None = None

    @property
    def missing(self) -> frozenset[str]:
        return self._dispatcher.missing

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._opening) + len(self._connections)

    async def start(self, listener: Listener) -> None:
        """Serve on it from now on; `close` closes it and removes its file."""
        listener.sock.setblocking(False)
        self._listener = listener
        self._listen()

    async def close(self) -> None:
        """Stop accepting, answer running calls with "stopping", close every connection; at most about a second."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.sock)
            self._listener.remove()
            self._listener.sock.close()
            self._listener = None
        if self._retry is not None:
            self._retry.cancel()
        await asyncio.gather(*self._opening)
        await asyncio.gather(*(connection.stop() for connection in self._connections.values()))
        await asyncio.gather(*self._connections)

    def _listen(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener.sock, self._accept, self._listener.sock)

    def _accept(self, listening: socket.socket) -> None:
        """One client for each call: the loop calls again while there are more, and serves others in between."""
        try:
            sock, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            log.error("cannot accept control connections: %s", error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(listening)
            self._retry = loop.call_later(_ACCEPT_RETRY_S, self._listen)
            return
        self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        credentials = credentials_of(sock)
        if not is_allowed(sock, credentials, self._gid):
            log.warning("control connection refused: uid %d, pid %d", credentials.uid, credentials.pid)
            _turn_away(sock, f"uid {credentials.uid} may not use this swarmd", NotAllowed.code)
        elif self.clients >= self._bounds.connections:
            log.warning("control connection refused: %d are open", self.clients)
            _turn_away(sock, f"{self.clients} control connections are open already", Conflict.code)
        else:
            task = asyncio.create_task(self._open(sock, credentials), name="control-open")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, sock: socket.socket, credentials: Credentials) -> None:
        streams = await asyncio.open_unix_connection(sock=sock, limit=MAX_REQUEST_BYTES)
        connection = Connection(streams, credentials, self._dispatcher, self._hub, self._bounds)
        task = asyncio.create_task(connection.serve(), name="control-connection")
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)


def _turn_away(sock: socket.socket, message: str, code: str) -> None:
    """Say why and close; what is said fits an empty socket buffer, unless the client has gone already."""
    with sock:
        try:
            sock.send(wire.encode_error(None, wire.APPLICATION_ERROR, message, code))
        except OSError as error:
            log.debug("the refused client did not wait for the reason: %s", error)
