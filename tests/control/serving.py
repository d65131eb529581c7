"""A control server for tests, and a client that speaks raw lines, so that the server is not tested with itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from swarmd.control.connection import Bounds
from swarmd.control.dispatch import Handlers
from swarmd.control.events import EventHub
from swarmd.control.listener import listen
from swarmd.control.server import Server


class Served:
    """A running server: where, and its parts."""

    def __init__(self, path: str, server: Server, hub: EventHub) -> None:
        self.path = path
        self.server = server
        self.hub = hub

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[RawClient]:
        reader, writer = await asyncio.open_unix_connection(self.path, limit=1 << 24)
        try:
            yield RawClient(reader, writer)
        finally:
            writer.transport.abort()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


class RawClient:
    """Lines out, lines in; nothing of `swarmd.control.client`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, method: str, request_id: Any = 1, **params: Any) -> None:
        request = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        self.writer.write(json.dumps(request).encode() + b"\n")

    async def receive(self) -> Any:
        """The next message; None when the server has closed."""
        line = await self.reader.readline()
        return json.loads(line) if line else None

    async def ask(self, line: bytes) -> Any:
        self.writer.write(line + b"\n")
        return await self.receive()

    async def is_closed(self) -> bool:
        """Reads to the end; True when the server ended it."""
        try:
            while await self.reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
        return True


@asynccontextmanager
async def serving(
    folder: Path, handlers: Handlers, *, gid: int | None = None, bounds: Bounds | None = None
) -> AsyncIterator[Served]:
    path = str(folder / "control.sock")
    hub = EventHub()
    server = Server(handlers, hub, gid=gid, bounds=bounds)
    await server.start(listen(path, gid))
    try:
        yield Served(path, server, hub)
    finally:
        await server.close()


async def several_turns() -> None:
    """Enough turns of the loop for what was said to reach the socket before more is said."""
    for _ in range(50):
        await asyncio.sleep(0)
