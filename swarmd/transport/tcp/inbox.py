"""What has arrived: the flows the peer opened, and the messages being put together from their fragments.

Bounds: MAX_FLOWS flows, MAX_MESSAGE_BYTES for one message, _MAX_PARTIAL_BYTES for all unfinished messages together, so
that a peer that begins messages and never ends them costs a fixed amount.
"""

from __future__ import annotations

from swarmd.core.errors import RemoteError
from swarmd.transport.api import MAX_FLOWS, MAX_MESSAGE_BYTES, FlowClosed, FlowOpened, MessageReceived
from swarmd.transport.tcp.frames import BEGIN, END, MIN_FRAGMENT_BYTES, decode_open

_MAX_PARTIAL_BYTES = 4 << 20
_MAX_FRAGMENTS = MAX_MESSAGE_BYTES // MIN_FRAGMENT_BYTES + 1  # of one message: urgent flows may leave that little room


class _Partial:
    __slots__ = ("parts", "size")

    def __init__(self) -> None:
        self.parts: list[memoryview] = []
        self.size = -1  # no message begun


class Inbox:
    def __init__(self) -> None:
        self._flows: dict[int, _Partial] = {}
        self._partial_bytes = 0

    def open(self, flow: int, body: memoryview) -> FlowOpened:
        if flow in self._flows:
            raise RemoteError("a flow was opened twice")
        if len(self._flows) >= MAX_FLOWS:
            raise RemoteError("too many flows")
        priority, metadata = decode_open(body)
        self._flows[flow] = _Partial()
        return FlowOpened(flow, metadata, priority)

    def finish(self, flow: int) -> FlowClosed:
        partial = self._flows.pop(flow, None)
        if partial is None or partial.size >= 0:
            raise RemoteError("a flow was closed that is not open or in the middle of a message")
        return FlowClosed(flow)

    def receive(self, flow: int, flags: int, body: memoryview, record_bytes: int) -> MessageReceived | None:
        """One fragment, out of a record of `record_bytes`; the message when it is the last of one."""
        partial = self._flows.get(flow)
        if partial is None:
            raise RemoteError("data for a flow that is not open")
        if flags & ~(BEGIN | END) or bool(flags & BEGIN) != (partial.size < 0):
            raise RemoteError("fragments of a message out of order")
        if flags == BEGIN | END:
            return MessageReceived(flow, (body,))
        if 2 * len(body) < record_bytes:
            body = memoryview(bytes(body))  # a small fragment must not keep a large record in memory
        return self._assemble(flow, partial, flags, body)

    def _assemble(self, flow: int, partial: _Partial, flags: int, body: memoryview) -> MessageReceived | None:
        partial.size = max(partial.size, 0) + len(body)
        self._partial_bytes += len(body)
        if partial.size > MAX_MESSAGE_BYTES or self._partial_bytes > _MAX_PARTIAL_BYTES:
            raise RemoteError("messages larger than allowed")
        if len(partial.parts) >= _MAX_FRAGMENTS:
            raise RemoteError("a message in too many fragments")
        partial.parts.append(body)
        if not flags & END:
            return None
        self._partial_bytes -= partial.size
        parts, partial.parts, partial.size = tuple(partial.parts), [], -1
        return MessageReceived(flow, parts)
