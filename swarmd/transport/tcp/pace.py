"""How large a record may be: about 20 ms of what the connection takes, 64 KiB to 1 MiB.

A connection that takes little has much in its way already, so each further record would delay the control message
behind it. The rate is measured over windows of 100 ms in which something was sent, and follows within two of them.
"""

from __future__ import annotations

from swarmd.transport.tcp.record import MAX_PLAIN_BYTES

MIN_RECORD_BYTES = 64 * 1024 + 512  # a block of the smallest size with its headers: 27 ms at 20 Mbit/s
_START_BYTES = MIN_RECORD_BYTES
_RECORD_PERIOD = 0.02
_WINDOW = 0.1


class RecordSize:
    def __init__(self) -> None:
        self.limit = _START_BYTES
        self._window_at = 0.0
        self._window_bytes = 0

    def sent(self, count: int, now: float) -> None:
        """`count` bytes were taken by the connection at `now`."""
        self._window_bytes += count
        span = now - self._window_at
        if span < _WINDOW and self._window_bytes * _RECORD_PERIOD < self.limit * _WINDOW:
            return
        if span < 10 * _WINDOW:  # after a pause the window says nothing about the connection
            wanted = self._window_bytes / max(span, 1e-6) * _RECORD_PERIOD
            self.limit = int(min(MAX_PLAIN_BYTES, max(MIN_RECORD_BYTES, min(wanted, 2 * self.limit))))
        self._window_at, self._window_bytes = now, 0
