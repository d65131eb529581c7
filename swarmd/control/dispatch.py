"""From a request to its answer: looks the method up, checks the parameters, runs the handler, words the
error.

Invariant: `Dispatcher.run` gives one encoded answer for every request, whatever the handler does; only
cancellation passes through. This is one of the two places that catch every exception: a fault in a handler
is logged with its trace and answered, and harms no other call.
What it does not do: touch a socket (`connection`) or know what a method means (the daemon's handlers).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from swarmd.control import wire
from swarmd.control.complaints import complaint
from swarmd.control.events import Feed
from swarmd.control.failures import failure_code
from swarmd.control.records import Result
from swarmd.control.schema import MAX_RESPONSE_BYTES, METHODS, SUBSCRIBE, Method, Params
from swarmd.core.concealment import conceal
from swarmd.core.errors import InvalidArgument, SwarmError

log = logging.getLogger(__name__)

P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who is at the other end, as the kernel says (SO_PEERCRED), at the time of connect."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Caller:
    """What a handler gets to know of its caller; all of it is for the event loop's thread only.

    progress: tell how far the call is; never blocks, and only the latest value is kept until the caller
    reads. when_closed: run a plain function when the caller's connection is gone, however that happens. feed:
    for what only this connection is to be told; one for each connection, so it also says which one it is.
    """

    credentials: Credentials
    progress: Callable[[Result], None]
    when_closed: Callable[[Callable[[], None]], None]
    feed: Feed


Handler = Callable[[Any, Caller], Awaitable[Result]]
Handlers = Mapping[str, Handler]


def bind(method: Method[P, R], handler: Callable[[P, Caller], Awaitable[R]]) -> tuple[str, Handler]:
    """One entry of a table of handlers, its types checked against the schema: `dict([bind(SHARE, share),
    ...])`."""
    return method.name, handler


class Dispatcher:
    """Serves one table of handlers. `missing`: the methods of the schema that the table does not have."""

    def __init__(self, handlers: Handlers) -> None:
        served = METHODS.keys() - {SUBSCRIBE.name}
        unknown = handlers.keys() - served
        if unknown:
            raise ValueError(f"handlers for methods that the schema does not have: {sorted(unknown)}")
        self.missing = frozenset(served - handlers.keys())
        self._handlers = handlers
        self._decoders = {name: msgspec.json.Decoder(METHODS[name].params) for name in METHODS}

    def decode_params(self, request: wire.Request) -> Any:
        """The checked parameters of a request whose method is in the schema; InvalidArgument."""
        try:
            return self._decoders[request.method].decode(request.params)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            words = complaint(METHODS[request.method].params, request.params)
            raise InvalidArgument(f"{request.method}: {words}") from error

    async def run(self, request: wire.Request, request_id: wire.RequestId, caller: Caller) -> bytes:
        """The answer, encoded."""
        handler = self._handlers.get(request.method)
        if handler is None:
            message = f"there is no method {request.method[:64]!r}"
            return wire.encode_error(request_id, wire.METHOD_NOT_FOUND, message, InvalidArgument.code)
        try:
            params = self.decode_params(request)
        except InvalidArgument as error:
            return wire.encode_error(request_id, wire.INVALID_PARAMS, conceal(str(error)), error.code)
        try:
            result = await handler(params, caller)
            assert isinstance(result, METHODS[request.method].result), f"{request.method} gave {type(result)}"
            answer = wire.encode_result(request_id, result)
        except SwarmError as error:
            return wire.encode_error(request_id, wire.APPLICATION_ERROR, conceal(str(error)), failure_code(error))
        except Exception as error:
            log.exception("control method %s failed", request.method)
            message = f"internal error in {request.method} ({type(error).__name__}); see the daemon's log"
            return wire.encode_error(request_id, wire.INTERNAL_ERROR, message)
        if len(answer) > MAX_RESPONSE_BYTES:
            message = f"the answer is longer than {MAX_RESPONSE_BYTES >> 20} MiB; ask for less, for one group"
            return wire.encode_error(request_id, wire.APPLICATION_ERROR, message)
        return answer
