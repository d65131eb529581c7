"""One client: reads its lines, runs its calls side by side, sends what comes of them.

In: lines. Out: answers, progress, events (through `Output`). It ends when the client closes, does not take
its answers, or sends an overlong line; then running calls are cancelled and the close hooks run.
Invariant: a line is answered or the connection ends; memory is bounded by `Bounds` whatever the client does. A client
that only shuts its sending side down (`echo ... | nc -U`) still gets its answers.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from swarmd.control import wire
from swarmd.control.dispatch import Caller, Credentials, Dispatcher
from swarmd.control.events import EventHub, Subscription
from swarmd.control.output import Output
from swarmd.control.records import Result, Subscribed
from swarmd.control.schema import MAX_REQUEST_BYTES, SUBSCRIBE, SubscribeParams
from swarmd.core.errors import Conflict, InvalidArgument, TimedOut, Unreachable

log = logging.getLogger(__name__)

_HANG_UP_CHECK_S = 1.0
"""How soon a client that had shut its sending side down and then goes away is noticed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of the server and of each connection.

    A local program opens one connection or a few; 16 calls at once let it wait for several transfers.
    """

    connections: int = 64
    calls: int = 16
    send_timeout_s: float = 30.0
    close_timeout_s: float = 1.0


class Connection:
    """One accepted and allowed client."""

    def __init__(
        self,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        credentials: Credentials,
        dispatcher: Dispatcher,
        hub: EventHub,
        bounds: Bounds,
    ) -> None:
        self._reader, self._writer = streams
        self._credentials = credentials
        self._dispatcher = dispatcher
        self._hub = hub
        self._bounds = bounds
        self._output = Output(self._writer, bounds.send_timeout_s)
        self._calls: set[asyncio.Task[None]] = set()
        self._close_hooks: list[Callable[[], None]] = []
        self._stopping = False  # from here on a cancelled call is answered
        self._stopped = asyncio.Event()

    async def serve(self) -> None:
        """Until the client is gone or `stop` was called."""
        reading = asyncio.create_task(self._read(), name="control-read")
        sending = asyncio.create_task(self._output.pump(), name="control-send")
        stopped = asyncio.create_task(self._stopped.wait(), name="control-stop")
        try:
            await asyncio.wait({reading, sending, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writer.transport.abort()  # what had to be sent has been: the pump leaves nothing in the buffer
            if self._output.subscription is not None:
                self._hub.remove(self._output.subscription)
            for task in (ending := [reading, sending, stopped, *self._calls]):
                task.cancel()
            outcomes = await asyncio.gather(*ending, self._writer.wait_closed(), return_exceptions=True)
            for hook in self._close_hooks:
                hook()
            self._explain(outcomes)
            self._let_go(outcomes)

    def _explain(self, outcomes: Iterable[object]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, TimedOut):
                log.warning("control client %s dropped: %s", self._credentials, outcome)
            elif isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
                log.error("control connection failed", exc_info=outcome)

    def _let_go(self, outcomes: Iterable[object]) -> None:
        """Of whatever holds this in a circle, and with it up to 3 MiB that were read: the collector comes seldom."""
        self._output.close()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                outcome.__traceback__ = None  # frames that hold the stream, which keeps its exception

    async def stop(self) -> None:
        """Answer what runs with "stopping", let that be sent if the client reads, and end `serve`."""
        self._stopping = True
        for call in self._calls:
            call.cancel()
        try:
            async with asyncio.timeout(self._bounds.close_timeout_s):
                await asyncio.gather(*self._calls, return_exceptions=True)
                await self._output.flushed()
        except TimeoutError:
            log.debug("control client %s does not read its last answers", self._credentials)
        self._stopped.set()

    # --- reading ------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            await self._output.room()
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                self._refuse(wire.INVALID_REQUEST, f"a request is at most {MAX_REQUEST_BYTES} bytes long")
                await self._output.flushed()
                return  # where the next line starts cannot be known
            except asyncio.IncompleteReadError as end:
                self._receive(end.partial)
                break
            self._receive(line)
        await self._finish()

    async def _finish(self) -> None:
        """Nothing more comes in: let the calls end and the answers leave, while there is somebody to read them."""
        while not self._has_hung_up():
            if self._calls:
                await asyncio.wait(self._calls, timeout=_HANG_UP_CHECK_S, return_when=asyncio.FIRST_COMPLETED)
            elif self._output.subscription is not None:
                await asyncio.sleep(_HANG_UP_CHECK_S)
            else:
                await self._output.flushed()
                return

    def _has_hung_up(self) -> bool:
        """Whether the client has closed both directions, not only its sending one."""
        descriptor: int = self._writer.get_extra_info("socket").fileno()
        if descriptor < 0:
            return True
        poll = select.poll()
        poll.register(descriptor, 0)  # POLLHUP is always reported
        return bool(poll.poll(0))

    def _receive(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            request = wire.decode_request(line)
        except wire.Malformed as error:
            self._refuse(error.code, str(error), error.request_id)
            return
        request_id = None if request.id is msgspec.UNSET else request.id
        if request.method == SUBSCRIBE.name:
            self._subscribe(request, request_id)
        elif len(self._calls) >= self._bounds.calls:
            message = f"{self._bounds.calls} calls run on this connection; wait for one or open another connection"
            self._output.put(wire.encode_error(request_id, wire.APPLICATION_ERROR, message, Conflict.code))
        else:
            call = asyncio.create_task(self._call(request, request_id), name=f"control-{request.method[:32]}")
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    def _refuse(self, number: int, message: str, request_id: wire.RequestId = None) -> None:
        self._output.put(wire.encode_error(request_id, number, message, InvalidArgument.code))

    # --- calls --------------------------------------------------------------------------------------------

    async def _call(self, request: wire.Request, request_id: wire.RequestId) -> None:
        call, is_running = object(), True

        def progress(value: Result) -> None:
            if is_running:  # a late word from a worker thread must not follow the answer
                self._output.put_progress(call, request_id, value)

        caller = Caller(self._credentials, progress, self._close_hooks.append, self._output.feed)
        try:
            answer = await self._dispatcher.run(request, request_id, caller)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            message = "swarmd is stopping"
            answer = wire.encode_error(request_id, wire.STOPPING, message, Unreachable.code)
        finally:
            is_running = False
            self._output.forget_progress(call)
        if request.id is not msgspec.UNSET:
            self._output.put(answer)

    def _subscribe(self, request: wire.Request, request_id: wire.RequestId) -> None:
        try:
            params: SubscribeParams = self._dispatcher.decode_params(request)
        except InvalidArgument as error:
            self._refuse(wire.INVALID_PARAMS, str(error), request_id)
            return
        if self._output.subscription is not None:
            self._hub.remove(self._output.subscription)
        self._output.subscription = Subscription(params.topics, self._output.wake)
        self._hub.add(self._output.subscription)
        self._output.put(wire.encode_result(request_id, Subscribed(topics=params.topics)))
