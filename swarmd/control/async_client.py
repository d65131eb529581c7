"""The client for asyncio programs: calls run side by side on one connection, events come beside them.

    client = await AsyncClient.connect(path)
    async for event in await client.events(["transfers"]): ...

Errors are those of `client`.
Invariant: one reader task owns the connection; when it ends, every waiting call
and every iteration ends with the reason. Events that are not taken in time are dropped, oldest first, and a
`Lost` stands in their place, so that a slow consumer of events never holds up an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from swarmd.control import wire
from swarmd.control.backlog import Backlog
from swarmd.control.client import answer_of, connect_error, decode_as, event_of, gone_error, request_line
from swarmd.control.failures import error_of
from swarmd.control.objects import ObjectEvent
from swarmd.control.records import Event, Lost, Result, Topic
from swarmd.control.schema import MAX_RESPONSE_BYTES, SUBSCRIBE, Method, Params, SubscribeParams
from swarmd.core.errors import LocalError

P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)


MAX_CALLS = 16
"""As many as the daemon runs for one connection."""


class Listener(Protocol):
    """Somebody who is told of one object (`objects_client`)."""

    def heard(self, event: ObjectEvent) -> None: ...
    def ended(self, reason: LocalError) -> None: ...


_Progress = Callable[[wire.ProgressNotice], None]


class AsyncClient:
    """One connection to the daemon; make it with `connect`."""

    def __init__(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._path = path
        self._reader, self._writer = reader, writer
        self._last_id = 0
        self._calls: dict[int, tuple[asyncio.Future[wire.Incoming], _Progress | None]] = {}
        self._turns = asyncio.Semaphore(MAX_CALLS)
        self._given_up: set[int] = set()  # not waited for any more, and the daemon has not answered
        self._events: Backlog[Event | Lost] = Backlog()
        self._arrived = asyncio.Event()
        self._listeners: dict[int, Listener] = {}
        self._end: LocalError | None = None  # why the connection is over
        self._is_closed = False  # by us
        self._task = asyncio.create_task(self._read(), name="control-client")

    @classmethod
    async def connect(cls, path: str) -> Self:
        """DaemonUnreachable or NotAllowed when there is no way in."""
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_RESPONSE_BYTES)
        except OSError as error:
            raise connect_error(path, error) from error
        return cls(path, reader, writer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Calls that still run in the daemon end with the connection; iterations here come to their end."""
        self._is_closed = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.transport.abort()

    async def call(self, method: Method[P, R], params: P, progress: Callable[[Any], None] | None = None) -> R:
        """Wait for the result; `progress` gets each value of the method's progress type meanwhile.

        At most MAX_CALLS run at once: one more waits for its turn.
        """
        line = request_line(self._next_id(), method, params)
        request_id = self._last_id
        await self._turns.acquire()
        answered: asyncio.Future[wire.Incoming] = asyncio.get_running_loop().create_future()
        self._calls[request_id] = answered, _progress_of(method, progress)
        try:
            if self._end is not None:
                raise self._end
            self._writer.write(line)
            return answer_of(await answered, method)
        finally:
            del self._calls[request_id]
            if answered.cancelled() and self._end is None:
                self._given_up.add(request_id)
            else:
                self._turns.release()

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def listen(self, object_id: int, listener: Listener) -> None:
        """Tell it of that object, which this connection has open, and of the end of the connection."""
        self._listeners[object_id] = listener
        if self._end is not None:
            listener.ended(self._end)

    def unlisten(self, object_id: int) -> None:
        self._listeners.pop(object_id, None)

    async def events(self, topics: list[Topic]) -> AsyncIterator[Event | Lost]:
        """Subscribe (again: replaces the topics); then every event until the daemon ends (DaemonUnreachable), or
        `close`."""
        await self.call(SUBSCRIBE, SubscribeParams(topics=topics))
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Event | Lost]:
        while True:
            if lost := self._events.take_lost():
                yield Lost(count=lost)
            if self._events:
                yield self._events.pop()
                continue
            if self._is_closed:
                return
            if self._end is not None:
                raise self._end
            self._arrived.clear()
            await self._arrived.wait()

    async def _read(self) -> None:
        try:
            while True:
                self._take(wire.decode_incoming(await self._reader.readuntil(b"\n")))
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # what `finally` says
        except asyncio.LimitOverrunError:
            self._finish(LocalError("the control socket sends no end of line; is it a swarmd?"))
        except LocalError as error:
            self._finish(error)
        finally:
            if self._end is None:
                self._finish(
                    LocalError("the connection has been closed here") if self._is_closed else gone_error(self._path)
                )

    def _finish(self, reason: LocalError) -> None:
        self._end = reason
        self._arrived.set()
        for listener in self._listeners.values():
            listener.ended(reason)
        for answered, _ in self._calls.values():
            if not answered.done():
                answered.set_exception(reason)
        for request_id in list(self._given_up):
            self._answered(request_id)

    def _answered(self, given_up: int) -> None:
        self._given_up.remove(given_up)
        self._turns.release()

    def _take(self, message: wire.Incoming) -> None:
        if message.method == "progress":
            notice = decode_as(message.params, wire.ProgressNotice)
            _, progress = self._calls.get(notice.id, (None, None)) if isinstance(notice.id, int) else (None, None)
            if progress is not None:
                progress(notice)
        elif message.method in ("event", "lost"):
            self._events.push(event_of(message))
            self._arrived.set()
        elif message.method == "object":
            event = decode_as(message.params, ObjectEvent)
            if (listener := self._listeners.get(event.object_id)) is not None:
                listener.heard(event)
        elif message.id is None and message.error is not None:  # turned away before any call was read
            raise error_of(message.error.data.code, message.error.message)
        elif isinstance(message.id, int) and message.id in self._calls:
            answered = self._calls[message.id][0]
            if not answered.done():
                answered.set_result(message)
        elif isinstance(message.id, int) and message.id in self._given_up:
            self._answered(message.id)


def _progress_of(method: Method[P, R], progress: Callable[[Any], None] | None) -> _Progress | None:
    kind = method.progress
    if progress is None or kind is None:
        return None
    return lambda notice: progress(decode_as(notice.value, kind))
