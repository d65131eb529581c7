"""The receiving end of a flow: fragments in, whole messages out, and what to acknowledge.

In:  `receive` (a fragment: its number, flags, the sender's forward sequence number, its bytes).
Out: messages in the order of the sender, or as they become whole (`Order.ARRIVAL`); `acknowledgement`.

In order and without loss a fragment is added to the message at hand and that is all. Otherwise it is kept by its
number until what is missing has come or the sender says not to wait for it (forward sequence number, or the fragment
itself comes marked abandoned). A message of which a piece is given up is dropped whole.

Bounds: BUFFER_BYTES of fragments that wait for others, and what the session allows for all its flows together; what
exceeds them is not taken and not acknowledged, so it comes again. A message larger than MAX_MESSAGE_BYTES is the
sender's fault. MAX_RANGES pieces with holes between them.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from itertools import islice

from swarmd.core.errors import RemoteError
from swarmd.core.ranges import RangeSet
from swarmd.transport.api import MAX_MESSAGE_BYTES
from swarmd.transport.rtmfp.chunks import (
    BEGIN,
    BUFFER_BLOCK_BYTES,
    END,
    FLAG_ABANDONED,
    FLAG_FINAL,
    MIDDLE,
    WHOLE,
    AckRanges,
)

BUFFER_BYTES = 8 << 20  # the product of 1 Gbit/s and 60 ms: what may come behind a lost fragment
MAX_TOLD_RANGES = 64  # in one acknowledgement: what stands behind them is told when they have moved
MAX_RANGES = 4096  # of a buffer full of single packets with a hole behind each
MAX_ARRIVAL_FRAGMENTS = 2048  # looked through at each arrival; a message in more of them, each tiny, comes in order
FRAGMENT_COST = 128  # what a kept fragment costs besides its bytes


class Order(Enum):
    """How messages are handed up."""

    SEQUENCE = "as they were sent"
    ARRIVAL = "as soon as they are whole"


class ReceiveFlow:
    __slots__ = (
        "_assembly",
        "_begun_at",
        "_final",
        "_kept",
        "_received",
        "associated",
        "closed_at",
        "counted_bytes",
        "exception",
        "kept_bytes",
        "messages",
        "metadata",
        "next_sequence",
        "number",
        "order",
    )

    def __init__(self, number: int, metadata: bytes, associated: int | None = None) -> None:
        self.number, self.metadata, self.associated = number, metadata, associated
        self.order = Order.SEQUENCE
        self.exception: int | None = None  # why it is rejected
        self.next_sequence = 1  # everything below has come or is given up
        self.kept_bytes = 0
        self.counted_bytes = 0  # of the message at hand, when the session looked last
        self.closed_at = 0.0  # once it is complete
        self.messages: deque[memoryview] = deque()
        self._assembly: bytearray | None = None  # the message at hand
        self._kept: dict[int, tuple[int, bytes]] = {}
        self._received = RangeSet()  # numbers from next_sequence on
        self._final: int | None = None

    @property
    def is_complete(self) -> bool:
        """Closed by the sender, and all of it is here."""
        return self._final is not None and self.next_sequence > self._final

    @property
    def partial_bytes(self) -> int:
        """Of a message that is not whole yet, as far as it came in order."""
        return len(self._assembly) if self._assembly is not None else 0

    @property
    def has_gaps(self) -> bool:
        return bool(self._received)

    def receive(self, sequence: int, flags: int, forward: int, data: memoryview, room: int) -> bool:
        """Whether it should be acknowledged at once. `room`: bytes that the session may keep besides.

        The data is copied. RemoteError when what comes cannot be a flow.
        """
        if self.receive_next(sequence, flags, data):
            return False
        return self._receive_apart(sequence, flags, forward, data, room) or self.exception is not None

    def receive_next(self, sequence: int, flags: int, data: memoryview) -> bool:
        """The usual case: the next fragment in order, and nothing is missing, ended or rejected. Else False, and
        nothing is done: it is for `receive`.
        """
        if (
            sequence != self.next_sequence
            or self._received
            or flags & (FLAG_ABANDONED | FLAG_FINAL)
            or self._final is not None
            or self.exception is not None
        ):
            return False
        self.next_sequence = sequence + 1
        self._deliver(flags & MIDDLE, data)
        return True

    def acknowledgement(self) -> AckRanges:
        """What has come, with at most MAX_TOLD_RANGES of the ranges behind the first gap, and the free buffer."""
        blocks = max(1, (BUFFER_BYTES - self.kept_bytes) // BUFFER_BLOCK_BYTES)
        ranges = tuple(islice(self._received.ranges(), MAX_TOLD_RANGES)) if self._received else ()
        return AckRanges(self.number, blocks, self.next_sequence - 1, ranges)

    def reject(self, code: int) -> None:
        """Tell the sender that nobody wants it; what comes is dropped."""
        self.exception = code
        self._assembly = None
        self._kept.clear()
        self.messages.clear()
        self.kept_bytes = 0

    # Out of order -----------------------------------------------------------------------------------------------

    def _receive_apart(self, sequence: int, flags: int, forward: int, data: memoryview, room: int) -> bool:
        if forward > sequence or (forward == sequence and not flags & FLAG_ABANDONED):
            raise RemoteError("a fragment's forward sequence number is not below its own number")
        had_gaps = bool(self._received)
        if forward >= self.next_sequence:
            self._run(forward)  # also when there is no room for the fragment itself: then it makes some
        is_fresh = sequence >= self.next_sequence and sequence not in self._received
        if flags & FLAG_FINAL and self._final is None:
            self._final = sequence
        if self._final is not None and sequence > self._final:
            raise RemoteError("a fragment behind the end of its flow")
        if is_fresh and sequence != self.next_sequence:
            cost = len(data) + FRAGMENT_COST
            if cost > min(room, BUFFER_BYTES - self.kept_bytes) or self._received.n_ranges >= MAX_RANGES:
                return True
        if is_fresh:
            self._keep(sequence, flags, data)
        self._run(forward)
        return had_gaps or bool(self._received) or not is_fresh or bool(flags & (FLAG_ABANDONED | FLAG_FINAL))

    def _keep(self, sequence: int, flags: int, data: memoryview) -> None:
        self._received.add(sequence)
        if self.exception is None and not flags & FLAG_ABANDONED:
            self._kept[sequence] = flags & MIDDLE, bytes(data)
            self.kept_bytes += len(data) + FRAGMENT_COST
            if self.order is Order.ARRIVAL:
                self._deliver_if_whole(sequence)

    def _run(self, forward: int) -> None:
        """Hand up what has become contiguous, when nothing up to `forward` is waited for. A number that is not kept
        was given up, or handed up on arrival: no message goes on across it.

        Costs O(1) for each number that has come, however far `forward` is.
        """
        received, kept = self._received, self._kept
        stop = max(forward + 1, self.next_sequence)
        if stop == self.next_sequence and stop not in received:
            return
        before = self.next_sequence - 1
        for start, end in received.ranges():
            if start > stop:
                break
            is_dense = end - start <= len(kept)
            for sequence in range(start, end) if is_dense else sorted(each for each in kept if start <= each < end):
                piece = kept.pop(sequence, None)
                if piece is None:
                    continue
                if sequence != before + 1:
                    self._assembly = None
                before = sequence
                self.kept_bytes -= len(piece[1]) + FRAGMENT_COST
                self._deliver(*piece)
            stop = max(stop, end)
        if before != stop - 1:
            self._assembly = None
        received.discard(self.next_sequence, stop)
        self.next_sequence = stop

    def _deliver(self, control: int, data: memoryview | bytes) -> None:
        """The next fragment in order."""
        assembly = self._assembly
        if control == MIDDLE:
            if assembly is not None:
                assembly += data
                if len(assembly) > MAX_MESSAGE_BYTES:
                    raise RemoteError("a message is too long")
        elif control == END:
            if assembly is not None:
                assembly += data
                if len(assembly) > MAX_MESSAGE_BYTES:
                    raise RemoteError("a message is too long")
                self.messages.append(memoryview(assembly))
                self._assembly = None
        elif control == BEGIN:
            self._assembly = bytearray(data)
        else:
            self._assembly = None
            self.messages.append(memoryview(bytes(data)))

    def _deliver_if_whole(self, sequence: int) -> None:
        """In the order of arrival: the message that this fragment makes whole, if it does."""
        kept = self._kept
        first = last = sequence
        while kept[last][0] not in (WHOLE, END):
            last += 1
            if last not in kept or last - first >= MAX_ARRIVAL_FRAGMENTS:
                return
        while kept[first][0] not in (WHOLE, BEGIN):
            first -= 1
            if first not in kept or last - first >= MAX_ARRIVAL_FRAGMENTS:
                return
        pieces = [kept.pop(number)[1] for number in range(first, last + 1)]
        self.kept_bytes -= sum(map(len, pieces)) + FRAGMENT_COST * len(pieces)
        message = b"".join(pieces)
        if len(message) > MAX_MESSAGE_BYTES:
            raise RemoteError("a message is too long")
        self.messages.append(memoryview(message))
