"""The sending end of a flow: messages wait, are cut into numbered fragments, and stay until they are acknowledged.

In:  `add` a message, `close`; `acknowledged` (an acknowledgement of the peer's), `lost` (a fragment to be sent again).
Out: `next_fragment`: the next one to send, first those that were lost, then new ones cut to the room of the packet.

A fragment is in exactly one of: `in flight` (its packet is neither acknowledged nor lost), `resend`, or gone. Numbers
begin at 1 and are consecutive (RFC 7016 §3.6.1.1). The *forward sequence number* tells the receiver up to where it
need not wait any more: all of that is acknowledged or abandoned (§3.6.2.5).

The end of a flow is a fragment of its own, empty, abandoned and final: so a closed flow ends alike whether its last
message was reliable or not. A flow that the receiver has rejected is ended so, too, so that both know it is over.

Bounds: what is outstanding stays below the buffer that the receiver has advertised; what waits is the session's to
bound.
"""

from __future__ import annotations

from collections import deque

from swarmd.transport.api import Priority
from swarmd.transport.rtmfp.chunks import BEGIN, END, FLAG_ABANDONED, FLAG_FINAL, MIDDLE, WHOLE
from swarmd.transport.rtmfp.fragments import Fragment
from swarmd.transport.rtmfp.messages import Message
from swarmd.transport.rtmfp.vlu import encode_vlu

INITIAL_WINDOW_BYTES = 64 * 1024  # of a receiver that has not said how much it takes (RFC 7016 §3.6.2.3.3 and zenomt)
MIN_CUT_BYTES = 64  # a shorter beginning of a message is left for the next packet


