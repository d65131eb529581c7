"""JSON-RPC 2.0 as bytes: one object a line, encoded and decoded strictly.

Invariant: any line decodes or raises `Malformed`; nothing here blocks or remembers.
Not implemented, on purpose: batches and positional parameters (a line is a request, parameters have names).
A request without an `id` is run and not answered, as the specification says.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from swarmd.control.records import Topic
from swarmd.core.errors import LocalError

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
APPLICATION_ERROR = -32000
STOPPING = -32001
"""The daemon ends; the call may be made again when it runs again."""

RequestId = int | str | None


class Request(msgspec.Struct, frozen=True):
    """What a client sends."""

    jsonrpc: Literal["2.0"]
    method: str
    id: RequestId | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw = msgspec.Raw(b"{}")


class Detail(msgspec.Struct, frozen=True):
    """`data` of an error object: the code of `swarmd.core.errors`."""

    code: str = LocalError.code


class ErrorObject(msgspec.Struct, frozen=True):
    """`error` of an answer."""

    code: int
    message: str
    data: Detail = Detail()


class Incoming(msgspec.Struct, frozen=True):
    """What a server sends: an answer (`result` or `error`), or a notification (`method`)."""

    id: RequestId = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: ErrorObject | None = None


class ProgressNotice(msgspec.Struct, frozen=True):
    """`params` of a `progress` notification: `id` is that of the request it belongs to."""

    id: RequestId
    value: msgspec.Raw


class EventNotice(msgspec.Struct, frozen=True):
    """`params` of an `event` notification."""

    topic: Topic
    name: str
    data: msgspec.Raw


class _Named(msgspec.Struct, frozen=True):
    id: RequestId = None


class Malformed(ValueError):
    """A line that is no request; carries what to answer."""

    def __init__(self, code: int, message: str, request_id: RequestId) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


_requests = msgspec.json.Decoder(Request)
_named = msgspec.json.Decoder(_Named)
_incoming = msgspec.json.Decoder(Incoming)
_encode = msgspec.json.encode

_NO_REQUEST = (
    'not a JSON-RPC 2.0 request: that is an object with "jsonrpc": "2.0" and "method" (a text), and perhaps "id" (a'
    ' text, a whole number or null) and "params" (an object)'
)
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_request(line: bytes) -> Request:
    """A request, or Malformed with the id it had, as far as that can be told."""
    try:
        return _requests.decode(line)
    except msgspec.ValidationError as error:
        raise Malformed(INVALID_REQUEST, _NO_REQUEST, _id_of(line)) from error
    except _UNDECODABLE as error:
        raise Malformed(PARSE_ERROR, f"not a line of JSON: {error}", None) from error


def _id_of(line: bytes) -> RequestId:
    try:
        return _named.decode(line).id
    except _UNDECODABLE:
        return None


def decode_incoming(line: bytes) -> Incoming:
    """What a daemon sent; LocalError when it is no daemon that we understand."""
    try:
        return _incoming.decode(line)
    except _UNDECODABLE as error:
        raise LocalError(f"the control socket sent something that is not JSON-RPC: {error}") from error


def encode_request(request_id: int, method: str, params: msgspec.Struct) -> bytes:
    """One line."""
    head = b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":' % (request_id, _encode(method))
    return head + _encode(params) + b"}\n"


def encode_result(request_id: RequestId, result: msgspec.Struct) -> bytes:
    """One line."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (_encode(request_id), _encode(result))


def encode_error(request_id: RequestId, number: int, message: str, code: str = LocalError.code) -> bytes:
    """One line; `code` is the word of `swarmd.core.errors`, `number` JSON-RPC's."""
    error = _encode(ErrorObject(number, sayable(message), Detail(code)))
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (_encode(request_id), error)


def encode_progress(request_id: RequestId, value: msgspec.Struct) -> bytes:
    """One line."""
    head = b'{"jsonrpc":"2.0","method":"progress","params":{"id":%b,"value":' % _encode(request_id)
    return head + _encode(value) + b"}}\n"


def encode_event(topic: str, name: str, data: msgspec.Struct) -> bytes:
    """One line."""
    head = b'{"topic":%b,"name":%b,"data":%b}' % (_encode(topic), _encode(name), _encode(data))
    return b'{"jsonrpc":"2.0","method":"event","params":%b}\n' % head


def encode_object(event: msgspec.Struct) -> bytes:
    """One line."""
    return b'{"jsonrpc":"2.0","method":"object","params":%b}\n' % _encode(event)


def encode_lost(count: int) -> bytes:
    """One line."""
    return b'{"jsonrpc":"2.0","method":"lost","params":{"count":%d}}\n' % count


def sayable(text: str) -> str:
    """`text` as JSON can carry it: file names that are not UTF-8 hold lone surrogates, which it cannot."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
