"""The receiving half of a session: the peer's flows, and what is to be acknowledged and when.

In:  `receive` (one fragment), `probed` (the peer asks for our buffer).
Out: events (`FlowOpened`, `MessageReceived`, `FlowClosed`); `fill`, which writes acknowledgements into a packet;
     `acknowledge_at`.

An acknowledgement is due at once after two packets with data, after a gap, a repetition or the end of a flow, and
otherwise after ACKNOWLEDGEMENT_DELAY (RFC 7016 §3.6.3.4 permits 200 ms). Packets that come in one batch are answered
once, behind the batch.

Bounds: MAX_FLOWS; MAX_KEPT_BYTES of fragments that wait for others; MAX_PARTIAL_BYTES of messages begun, counted when
they are acknowledged; MAX_CLOSED flows whose end may have to be acknowledged again.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Container, Sequence

from swarmd.core.errors import RemoteError
from swarmd.transport.api import (
    MAX_FLOWS,
    MAX_METADATA_BYTES,
    Event,
    FlowClosed,
    FlowOpened,
    MessageReceived,
    Priority,
)
from swarmd.transport.rtmfp.chunks import FlowException, encode_ack, encode_chunk
from swarmd.transport.rtmfp.options import METADATA, RETURN_FLOW, Option
from swarmd.transport.rtmfp.receiveflow import ReceiveFlow
from swarmd.transport.rtmfp.sending import ACKNOWLEDGEMENT_DELAY, PRIORITY
from swarmd.transport.rtmfp.vlu import decode_vlu

MAX_KEPT_BYTES = 16 << 20
MAX_PARTIAL_BYTES = 64 << 20  # of messages that have come in part: sixty of the largest at once
MAX_CLOSED = 1024
CLOSED_PERIOD = 120.0  # then the sender may use the number for another flow; RFC 7016 §3.6.3.5
PACKETS_PER_ACKNOWLEDGEMENT = 2


class Receiving:
    def __init__(self, own_flows: Container[int], events: deque[Event]) -> None:
        """`own_flows`: numbers of the flows that one of the peer's may answer."""
        self._own_flows = own_flows
        self.flows: dict[int, ReceiveFlow] = {}
        self._events = events
        self.acknowledge_at: float | None = None
        self.told_at = -math.inf  # when something was acknowledged last
        self._due: dict[int, ReceiveFlow] = {}
        self._packets = 0  # with data, since the last acknowledgement
        self._kept_bytes = self._partial_bytes = 0
        self._closed: OrderedDict[int, ReceiveFlow] = OrderedDict()

    def receive(
        self,
        number: int,
        flags: int,
        sequence: int,
        forward: int,
        data: memoryview,
        options: Sequence[Option],
        now: float,
    ) -> None:
        flow = self.flows.get(number) or self._late(number, now) or self._open(number, options)
        kept = flow.kept_bytes
        is_urgent = flow.receive(sequence, flags, forward, data, MAX_KEPT_BYTES - self._kept_bytes)
        self._kept_bytes += flow.kept_bytes - kept
        self._due[number] = flow
        if is_urgent:
            self.acknowledge_at = now
        self._hand_up(flow)
        if flow.is_complete and number in self.flows:
            self._close(flow, now)

    def receive_chunk(self, plain: memoryview, offset: int, now: float) -> None:
        """The usual packet: one fragment and nothing else. As `UserData.parse` and `receive`, with fewer calls."""
        flags = plain[offset]
        number = plain[offset + 1]
        offset += 2
        if number > 0x7F:
            number, offset = decode_vlu(plain, offset - 1)
        sequence, offset = decode_vlu(plain, offset)
        distance = plain[offset]
        offset += 1
        if distance > 0x7F:
            distance, offset = decode_vlu(plain, offset - 1)
        if distance > sequence:
            raise RemoteError("a forward sequence number below zero")
        data = plain[offset:]
        flow = self.flows.get(number)
        if flow is None or not flow.receive_next(sequence, flags, data):
            self.receive(number, flags, sequence, sequence - distance, data, (), now)
            return
        self._due[number] = flow
        if flow.messages:
            self._hand_up(flow)

    def _hand_up(self, flow: ReceiveFlow) -> None:
        while flow.messages:
            self._events.append(MessageReceived(flow.number, (flow.messages.popleft(),)))

    def packet_ended(self, now: float) -> None:
        """A packet with data has been read to its end."""
        self._packets += 1
        if self._packets >= PACKETS_PER_ACKNOWLEDGEMENT:
            self.acknowledge_at = now
        elif self.acknowledge_at is None:
            self.acknowledge_at = now + ACKNOWLEDGEMENT_DELAY

    def probed(self, number: int, now: float) -> None:
        """The peer asks for the buffer of a flow."""
        flow = self.flows.get(number) or self._closed.get(number)
        if flow is not None:
            self._due[number] = flow
            self.acknowledge_at = now

    def reject(self, number: int, code: int, now: float) -> None:
        """Of an open flow of the peer's: nothing more of it is wanted."""
        flow = self.flows.get(number)
        if flow is not None:
            self._kept_bytes -= flow.kept_bytes
            flow.reject(code)
            self._due[number] = flow
            self.acknowledge_at = now

    @property
    def is_overrun(self) -> bool:
        """The peer has begun more messages than we hold."""
        return self._partial_bytes > MAX_PARTIAL_BYTES

    def fill(self, buffer: bytearray, offset: int, limit: int, now: float) -> int:
        """Write the acknowledgements that are due from `offset` up to `limit`; where they end."""
        for number in list(self._due):
            flow = self._due[number]
            written = self._acknowledgement(flow, limit - offset)
            if written is None:
                return offset
            buffer[offset : offset + len(written)] = written
            offset += len(written)
            del self._due[number]
            self._partial_bytes += flow.partial_bytes - flow.counted_bytes
            flow.counted_bytes = flow.partial_bytes
        self.acknowledge_at, self.told_at = None, now
        self._packets = 0
        return offset

    def _acknowledgement(self, flow: ReceiveFlow, room: int) -> bytes | None:
        """The chunk, and before it an exception; ranges that do not fit are left out, the highest first."""
        exception = b""
        if flow.exception is not None:
            exception = encode_chunk(FlowException(flow.number, flow.exception))
        acknowledgement = encode_ack(flow.acknowledgement(), room - len(exception))
        return exception + acknowledgement if acknowledgement else None

    def _open(self, number: int, options: Sequence[Option]) -> ReceiveFlow:
        if len(self.flows) >= MAX_FLOWS:
            raise RemoteError("too many flows")
        metadata: bytes | None = None
        associated: int | None = None
        priority = Priority.ROUTINE
        is_known = True
        for option in options:
            if option.kind == METADATA:
                metadata = option.value
            elif option.kind == RETURN_FLOW:
                associated, end = decode_vlu(option.value, 0)
                if end != len(option.value):
                    raise RemoteError("a return flow association is one number")
            elif option.kind == PRIORITY:
                priority = _priority(option.value)
            elif option.is_mandatory:
                is_known = False
        flow = self.flows[number] = ReceiveFlow(number, metadata or b"", associated)
        if associated is not None and associated not in self._own_flows:
            is_known = False
        if metadata is None or not is_known or len(metadata) > MAX_METADATA_BYTES:
            flow.reject(0)
        else:
            self._events.append(FlowOpened(number, metadata, priority))
        return flow

    def _late(self, number: int, now: float) -> ReceiveFlow | None:
        """One that is over, of which something comes once more."""
        flow = self._closed.get(number)
        if flow is not None and now >= flow.closed_at + CLOSED_PERIOD:
            del self._closed[number]
            return None
        return flow

    def _close(self, flow: ReceiveFlow, now: float) -> None:
        del self.flows[flow.number]
        self._closed[flow.number] = flow
        flow.closed_at = now
        if len(self._closed) > MAX_CLOSED:
            self._closed.popitem(last=False)
        if flow.exception is None:
            self._events.append(FlowClosed(flow.number))


def _priority(value: bytes) -> Priority:
    if len(value) != 1 or value[0] >= len(Priority):
        raise RemoteError("a priority is one of eight")
    return Priority(value[0])