class SendFlow:
    """`options`: what the receiver has to know first, encoded; sent with each fragment until one is acknowledged."""

    __slots__ = (
        "_final",
        "_first_unacknowledged",
        "_messages",
        "_next_sequence",
        "_number_vlu",
        "_resend",
        "_seen_ranges",
        "_unacknowledged",
        "delivered",
        "exception",
        "head",
        "is_closing",
        "is_scheduled",
        "number",
        "options",
        "outstanding_bytes",
        "priority",
        "probe_at",
        "probe_period",
        "queued_bytes",
        "report_sent",
        "window_bytes",
    )

    def __init__(self, number: int, priority: Priority, options: bytes, *, report_sent: bool = False) -> None:
        self.number, self.priority, self.options, self.report_sent = number, priority, options, report_sent
        self.is_closing = self.is_scheduled = False
        self.exception: int | None = None  # why the receiver does not want it
        self.window_bytes = INITIAL_WINDOW_BYTES
        self.outstanding_bytes = self.queued_bytes = 0
        self.delivered: list[Message] = []  # done since somebody looked
        self.probe_at: float | None = None  # when a closed window is asked about
        self.probe_period = 0.0
        self._messages: deque[Message] = deque()
        self._resend: deque[Fragment] = deque()
        self._unacknowledged: dict[int, Fragment] = {}
        self._first_unacknowledged = self._next_sequence = 1
        self._seen_ranges: dict[int, int] = {}
        self._final: int | None = None
        self._number_vlu = encode_vlu(number)
        self.head = b""

    @property
    def is_complete(self) -> bool:
        """Closed, and the receiver has all of it."""
        return self.is_closing and self._final is not None and not self._unacknowledged

    @property
    def is_busy(self) -> bool:
        """Whether there is anything to send or not acknowledged."""
        return bool(self._messages or self._unacknowledged)

    @property
    def is_ready(self) -> bool:
        """Whether there is something that the receiver has room for."""
        if self._resend:
            return True
        if self.outstanding_bytes >= self.window_bytes:
            return False
        return bool(self._messages) or self._is_end_due

    @property
    def is_blocked(self) -> bool:
        """Whether it could send, were the receiver's buffer larger."""
        return (bool(self._messages) or self._is_end_due) and self.outstanding_bytes >= self.window_bytes

    @property
    def _is_end_due(self) -> bool:
        return (self.is_closing or self.exception is not None) and self._final is None

    def add(self, message: Message) -> None:
        """Of a flow that the receiver does not want it is given up at once."""
        if self.exception is not None:
            self._give_up(message)
            return
        self._messages.append(message)
        self.queued_bytes += message.size

    def drop_late(self, now: float) -> None:
        """Those that wait and are not worth sending any more; otherwise that is seen when their turn comes."""
        waiting = self._messages
        self._messages = deque()
        for message in waiting:
            if message.is_started or not message.is_late(now):
                self._messages.append(message)
            else:
                self.queued_bytes -= message.size
                self._give_up(message)

    def close(self) -> None:
        """Behind the last message."""
        self.is_closing = True

    def reject(self, code: int) -> list[Fragment]:
        """The receiver does not want it: all of it is given up, and the end is told. Those in flight, to be forgotten.

        The flow stays until it is closed here too: who goes on writing to it has done nothing wrong.
        """
        if self.exception is not None:
            return []
        self.exception = code
        self.options = b""  # it knows the flow
        end = self._unacknowledged.pop(self._final, None) if self._final is not None else None
        given_up = list(self._unacknowledged.values())
        for fragment in given_up:
            self._give_up(fragment.message)
        for message in self._messages:
            self._give_up(message)
        self._unacknowledged = {end.sequence: end} if end is not None else {}
        self._resend = deque(fragment for fragment in self._resend if fragment is end)
        self._messages.clear()
        self._first_unacknowledged = end.sequence if end is not None else self._next_sequence
        self.outstanding_bytes = self.queued_bytes = 0
        self.window_bytes = max(self.window_bytes, 1)
        return [fragment for fragment in given_up if fragment.sent is not None]

    # Sending ----------------------------------------------------------------------------------------------------

    def forward_sequence(self) -> int:
        """The highest number with nothing at or below it that the receiver should wait for."""
        return self._first_unacknowledged - 1

    def next_fragment(self, room: int, now: float) -> Fragment | None:
        """One that fits `room` bytes with what stands before it; None when nothing fits or is due.

        What stands before it, but for its flags, is in `head`. The caller sends it (`InFlight.sent`).
        """
        while self._resend:
            fragment = self._resend[0]
            if self._unacknowledged.get(fragment.sequence) is not fragment:
                self._resend.popleft()  # acknowledged after all
                continue
            self._strip_if_late(fragment, now)
            self.head = self._head(fragment.sequence)
            if len(fragment.data) + 1 + len(self.head) > room:
                return None
            self._resend.popleft()
            return fragment
        if self.outstanding_bytes >= self.window_bytes:
            return None
        return self._cut(room, now)

    def _cut(self, room: int, now: float) -> Fragment | None:
        messages = self._messages
        sequence = self._next_sequence
        while messages:
            message = messages[0]
            if message.finish_by is None and message.start_by is None and not message.is_abandoned:
                break
            if not message.is_late(now):
                break
            messages.popleft()
            self.queued_bytes -= message.size - message.offset
            if not message.is_started or not message.unacknowledged:
                self._give_up(message)
        else:
            return self._cut_end(room)
        self.head = head = self._head(sequence)
        room -= 1 + len(head)
        left = message.size - message.offset
        offset = message.offset
        if left <= room:
            flags = END if offset else WHOLE
            messages.popleft()
        else:
            if room < MIN_CUT_BYTES:
                return None
            flags = MIDDLE if offset else BEGIN
            left = room
        data = message.cut(left)
        self.queued_bytes -= left
        message.unacknowledged += 1
        fragment = Fragment(self, sequence, flags, data, message)
        self._unacknowledged[sequence] = fragment
        self._next_sequence = sequence + 1
        return fragment

    def _cut_end(self, room: int) -> Fragment | None:
        if not self._is_end_due:
            return None
        self.head = self._head(self._next_sequence)
        if 1 + len(self.head) > room:
            return None
        self._final = self._next_sequence
        self._next_sequence += 1
        fragment = Fragment(self, self._final, WHOLE | FLAG_ABANDONED | FLAG_FINAL, b"", None)
        self._unacknowledged[self._final] = fragment
        return fragment

    def _head(self, sequence: int) -> bytes:
        """Flow, number, its distance from the forward sequence number, options (RFC 7016 §2.3.11)."""
        distance = sequence - self._first_unacknowledged + 1
        return self._number_vlu + encode_vlu(sequence) + encode_vlu(distance) + self.options

    def _strip_if_late(self, fragment: Fragment, now: float) -> None:
        """Always, but of a message that is given up only the number, marked: the receiver waits for that, and later
        messages may have arrived already (zenomt does the same; RFC 7016 §3.6.2.3 would leave it out).
        """
        message = fragment.message
        if message is None:
            return
        if message.is_sent_once:
            message.abandon()
        if message.is_late(now):
            self._give_up(message)
            fragment.data, fragment.flags = b"", fragment.flags | FLAG_ABANDONED

    # What became of it ------------------------------------------------------------------------------------------

    def lost(self, fragment: Fragment) -> None:
        """Its packet did not arrive: again."""
        self.outstanding_bytes -= len(fragment.data)
        fragment.sent = None
        self._resend.append(fragment)

    def acknowledged(self, cumulative: int, ranges: tuple[tuple[int, int], ...]) -> list[Fragment]:
        """Those that this acknowledgement is the first to confirm. `ranges`: half-open, rising, above `cumulative`."""
        confirmed: list[Fragment] = []
        unacknowledged = self._unacknowledged
        last = min(cumulative, self._next_sequence - 1)  # it cannot know of more
        for sequence in range(self._first_unacknowledged, last + 1):
            fragment = unacknowledged.pop(sequence, None)
            if fragment is not None:
                confirmed.append(fragment)
        if last >= self._first_unacknowledged:
            self._first_unacknowledged = last + 1
        if ranges or self._seen_ranges:
            self._acknowledge_ranges(ranges, confirmed)
        if confirmed:
            self.options = b""
            self._advance()
            for fragment in confirmed:
                if fragment.sent is not None:
                    self.outstanding_bytes -= len(fragment.data)
                message = fragment.message
                if message is not None:
                    message.unacknowledged -= 1
                    if not message.unacknowledged:
                        self._settle(message)
        return confirmed

    def _acknowledge_ranges(self, ranges: tuple[tuple[int, int], ...], confirmed: list[Fragment]) -> None:
        """A range repeated from the acknowledgement before costs nothing."""
        seen: dict[int, int] = {}
        for start, stop in ranges:
            if start >= self._next_sequence:
                break
            begin = self._seen_ranges.get(start, start)
            seen[start] = stop = min(stop, self._next_sequence)
            for sequence in range(begin, stop):
                fragment = self._unacknowledged.pop(sequence, None)
                if fragment is not None:
                    confirmed.append(fragment)
        self._seen_ranges = seen

    def _advance(self) -> None:
        sequence, unacknowledged = self._first_unacknowledged, self._unacknowledged
        if not unacknowledged:
            self._first_unacknowledged = self._next_sequence
            return
        while sequence not in unacknowledged:
            sequence += 1
        self._first_unacknowledged = sequence

    def _settle(self, message: Message) -> None:
        if message.done is None and message.is_cut and not message.is_abandoned:
            message.done = True
            self.delivered.append(message)
        elif message.is_abandoned:
            self._give_up(message)

    def _give_up(self, message: Message | None) -> None:
        if message is not None and message.done is None:
            message.is_abandoned, message.done = True, False
            self.delivered.append(message)
