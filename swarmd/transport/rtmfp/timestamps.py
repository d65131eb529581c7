"""The flags, time and echo at the front of a session's packets (RFC 7016 §2.2.4): ours are written, the peer's kept.

A packet has our time when it has changed since we sent one, and the peer's time back when that would be another than
before, moved on by as long as we held it. So each end can tell the time there and back without data.
"""

from __future__ import annotations

from swarmd.transport.rtmfp.packet import ECHO, TIMESTAMP, ticks

ECHO_PERIOD = 128.0  # older ones are not sent back: the clock goes round after 262 s


class Timestamps:
    __slots__ = ("_echo", "_heard", "_heard_at", "_last", "_sent")

    def __init__(self) -> None:
        self._sent = self._echo = self._heard = -1
        self._heard_at = 0.0
        self._last = (-1, -1)  # time and echo before the header that was written last

    def heard(self, timestamp: int, now: float) -> None:
        """The peer's."""
        if timestamp != self._heard:
            self._heard, self._heard_at = timestamp, now

    def write(self, plain: bytearray, flags: int, now: float) -> int:
        """A header with these flags, and what is due, at the front of `plain`; its size."""
        offset = 1
        self._last = self._sent, self._echo
        timestamp = ticks(now)
        if timestamp != self._sent:
            self._sent = timestamp
            plain[1:3] = timestamp.to_bytes(2, "big")
            flags |= TIMESTAMP
            offset = 3
        if self._heard >= 0 and now < self._heard_at + ECHO_PERIOD:
            echo = (self._heard + timestamp - ticks(self._heard_at)) & 0xFFFF
            if echo != self._echo:
                self._echo = echo
                plain[offset : offset + 2] = echo.to_bytes(2, "big")
                flags |= ECHO
                offset += 2
        plain[0] = flags
        return offset

    def withdraw(self) -> None:
        """The header that was written last has not left, so what was in it is due still."""
        self._sent, self._echo = self._last
