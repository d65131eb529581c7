"""What is sent next: messages of many flows, strict between priorities, round robin between the flows of one.

In: `open`, `add` (a message of a flow), `set_priority`, `finish`; `add_frame` (a ready control frame, before all else).
Out: `fill(limit)`, the pieces of the next record. A message larger than the room left is cut; the rest stays at the
head of its flow.

Invariant: what is said of a flow comes in its order, and at its priority: its opening does not overtake what a more
urgent flow has said before. `queued_bytes` is the sum of message bytes not yet handed out. Nothing is copied here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from swarmd.transport.api import Buffer, MessageSent, Priority
from swarmd.transport.tcp.frames import (
    BEGIN,
    END,
    HEADER,
    HEADER_BYTES,
    MIN_FRAGMENT_BYTES,
    FrameType,
    encode_frame,
    encode_open,
)


class _Message:
    """One queued message and how far it has been sent."""

    __slots__ = ("offset", "parts", "size")

    def __init__(self, parts: Sequence[Buffer]) -> None:
        self.parts = [part if isinstance(part, bytes) else memoryview(part) for part in parts]
        self.size = sum(map(len, self.parts))
        self.offset = 0

    @property
    def left(self) -> int:
        return self.size - self.offset

    def take(self, length: int) -> list[bytes | memoryview]:
        """The next `length` bytes as slices of the parts."""
        if self.offset == 0 and length == self.size:
            self.offset = length
            return list(self.parts)
        out: list[bytes | memoryview] = []
        skip, want = self.offset, length
        for part in self.parts:
            if skip >= len(part):
                skip -= len(part)
                continue
            piece = memoryview(part)[skip : skip + want]
            skip = 0
            out.append(piece)
            want -= len(piece)
            if not want:
                break
        self.offset += length
        return out


class SendFlow:
    """The sending end of one flow: its queue, and what to say when a message has left."""

    __slots__ = ("closing", "messages", "number", "opening", "priority", "report_sent", "scheduled")

    def __init__(self, number: int, priority: Priority, report_sent: bool, metadata: bytes) -> None:
        self.number = number
        self.priority = priority
        self.report_sent = report_sent
        self.opening: bytes | None = encode_open(number, metadata, priority)
        self.messages: deque[_Message] = deque()
        self.scheduled = False
        self.closing = False


class Outbox:
    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._ready: tuple[deque[SendFlow], ...] = tuple(deque() for _ in Priority)
        self._urgent_first = tuple(reversed(self._ready))
        self._limit = self._slack = 0  # of the record being filled
        self._is_begun = False
        self.queued_bytes = 0
        self.is_background = False  # the last record with bulk had none but of background flows
        self.sent: deque[MessageSent] = deque()

    def __bool__(self) -> bool:
        return bool(self._frames) or any(self._ready)

    def add_frame(self, frame: bytes) -> None:
        self._frames.append(frame)

    def open(self, flow: SendFlow) -> None:
        """Tell the other end of the flow; before anything else of it."""
        self._schedule(flow)

    def add(self, flow: SendFlow, parts: Sequence[Buffer]) -> int:
        """Queue one message; its size."""
        message = _Message(parts)
        flow.messages.append(message)
        self.queued_bytes += message.size
        self._schedule(flow)
        return message.size

    def set_priority(self, flow: SendFlow, priority: Priority) -> None:
        if flow.scheduled:
            self._ready[flow.priority].remove(flow)
            self._ready[priority].append(flow)
        flow.priority = priority

    def finish(self, flow: SendFlow) -> None:
        """Close the flow behind its last message."""
        flow.closing = True
        self._schedule(flow)

    def clear(self) -> None:
        self._frames.clear()
        for queue in self._ready:
            queue.clear()
        self.queued_bytes = 0

    def _schedule(self, flow: SendFlow) -> None:
        if not flow.scheduled:
            flow.scheduled = True
            self._ready[flow.priority].append(flow)

    def fill(self, limit: int, most: int = 0) -> list[bytes | memoryview]:
        """Plain text of the next record in its pieces, at most `limit` bytes; none when there is nothing to send.

        `most`, if that is more: what a single message may make of it that would else be cut in two.
        """
        pieces: list[bytes | memoryview] = []
        room = limit
        self._limit, self._slack = limit, max(0, most - limit)
        while self._frames and len(self._frames[0]) <= room:
            frame = self._frames.popleft()
            room -= len(frame)
            pieces.append(frame)
        if not self._frames:
            self._settle_urgency()
            for queue in self._urgent_first:
                self._is_begun = False
                while queue and room > HEADER_BYTES:
                    taken = self._send_from(queue, room, pieces)
                    if not taken:
                        return pieces
                    room -= taken
                    self._is_begun = True
        return pieces

    def _settle_urgency(self) -> None:
        """As pressing as the most pressing flow that carries bulk; levels above that carry little, and do not count."""
        for level in (Priority.BULK, Priority.BACKGROUND):
            if any(flow.messages for flow in self._ready[level]):
                self.is_background = level is Priority.BACKGROUND
                return

    def _send_from(self, queue: deque[SendFlow], room: int, pieces: list[bytes | memoryview]) -> int:
        """One frame of the flow at the head of `queue`; the bytes it took, 0 when it does not fit usefully."""
        flow = queue.popleft()
        flow.scheduled = False
        if not flow.messages or flow.opening is not None:
            return self._send_edge(flow, queue, room, pieces)
        message = flow.messages[0]
        length = message.left
        if length > room - HEADER_BYTES + self._slack:
            length = room - HEADER_BYTES
        elif length > room - HEADER_BYTES:
            self._slack = 0
        if pieces and length < message.left and (length < MIN_FRAGMENT_BYTES or self._is_half_full(room)):
            flow.scheduled = True
            queue.appendleft(flow)
            return 0
        flags = BEGIN if message.offset == 0 else 0
        if length == message.left:
            flags |= END
            flow.messages.popleft()
            if flow.report_sent:
                self.sent.append(MessageSent(flow.number, message.size))
        pieces.append(HEADER.pack(FrameType.DATA, flags, flow.number, length))
        pieces.extend(message.take(length))
        self.queued_bytes -= length
        if flow.messages or flow.closing:
            self._schedule(flow)
        return HEADER_BYTES + length

    def _is_half_full(self, room: int) -> bool:
        """With messages of the same priority: the next one is better begun in the next record than cut."""
        return self._is_begun and 2 * room < self._limit

    def _send_edge(self, flow: SendFlow, queue: deque[SendFlow], room: int, pieces: list[bytes | memoryview]) -> int:
        """The opening of a flow, which stays at the head of its queue for what follows, or its end."""
        frame = flow.opening or encode_frame(FrameType.FINISH, flow.number)
        fits = len(frame) <= room
        if fits:
            pieces.append(frame)
        if not fits or (flow.opening is not None and (flow.messages or flow.closing)):
            flow.scheduled = True
            queue.appendleft(flow)
        if fits:
            flow.opening = None
        return len(frame) if fits else 0
