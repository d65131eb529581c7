"""One message on its way out: what it consists of, until when it is worth sending, and what became of it.

A message is cut into fragments when they are sent, not when it is queued, so that the size of a packet is decided as
late as possible. A fragment that has been sent keeps its number and its bytes for good (RFC 7016 §3.6.2).

Partial reliability (§3.6.2): not begun by `start_by`, or not delivered by `finish_by`, it is abandoned, as after
`abandon()`; with `is_sent_once` no fragment of it is sent a second time. Without any of these it is sent until it is
acknowledged. Times are of the session's clock, in seconds.

Invariant: `done` is None until every fragment is acknowledged (True) or the message is given up (False).
"""

from __future__ import annotations

from collections.abc import Sequence

from swarmd.transport.api import Buffer


class Message:
    """The receipt of `send`: the caller may look at `done` and call `abandon`."""

    __slots__ = (
        "_part",
        "_part_offset",
        "done",
        "finish_by",
        "is_abandoned",
        "is_sent_once",
        "is_started",
        "offset",
        "parts",
        "size",
        "start_by",
        "unacknowledged",
    )

    def __init__(
        self,
        parts: Sequence[Buffer],
        start_by: float | None = None,
        finish_by: float | None = None,
        *,
        is_sent_once: bool = False,
    ) -> None:
        self.parts = [memoryview(part) for part in parts if len(part)]
        self.size = sum(map(len, self.parts))
        self.offset = 0
        self.start_by, self.finish_by, self.is_sent_once = start_by, finish_by, is_sent_once
        self.is_started = self.is_abandoned = False
        self.unacknowledged = 0  # fragments cut and not acknowledged
        self.done: bool | None = None
        self._part = self._part_offset = 0

    @property
    def is_cut(self) -> bool:
        """Whether all of it is in fragments."""
        return self.is_started and self.offset == self.size

    def abandon(self) -> None:
        """Not worth sending any more; what is under way may arrive all the same."""
        if self.done is None:
            self.is_abandoned = True

    def is_late(self, now: float) -> bool:
        """Whether it is given up; looked at whenever something of it would be sent."""
        if not self.is_abandoned and self.done is None:
            missed_start = self.start_by is not None and not self.is_started and now > self.start_by
            if missed_start or (self.finish_by is not None and now > self.finish_by):
                self.is_abandoned = True
        return self.is_abandoned

    def cut(self, length: int) -> memoryview | bytes:
        """The next `length` bytes, a view where they lie in one part."""
        self.is_started = True
        self.offset += length
        if not length:
            return b""
        part = self.parts[self._part]
        start = self._part_offset
        stop = start + length
        if stop < len(part):
            self._part_offset = stop
            return part[start:stop]
        if stop == len(part):
            self._part += 1
            self._part_offset = 0
            return part[start:]
        pieces = [part[start:]]
        length -= len(part) - start
        self._part += 1
        while length >= len(part := self.parts[self._part]):
            pieces.append(part)
            length -= len(part)
            self._part += 1
            if not length:
                break
        self._part_offset = length
        if length:
            pieces.append(part[:length])
        return b"".join(pieces)
